#include "mean_field.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>
#include <new>
#include <type_traits>
#include <utility>
#include <vector>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#define ICD_INLINE inline __attribute__((always_inline))

namespace mean_field {
namespace {

// Vectors on cache lines, uninitialised at first. (std::vector ignores how a vector type is aligned.)
template <class Vector>
class Vectors {
public:
    explicit Vectors(std::size_t size)
        : data_(static_cast<Vector *>(::operator new(size * sizeof(Vector), kLine))), size_(size) {}
    void clear() { std::memset(static_cast<void *>(data_.get()), 0, size_ * sizeof(Vector)); }
    Vector *get() const { return data_.get(); }
    float *numbers() const { return reinterpret_cast<float *>(data_.get()); }
    void swap(Vectors &other) { data_.swap(other.data_); }

private:
    static constexpr std::align_val_t kLine{64};
    struct Delete {
        void operator()(Vector *data) const { ::operator delete(static_cast<void *>(data), kLine); }
    };
    std::unique_ptr<Vector[], Delete> data_;
    std::size_t size_;
};

}  // namespace
}  // namespace mean_field

// The same code for each set of instructions, each in a namespace of its own: what is compiled for one must not be
// taken for another.
#define ICD_LANES 4
namespace mean_field { namespace { namespace any_processor {
#include "vectors.h"
#include "numbering.h"
#include "lattice.h"
#include "field.h"
} } }
#undef ICD_LANES

#if defined(__x86_64__)
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2")
#endif
#define ICD_LANES 8
namespace mean_field { namespace { namespace avx2 {
#include "vectors.h"
#include "numbering.h"
#include "lattice.h"
#include "field.h"
} } }
#undef ICD_LANES
#if defined(__clang__)
#pragma clang attribute pop
#pragma clang attribute push(__attribute__((target("avx2,avx512f,avx512dq,avx512bw,avx512vl"))), apply_to = function)
#else
#pragma GCC pop_options
#pragma GCC push_options
#pragma GCC target("avx2,avx512f,avx512dq,avx512bw,avx512vl")
#endif
#define ICD_LANES 16
namespace mean_field { namespace { namespace avx512 {
#include "vectors.h"
#include "numbering.h"
#include "lattice.h"
#include "field.h"
} } }
#undef ICD_LANES
#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif  // x86

namespace mean_field {
namespace {

// While it lives, what is too small for a normal number (1.2e-38) is zero. Where a network is sure, probabilities and
// their products are that small, and some processors take a hundred times as long for each of them.
class SubnormalsAreZero {
public:
#if defined(__x86_64__)
    SubnormalsAreZero() : before_(_mm_getcsr()) { _mm_setcsr(before_ | kFlushToZero | kDenormalsAreZero); }
    ~SubnormalsAreZero() { _mm_setcsr(before_); }

private:
    static constexpr unsigned kFlushToZero = 1u << 15, kDenormalsAreZero = 1u << 6;
    unsigned before_;
#elif defined(__aarch64__)
    SubnormalsAreZero() {
        asm volatile("mrs %0, fpcr" : "=r"(before_));
        set(before_ | kFlushToZero);
    }
    ~SubnormalsAreZero() { set(before_); }

private:
    static constexpr std::uint64_t kFlushToZero = std::uint64_t{1} << 24;
    static void set(std::uint64_t value) { asm volatile("msr fpcr, %0" : : "r"(value)); }
    std::uint64_t before_;
#endif
};

}  // namespace

void infer(const Problem &problem, float *probability) {
    [[maybe_unused]] const SubnormalsAreZero scope{};
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl"))
        return avx512::infer(problem, probability);
    if (__builtin_cpu_supports("avx2")) return avx2::infer(problem, probability);
#endif
    any_processor::infer(problem, probability);
}

}  // namespace mean_field
