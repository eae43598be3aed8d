// Mean field by two lattices, from `Problem` to probabilities.
//
// mean_field.cpp includes this once for each set of instructions, in a namespace of its own.

// How many groups of pixels ahead points are fetched: they are the most that is read, and come from memory.
constexpr std::size_t kAhead = 3;

// A lattice with what its vertices hold of the iteration before and of the next one.
template <int D, class Index, class Vector>
struct Filter {
    Filter(Lattice<D> &its_lattice, std::size_t num_blocks, const float *attraction, std::size_t num_labels)
        : lattice(its_lattice), points(its_lattice.template points<Index>()), blocks(num_blocks), attract(blocks),
          now(lattice.num_values() * blocks), next(lattice.num_values() * blocks) {
        attract.clear();
        now.clear();
        next.clear();
        std::copy(attraction, attraction + num_labels, attract.numbers());
    }

    ICD_INLINE void fetch(std::size_t group) const {
        const char *ahead = reinterpret_cast<const char *>(points + group + kAhead);
        for (std::size_t i = 0; i < sizeof *points; i += 64) __builtin_prefetch(ahead + i);
    }
    ICD_INLINE void advance() {
        now.swap(next);
        Vector *values = now.get(), *spare = next.get();
        if (lattice.blur(values, spare, blocks) != now.get()) now.swap(next);
        next.clear();
    }

    const Lattice<D> &lattice;
    const Points<D, Index> *points;
    const std::size_t blocks;
    Vectors<Vector> attract, now, next;
};

// Coordinates of kGroup pixels, row by row, in standard deviations.
class Positions {
public:
    Positions(const Problem &problem, float xy, float rgb)
        : problem_(problem), scaled_(std::max(problem.width, problem.height)) {
        for (std::size_t at = 0; at < scaled_.size(); ++at) scaled_[at] = static_cast<float>(at) / xy;
        for (int level = 0; level < 256; ++level) colour_[level] = static_cast<float>(level) / rgb;
    }

    float farthest() const { return std::max(scaled_.back(), colour_.back()); }

    template <std::size_t D>
    ICD_INLINE void operator()(std::size_t start, float (&f)[D][kGroup]) {
        for (std::size_t k = 0; k < kGroup; ++k) {
            const std::size_t pixel = start + k;
            const bool outside = pixel >= problem_.height * problem_.width;
            f[0][k] = outside ? 0 : scaled_[x_];
            f[1][k] = outside ? 0 : scaled_[y_];
            for (std::size_t i = 2; i < D; ++i) f[i][k] = outside ? 0 : colour_[problem_.image[3 * pixel + i - 2]];
            if (++x_ == problem_.width) x_ = 0, ++y_;
        }
    }

private:
    const Problem &problem_;
    std::vector<float> scaled_;
    std::array<float, 256> colour_;
    std::size_t x_ = 0, y_ = 0;
};

// Negative energies, pixel by pixel: one pass over the labels here, in place of one an iteration with long strides.
// Labels that fill the last block up are impossible.
template <class Vector>
void gather(const float *unary, const std::uint8_t *kind, std::size_t size, std::size_t num_labels,
            std::size_t blocks, Vectors<Vector> &negative) {
    const std::size_t width = blocks * lanes<Vector>(), columns = kind ? kKinds : size;
    float *pixels = negative.numbers();
    for (std::size_t start = 0; start < size; start += kGroup) {
        const std::size_t end = std::min<std::size_t>(start + kGroup, size);
        for (std::size_t l = 0; l < width; ++l)
            for (std::size_t p = start; p < end; ++p)
                pixels[p * width + l] = l < num_labels ? -unary[l * columns + (kind ? kind[p] : p)]
                                                       : -std::numeric_limits<float>::infinity();
    }
}

