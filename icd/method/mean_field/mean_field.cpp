#include "mean_field.h"

#include <algorithm>
#include <array>
#include <limits>
#include <memory>
#include <new>

#include "lattice.h"
#include "vectors.h"

namespace mean_field {
namespace {

// How many pixels ahead energies are fetched, which are the most that is read and come from memory.
constexpr std::size_t kAhead = 2 * kGroup;

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

// A lattice with what its vertices hold of the iteration before and of the next one.
template <int D, class Vector>
struct Filter {
    Filter(const Lattice<D> &points, std::size_t num_blocks, const float *attraction, std::size_t num_labels)
        : lattice(points), blocks(num_blocks), attract(blocks), now(lattice.num_values() * blocks),
          next(lattice.num_values() * blocks) {
        attract.clear();
        now.clear();
        next.clear();
        std::copy(attraction, attraction + num_labels, attract.numbers());
    }

    ICD_INLINE void add_to(Vector *x, std::size_t point) const {
        lattice.slice(point, now.get(), blocks, attract.get(), x);
    }
    ICD_INLINE void take(const Vector *x, std::size_t point) { lattice.splat(point, x, blocks, next.get()); }
    ICD_INLINE void advance() {
        now.swap(next);
        Vector *values = now.get(), *spare = next.get();
        if (lattice.blur(values, spare, blocks) != now.get()) now.swap(next);
        next.clear();
    }

    const Lattice<D> &lattice;
    const std::size_t blocks;
    Vectors<Vector> attract, now, next;
};

// Coordinates of kGroup pixels, row by row, in standard deviations.
class Positions {
public:
    Positions(const Problem &problem, float xy, float rgb) : problem_(problem), xy_(xy) {
        for (int level = 0; level < 256; ++level) colour_[level] = static_cast<float>(level) / rgb;
    }

    template <std::size_t D>
    ICD_INLINE void operator()(std::size_t start, float (&f)[D][kGroup]) {
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

// Negative energies, pixel by pixel: one pass over the labels here, in place of one an iteration with long strides.
// Labels that fill the last block up are impossible.
template <class Vector>
void gather(const Problem &problem, std::size_t blocks, Vectors<Vector> &negative) {
    const std::size_t size = problem.height * problem.width, width = blocks * lanes<Vector>();
    float *pixels = negative.numbers();
    for (std::size_t start = 0; start < size; start += kGroup) {
        const std::size_t end = std::min<std::size_t>(start + kGroup, size);
        for (std::size_t l = 0; l < width; ++l)
            for (std::size_t p = start; p < end; ++p)
                pixels[p * width + l] =
                    l < problem.num_labels ? -problem.unary[l * size + p] : -std::numeric_limits<float>::infinity();
    }
}

// `blocks` is known when this is compiled for the usual numbers of labels.
template <class Vector>
ICD_INLINE void iterate(const Problem &problem, const Lattice<2> &near_points, const Lattice<5> &alike_points,
                        std::size_t blocks, float *probability) {
    const std::size_t size = problem.height * problem.width;
    Filter<2, Vector> near(near_points, blocks, problem.gaussian, problem.num_labels);
    Filter<5, Vector> alike(alike_points, blocks, problem.bilateral, problem.num_labels);
    Vectors<Vector> negative(size * blocks), group(kGroup * blocks);
    gather(problem, blocks, negative);

    for (int iteration = 0;; ++iteration) {
        const bool last = iteration == problem.iterations;
        // Some pixels at a time: many of the processor's units have work, and what they read is still at hand when
        // they write. Reading the old values, the softmax and spreading the new ones is one pass over the image.
        for (std::size_t start = 0; start < size; start += kGroup) {
            const std::size_t count = std::min<std::size_t>(kGroup, size - start);
            for (std::size_t i = 0; i < count; ++i) {
                Vector *x = group.get() + i * blocks;
                const Vector *own = negative.get() + (start + i) * blocks;
                const Vector *ahead = negative.get() + std::min(start + i + kAhead, size - 1) * blocks;
                for (std::size_t k = 0; k < blocks; k += 64 / sizeof(Vector)) __builtin_prefetch(ahead + k);
                for (std::size_t k = 0; k < blocks; ++k) x[k] = own[k];
                if (iteration > 0) {
                    near.add_to(x, start + i);
                    alike.add_to(x, start + i);
                }
            }
            softmax(group.get(), count, blocks);
            if (last) {
                for (std::size_t l = 0; l < problem.num_labels; ++l)
                    for (std::size_t i = 0; i < count; ++i)
                        probability[l * size + start + i] = group.numbers()[i * blocks * lanes<Vector>() + l];
                continue;
            }
            for (std::size_t i = 0; i < count; ++i) {
                near.take(group.get() + i * blocks, start + i);
                alike.take(group.get() + i * blocks, start + i);
            }
        }
        if (last) return;
        near.advance();
        alike.advance();
    }
}

// `Wide` is what the processor computes with at once, `Usual` how many of them 21 labels need.
template <class Wide, std::size_t Usual>
ICD_INLINE void infer_inline(const Problem &problem, float *probability) {
    const std::size_t size = problem.height * problem.width;
    const Lattice<2> near(size, Positions(problem, problem.gaussian_xy, 1));
    const Lattice<5> alike(size, Positions(problem, problem.bilateral_xy, problem.bilateral_rgb));
    if (problem.num_labels <= 4) return iterate<float4>(problem, near, alike, 1, probability);
    const std::size_t blocks = (problem.num_labels + lanes<Wide>() - 1) / lanes<Wide>();
    if (blocks <= 8 / lanes<Wide>()) return iterate<Wide>(problem, near, alike, 8 / lanes<Wide>(), probability);
    if (blocks == Usual) return iterate<Wide>(problem, near, alike, Usual, probability);
    iterate<Wide>(problem, near, alike, blocks, probability);
}

#if defined(__x86_64__) || defined(__i386__)
__attribute__((target("avx2"))) void infer_avx2(const Problem &problem, float *probability) {
    infer_inline<float8, 3>(problem, probability);
}
#endif

}  // namespace

void infer(const Problem &problem, float *probability) {
#if defined(__x86_64__) || defined(__i386__)
    if (__builtin_cpu_supports("avx2")) return infer_avx2(problem, probability);
#endif
    infer_inline<float4, 6>(problem, probability);
}

}  // namespace mean_field
