// Vectors of labels, four, eight or sixteen wide, and what mean field does with the labels of some pixels.
//
// GCC and Clang compute with them as with numbers, on any processor; only to move fours of them together and apart
// takes instructions of a processor's own. Everything here is inlined into its caller, so it uses the instructions
// that the caller is compiled for, and its results are the same bits for every width.
//
// mean_field.cpp includes this once for each set of instructions, in a namespace of its own.

typedef float float4 __attribute__((vector_size(16)));
typedef float float8 __attribute__((vector_size(32)));
typedef float float16 __attribute__((vector_size(64)));
typedef std::int32_t int4 __attribute__((vector_size(16)));
typedef std::int32_t int8 __attribute__((vector_size(32)));
typedef std::int32_t int16 __attribute__((vector_size(64)));

template <class Vector>
constexpr std::size_t lanes() { return sizeof(Vector) / sizeof(float); }

ICD_INLINE int4 to_int(float4 x) { return __builtin_convertvector(x, int4); }
ICD_INLINE int8 to_int(float8 x) { return __builtin_convertvector(x, int8); }
ICD_INLINE int16 to_int(float16 x) { return __builtin_convertvector(x, int16); }

template <class Vector>
ICD_INLINE Vector larger(Vector a, Vector b) { return a > b ? a : b; }

// Nearest whole numbers, halves to even; for less than 2^22.
template <class Number>
ICD_INLINE Number nearest(Number x) { return (x + 12582912.f) - 12582912.f; }

// Two vectors by turns: a0 b0 a1 b1 of every four lanes, or a2 b2 a3 b3; the halves swapped; the neighbours swapped.
#if defined(__clang__)
ICD_INLINE float4 low(float4 a, float4 b) { return __builtin_shufflevector(a, b, 0, 4, 1, 5); }
ICD_INLINE float4 high(float4 a, float4 b) { return __builtin_shufflevector(a, b, 2, 6, 3, 7); }
ICD_INLINE float4 swap_halves(float4 a) { return __builtin_shufflevector(a, a, 2, 3, 0, 1); }
ICD_INLINE float4 swap_pairs(float4 a) { return __builtin_shufflevector(a, a, 1, 0, 3, 2); }
#else
ICD_INLINE float4 low(float4 a, float4 b) { return __builtin_shuffle(a, b, int4{0, 4, 1, 5}); }
ICD_INLINE float4 high(float4 a, float4 b) { return __builtin_shuffle(a, b, int4{2, 6, 3, 7}); }
ICD_INLINE float4 swap_halves(float4 a) { return __builtin_shuffle(a, int4{2, 3, 0, 1}); }
ICD_INLINE float4 swap_pairs(float4 a) { return __builtin_shuffle(a, int4{1, 0, 3, 2}); }
#endif

// ------------------------------------------------------------------------ four labels each of one, two or four pixels
// `join` reads values[which[0]], values[which[1]], ...; `spread` is one number a pixel, for all its labels; `part` is
// what one of the pixels has.
template <class Index>
ICD_INLINE void join(const float4 *values, const Index *which, float4 &x) { x = values[*which]; }
ICD_INLINE void spread(const float *one, float4 &x) { x = float4{} + *one; }
template <int>
ICD_INLINE float4 part(float4 x) { return x; }

#if ICD_LANES >= 8
template <class Index>
ICD_INLINE void join(const float4 *values, const Index *which, float8 &x) {
    x = _mm256_insertf128_ps(_mm256_castps128_ps256(values[which[0]]), values[which[1]], 1);
}
ICD_INLINE void spread(const float *one, float8 &x) {
    x = _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_broadcast_ss(one)), _mm_broadcast_ss(one + 1), 1);
}
template <int I>
ICD_INLINE float4 part(float8 x) { return _mm256_extractf128_ps(x, I); }
ICD_INLINE float8 low(float8 a, float8 b) { return _mm256_unpacklo_ps(a, b); }
ICD_INLINE float8 high(float8 a, float8 b) { return _mm256_unpackhi_ps(a, b); }
#endif

#if ICD_LANES >= 16
template <class Index>
ICD_INLINE void join(const float4 *values, const Index *which, float16 &x) {
    __m512 found = _mm512_castps128_ps512(values[which[0]]);
    found = _mm512_insertf32x4(found, values[which[1]], 1);
    found = _mm512_insertf32x4(found, values[which[2]], 2);
    x = _mm512_insertf32x4(found, values[which[3]], 3);
}
ICD_INLINE void spread(const float *one, float16 &x) {
    const __m512i pixel = _mm512_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3);
    x = _mm512_permutexvar_ps(pixel, _mm512_broadcast_f32x4(_mm_loadu_ps(one)));
}
template <int I>
ICD_INLINE float4 part(float16 x) { return _mm512_extractf32x4_ps(x, I); }
ICD_INLINE float16 low(float16 a, float16 b) { return _mm512_unpacklo_ps(a, b); }
ICD_INLINE float16 high(float16 a, float16 b) { return _mm512_unpackhi_ps(a, b); }
#endif

template <class Wide, class Index>
ICD_INLINE Wide join(const float4 *values, const Index *which) {
    Wide x;
    join(values, which, x);
    return x;
}
template <class Wide>
ICD_INLINE Wide spread(const float *one) {
    Wide x;
    spread(one, x);
    return x;
}

// Rows to columns and back of the 4x4 numbers that the vectors hold in each four lanes.
template <class Wide>
ICD_INLINE void transpose(Wide (&x)[4]) {
    const Wide even_low = low(x[0], x[2]), odd_low = low(x[1], x[3]);
    const Wide even_high = high(x[0], x[2]), odd_high = high(x[1], x[3]);
    x[0] = low(even_low, odd_low), x[1] = high(even_low, odd_low);
    x[2] = low(even_high, odd_high), x[3] = high(even_high, odd_high);
}

// ------------------------------------------------------------------------------------------------------- the softmax
// The part of a vector that starts at `lane`.
template <class Vector>
ICD_INLINE float4 four_of(const Vector &x, std::size_t lane) {
    float4 four;
    std::memcpy(&four, reinterpret_cast<const float *>(&x) + lane, sizeof four);
    return four;
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

// The same for four labels of `pixels` pixels: a vector for each label, so that nothing is done across one.
template <int pixels, class Wide>
ICD_INLINE void softmax_of_four(Wide *x) {
    constexpr int count = pixels / lanes<Wide>();
    Wide label[count][4];
    std::memcpy(label, x, sizeof label);
    for (auto &l : label) transpose(l);
    for (auto &l : label) {
        const Wide top = larger(larger(l[0], l[1]), larger(l[2], l[3]));
        for (Wide &one : l) one = exponential(one - top);
        const Wide sum = (l[0] + l[2]) + (l[1] + l[3]);
        for (Wide &one : l) one /= sum;
    }
    for (auto &l : label) transpose(l);
    std::memcpy(x, label, sizeof label);
}
