#include "mean_field.h"

#include <array>
#include <cstring>

#include "lattice.h"

namespace mean_field {
namespace {

typedef std::int32_t FourInts __attribute__((vector_size(16)));

Four larger(Four a, Four b) { return a > b ? a : b; }

// The halves exchanged; the neighbours exchanged.
#if defined(__clang__)
Four half_turn(Four a) { return __builtin_shufflevector(a, a, 2, 3, 0, 1); }
Four swap_pairs(Four a) { return __builtin_shufflevector(a, a, 1, 0, 3, 2); }
#else
Four half_turn(Four a) { return __builtin_shuffle(a, FourInts{2, 3, 0, 1}); }
Four swap_pairs(Four a) { return __builtin_shuffle(a, FourInts{1, 0, 3, 2}); }
#endif

// e to the power of x, which is not positive. The polynomial is Cephes' expf, as Eigen has it.
Four exponential(Four x) {
    x = larger(x, Four{} - 87.f);  // less than that is zero
    const Four power = nearest(x * 1.44269504088896341f);
    const Four r = (x - power * 0.693359375f) - power * -2.12194440e-4f;
    Four y = r * 1.9875691500e-4f + 1.3981999507e-3f;
    y = y * r + 8.3334519073e-3f;
    y = y * r + 4.1665795894e-2f;
    y = y * r + 1.6666665459e-1f;
    y = y * r + 5.0000001201e-1f;
    y = y * (r * r) + r + 1.f;
    const FourInts exponent = (__builtin_convertvector(power, FourInts) + 127) << 23;
    return y * reinterpret_cast<Four>(exponent);
}

// Energies, negative, to probabilities.
inline void softmax(Four *x, std::size_t blocks) {
    Four top = x[0], sum{};
    for (std::size_t k = 1; k < blocks; ++k) top = larger(top, x[k]);
    top = larger(top, half_turn(top));
    top = larger(top, swap_pairs(top));
    for (std::size_t k = 0; k < blocks; ++k) sum += x[k] = exponential(x[k] - top);
    sum += half_turn(sum);
    sum += swap_pairs(sum);
    for (std::size_t k = 0; k < blocks; ++k) x[k] /= sum;
}

// A lattice with what its vertices hold of the iteration before and of the next one.
template <int D>
struct Filter {
    template <class Position>
    Filter(std::size_t num_points, std::size_t num_blocks, Position position)
        : lattice(num_points, position),
          blocks(num_blocks),
          first(lattice.num_values() * blocks),
          second(first.size()),
          now(first.data()),
          next(second.data()) {}

    void clear_next() { std::fill(next, next + first.size(), Four{}); }
    void advance() {
        std::swap(now, next);
        lattice.blur(now, next, blocks);
    }

    const Lattice<D> lattice;
    const std::size_t blocks;
    std::vector<Four> first, second;
    Four *now, *next;
};

// Coordinates of kGroup pixels, row by row, in standard deviations.
class Positions {
public:
    Positions(const Problem &problem, float xy, float rgb) : problem_(problem), xy_(xy) {
        for (int level = 0; level < 256; ++level) colour_[level] = static_cast<float>(level) / rgb;
    }

    template <std::size_t D>
    void operator()(std::size_t start, float (&f)[D][kGroup]) {
        for (std::size_t k = 0; k < kGroup; ++k) {
            const std::size_t pixel = start + k;
            const bool outside = pixel >= problem_.height * problem_.width;
            f[0][k] = outside ? 0 : static_cast<float>(x_) / xy_;
            f[1][k] = outside ? 0 : static_cast<float>(y_) / xy_;
            for (std::size_t i = 2; i < D; ++i) f[i][k] = outside ? 0 : colour_[problem_.image[3 * pixel + i - 2]];
            if (++x_ == problem_.width) x_ = 0, ++y_;
        }
    }

private:
    const Problem &problem_;
    const float xy_;
    std::array<float, 256> colour_;
    std::size_t x_ = 0, y_ = 0;
};

// `blocks` is known when this is compiled for few labels, which most seeds have.
__attribute__((always_inline)) inline void infer_blocks(const Problem &problem, float *probability,
                                                        std::size_t blocks) {
    const std::size_t size = problem.height * problem.width;
    Filter<2> near(size, blocks, Positions(problem, problem.gaussian_xy, 1));
    Filter<5> alike(size, blocks, Positions(problem, problem.bilateral_xy, problem.bilateral_rgb));
    std::vector<Four> table(256 * blocks), attract_near(blocks), attract_alike(blocks), group(kGroup * blocks);
    std::memcpy(table.data(), problem.energies, table.size() * sizeof(Four));
    std::memcpy(attract_near.data(), problem.gaussian, blocks * sizeof(Four));
    std::memcpy(attract_alike.data(), problem.bilateral, blocks * sizeof(Four));

    for (int iteration = 0;; ++iteration) {
        const bool last = iteration == problem.iterations;
        if (!last) {
            near.clear_next();
            alike.clear_next();
        }
        // Some pixels at a time: many of the processor's units have work, and what they read is still at hand when
        // they write. Reading the old values, the softmax and spreading the new ones is one pass over the image.
        for (std::size_t start = 0; start < size; start += kGroup) {
            const std::size_t count = std::min<std::size_t>(kGroup, size - start);
            for (std::size_t i = 0; i < count; ++i)
                for (std::size_t k = 0; k < blocks; ++k) {
                    Four x = -table[problem.seed[start + i] * blocks + k];
                    if (iteration > 0) {
                        x += attract_near[k] * near.lattice.slice(start + i, near.now + k, blocks);
                        x += attract_alike[k] * alike.lattice.slice(start + i, alike.now + k, blocks);
                    }
                    group[i * blocks + k] = x;
                }
            for (std::size_t i = 0; i < count; ++i) softmax(&group[i * blocks], blocks);
            if (last) {
                for (std::size_t l = 0; l < problem.num_labels; ++l)
                    for (std::size_t i = 0; i < count; ++i)
                        probability[l * size + start + i] = group[i * blocks + l / kLabels][l % kLabels];
                continue;
            }
            for (std::size_t i = 0; i < count; ++i)
                for (std::size_t k = 0; k < blocks; ++k) {
                    near.lattice.splat(start + i, group[i * blocks + k], near.next + k, blocks);
                    alike.lattice.splat(start + i, group[i * blocks + k], alike.next + k, blocks);
                }
        }
        if (last) return;
        near.advance();
        alike.advance();
    }
}

}  // namespace

void infer(const Problem &problem, float *probability) {
    switch (problem.num_labels / kLabels) {
        case 1: return infer_blocks(problem, probability, 1);
        case 2: return infer_blocks(problem, probability, 2);
        default: return infer_blocks(problem, probability, problem.num_labels / kLabels);
    }
}

}  // namespace mean_field
