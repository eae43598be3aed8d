// Vectors of labels, four or eight wide, and what mean field does with the labels of one pixel.
//
// GCC and Clang compute with them as with numbers, on any processor. Everything here is inlined into its caller, so it
// uses the instructions that the caller is compiled for, and its results are the same bits for every width.
#ifndef ICD_VECTORS_H
#define ICD_VECTORS_H

#include <cstddef>
#include <cstdint>
#include <cstring>

#define ICD_INLINE inline __attribute__((always_inline))

namespace mean_field {

typedef float float4 __attribute__((vector_size(16)));
typedef float float8 __attribute__((vector_size(32)));
typedef std::int32_t int4 __attribute__((vector_size(16)));
typedef std::int32_t int8 __attribute__((vector_size(32)));

template <class Vector>
constexpr std::size_t lanes() { return sizeof(Vector) / sizeof(float); }

ICD_INLINE int4 to_int(float4 x) { return __builtin_convertvector(x, int4); }
ICD_INLINE int8 to_int(float8 x) { return __builtin_convertvector(x, int8); }

template <class Vector>
ICD_INLINE Vector larger(Vector a, Vector b) { return a > b ? a : b; }

// Nearest whole numbers, halves to even; for less than 2^22.
template <class Number>
ICD_INLINE Number nearest(Number x) { return (x + 12582912.f) - 12582912.f; }

// The halves swapped; the neighbours swapped.
#if defined(__clang__)
ICD_INLINE float4 swap_halves(float4 a) { return __builtin_shufflevector(a, a, 2, 3, 0, 1); }
ICD_INLINE float4 swap_pairs(float4 a) { return __builtin_shufflevector(a, a, 1, 0, 3, 2); }
#else
ICD_INLINE float4 swap_halves(float4 a) { return __builtin_shuffle(a, int4{2, 3, 0, 1}); }
ICD_INLINE float4 swap_pairs(float4 a) { return __builtin_shuffle(a, int4{1, 0, 3, 2}); }
#endif

// The part of a vector that starts at `lane`.
template <class Vector>
ICD_INLINE float4 four_of(const Vector &x, std::size_t lane) {
    float4 part;
    std::memcpy(&part, reinterpret_cast<const float *>(&x) + lane, sizeof part);
    return part;
}

// e to the power of x, which is not positive; 0 below -87. The polynomial is Cephes' expf, as Eigen has it.
template <class Vector>
ICD_INLINE Vector exponential(Vector x) {
    // Not e^-87: its products would be denormal, which is slow on some processors, in every label that is padding.
    const auto vanishes = x < Vector{} - 87.f;
    x = larger(x, Vector{} - 87.f);
    const Vector power = nearest(x * 1.44269504088896341f);
    const Vector r = (x - power * 0.693359375f) - power * -2.12194440e-4f;
    Vector y = r * 1.9875691500e-4f + 1.3981999507e-3f;
    y = y * r + 8.3334519073e-3f;
    y = y * r + 4.1665795894e-2f;
    y = y * r + 1.6666665459e-1f;
    y = y * r + 5.0000001201e-1f;
    y = y * (r * r) + r + 1.f;
    const auto exponent = (to_int(power) + 127) << 23;
    return vanishes ? Vector{} : y * reinterpret_cast<Vector>(exponent);
}

// Energies, negative, of the labels of `count` pixels to probabilities. Each step is taken for all pixels, since the
// steps of one pixel wait for each other. Sums are taken four labels at a time, which is pydensecrf's order.
template <class Vector>
ICD_INLINE void softmax(Vector *x, std::size_t count, std::size_t blocks) {
    for (std::size_t i = 0; i < count; ++i) {
        Vector *one = x + i * blocks, top = one[0];
        for (std::size_t k = 1; k < blocks; ++k) top = larger(top, one[k]);
        float4 top4 = four_of(top, 0);
        for (std::size_t lane = 4; lane < lanes<Vector>(); lane += 4) top4 = larger(top4, four_of(top, lane));
        top4 = larger(top4, swap_halves(top4));
        top4 = larger(top4, swap_pairs(top4));
        for (std::size_t k = 0; k < blocks; ++k) one[k] -= top4[0];
    }
    for (std::size_t k = 0; k < count * blocks; ++k) x[k] = exponential(x[k]);
    for (std::size_t i = 0; i < count; ++i) {
        Vector *one = x + i * blocks;
        float4 sum{};
        for (std::size_t k = 0; k < blocks; ++k)
            for (std::size_t lane = 0; lane < lanes<Vector>(); lane += 4) sum += four_of(one[k], lane);
        sum += swap_halves(sum);
        sum += swap_pairs(sum);
        for (std::size_t k = 0; k < blocks; ++k) one[k] /= sum[0];
    }
}

}  // namespace mean_field

#endif