// Any number of labels. `blocks` is known when this is compiled for the usual ones.
template <class Vector, class Index>
ICD_INLINE void iterate(const Problem &problem, Lattice<2> &near_points, Lattice<5> &alike_points, std::size_t blocks,
                        float *probability) {
    const std::size_t size = problem.height * problem.width;
    Filter<2, Index, Vector> near(near_points, blocks, problem.gaussian, problem.num_labels);
    Filter<5, Index, Vector> alike(alike_points, blocks, problem.bilateral, problem.num_labels);
    Vectors<Vector> negative(size * blocks), group(kGroup * blocks);
    gather(problem.unary, problem.kind, size, problem.num_labels, blocks, negative);

    for (int iteration = 0;; ++iteration) {
        const bool last = iteration == problem.iterations;
        // Some pixels at a time: many of the processor's units have work, and what they read is still at hand when
        // they write. Reading the old values, the softmax and spreading the new ones is one pass over the image.
        for (std::size_t start = 0; start < size; start += kGroup) {
            const std::size_t count = std::min<std::size_t>(kGroup, size - start), g = start / kGroup;
            near.fetch(g);
            alike.fetch(g);
            for (std::size_t i = 0; i < count; ++i) {
                Vector *x = group.get() + i * blocks;
                const Vector *own = negative.get() + (start + i) * blocks;
                const Vector *ahead = negative.get() + std::min(start + i + 2 * kGroup, size - 1) * blocks;
                for (std::size_t k = 0; k < blocks; k += 64 / sizeof(Vector)) __builtin_prefetch(ahead + k);
                for (std::size_t k = 0; k < blocks; ++k) x[k] = own[k];
                if (iteration > 0) {
                    near.lattice.slice(near.points[g], i, near.now.get(), blocks, near.attract.get(), x);
                    alike.lattice.slice(alike.points[g], i, alike.now.get(), blocks, alike.attract.get(), x);
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
                near.lattice.splat(near.points[g], i, group.get() + i * blocks, blocks, near.next.get());
                alike.lattice.splat(alike.points[g], i, group.get() + i * blocks, blocks, alike.next.get());
            }
        }
        if (last) return;
        near.advance();
        alike.advance();
    }
}

// At most four labels: `iterate` with the labels of as many pixels in a vector as it holds.
template <class Wide, class Index>
ICD_INLINE void iterate_fours(const Problem &problem, Lattice<2> &near_points, Lattice<5> &alike_points,
                              float *probability) {
    constexpr int at_once = lanes<Wide>() / 4;
    const std::size_t size = problem.height * problem.width;
    Filter<2, Index, float4> near(near_points, 1, problem.gaussian, problem.num_labels);
    Filter<5, Index, float4> alike(alike_points, 1, problem.bilateral, problem.num_labels);
    // Of each pixel, or of each kind.
    Vectors<float4> negative(problem.kind ? kKinds : (size + kGroup - 1) / kGroup * kGroup);
    negative.clear();
    gather(problem.unary, nullptr, problem.kind ? kKinds : size, problem.num_labels, 1, negative);
    const std::uint32_t same[4] = {};
    const Wide near_attract = join<Wide>(near.attract.get(), same);
    const Wide alike_attract = join<Wide>(alike.attract.get(), same);

    for (int iteration = 0;; ++iteration) {
        const bool last = iteration == problem.iterations;
        for (std::size_t start = 0; start < size; start += kGroup) {
            const std::size_t count = std::min<std::size_t>(kGroup, size - start), g = start / kGroup;
            near.fetch(g);
            alike.fetch(g);
            Wide x[kGroup / at_once];
            if (problem.kind) {
                std::uint8_t kind[kGroup] = {};
                std::memcpy(kind, problem.kind + start, count);
                for (int k = 0; k < kGroup; k += at_once) x[k / at_once] = join<Wide>(negative.get(), kind + k);
            } else {
                std::memcpy(x, negative.get() + start, sizeof x);
            }
            if (iteration > 0) {
                near.lattice.slice_fours(near.points[g], near.now.get(), near_attract, x);
                alike.lattice.slice_fours(alike.points[g], alike.now.get(), alike_attract, x);
            }
            softmax_of_four<kGroup>(x);
            if (last) {
                const float *numbers = reinterpret_cast<const float *>(x);
                for (std::size_t l = 0; l < problem.num_labels; ++l)
                    for (std::size_t i = 0; i < count; ++i) probability[l * size + start + i] = numbers[4 * i + l];
                continue;
            }
            near.lattice.splat_fours(near.points[g], x, near.next.get());
            alike.lattice.splat_fours(alike.points[g], x, alike.next.get());
        }
        if (last) return;
        near.advance();
        alike.advance();
    }
}

// `Wide` is the vector for four labels a pixel, `Vector` that for more, `usual` how many of these 21 labels need.
template <class Index>
void choose(const Problem &problem, Lattice<2> &near, Lattice<5> &alike, float *probability) {
#if ICD_LANES == 16
    typedef float16 Wide;
#elif ICD_LANES == 8
    typedef float8 Wide;
#else
    typedef float4 Wide;
#endif
    typedef std::conditional<sizeof(Wide) >= sizeof(float8), float8, float4>::type Vector;
    constexpr std::size_t eight = 8 / lanes<Vector>(), usual = 24 / lanes<Vector>();
    if (problem.num_labels <= 4) return iterate_fours<Wide, Index>(problem, near, alike, probability);
    const std::size_t blocks = (problem.num_labels + lanes<Vector>() - 1) / lanes<Vector>();
    if (blocks <= eight) return iterate<Vector, Index>(problem, near, alike, eight, probability);
    if (blocks == usual) return iterate<Vector, Index>(problem, near, alike, usual, probability);
    iterate<Vector, Index>(problem, near, alike, blocks, probability);
}

inline void infer(const Problem &problem, float *probability) {
    const std::size_t size = problem.height * problem.width;
    const Positions near_positions(problem, problem.gaussian_xy, 1);
    const Positions alike_positions(problem, problem.bilateral_xy, problem.bilateral_rgb);
    // Pixels' colours are no coordinates of the first.
    Lattice<2> near(size, near_positions, near_positions.farthest());
    Lattice<5> alike(size, alike_positions, alike_positions.farthest());
    constexpr std::size_t short_numbers = std::size_t{1} << 16;
    if (std::max(near.num_values(), alike.num_values()) <= short_numbers)
        return choose<std::uint16_t>(problem, near, alike, probability);
    choose<std::uint32_t>(problem, near, alike, probability);
}
