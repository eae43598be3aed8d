#include "simd.h"

#include <algorithm>

namespace superpixel {
namespace {

InstructionSet processor() {
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl"))
        return InstructionSet::kAvx512;
    if (__builtin_cpu_supports("avx2")) return InstructionSet::kAvx2;
#endif
    return InstructionSet::kPortable;
}

InstructionSet &chosen() {
    static InstructionSet set = processor();
    return set;
}

}  // namespace

InstructionSet instruction_set() { return chosen(); }

void limit_instruction_set(InstructionSet limit) { chosen() = std::min(processor(), limit); }

}  // namespace superpixel
