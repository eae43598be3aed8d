// Inner loops built for several instruction sets, of which the processor's best is taken when the program runs.
//
// Every build gives the same bits: the code is compiled without fused multiply-add (-ffp-contract=off), and sums over
// floats run in an order that does not depend on the width of the registers.
#ifndef SUPERPIXEL_SIMD_H
#define SUPERPIXEL_SIMD_H

#include <cstdint>

namespace superpixel {

// Vectors as wide as a register.
template <int kBytes>
struct Register {
    static constexpr int kCount = kBytes / 4;
    typedef float Floats __attribute__((vector_size(kBytes)));
    typedef std::int32_t Integers __attribute__((vector_size(kBytes)));
    typedef std::uint64_t Pairs __attribute__((vector_size(kBytes)));
};

enum class InstructionSet { kPortable, kAvx2, kAvx512 };

// The best that this processor has and `limit_instruction_set` allows.
InstructionSet instruction_set();

// For tests and measurements: uses nothing above `limit` from now on. Not to be called while images are computed.
void limit_instruction_set(InstructionSet limit);

}  // namespace superpixel

#define ALWAYS_INLINE __attribute__((always_inline)) inline

// BUILD_FOR_EACH(name, (parameters), (arguments)) defines void name(parameters) from a template
// `ALWAYS_INLINE void name_body<REGISTER_BYTES>(parameters)`.
#if defined(__x86_64__)
#define BUILD_FOR_EACH(name, parameters, arguments)                                               \
    __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl"))) void name##_avx512 parameters { \
        name##_body<64> arguments;                                                                \
    }                                                                                             \
    __attribute__((target("avx2"))) void name##_avx2 parameters { name##_body<32> arguments; }    \
    void name##_portable parameters { name##_body<16> arguments; }                                \
    void name parameters {                                                                        \
        switch (instruction_set()) {                                                              \
            case InstructionSet::kAvx512: return name##_avx512 arguments;                         \
            case InstructionSet::kAvx2: return name##_avx2 arguments;                             \
            case InstructionSet::kPortable: return name##_portable arguments;                     \
        }                                                                                         \
    }
#else
#define BUILD_FOR_EACH(name, parameters, arguments) \
    void name parameters { name##_body<16> arguments; }
#endif

#endif
