// The permutohedral lattice: Gaussian filters in D dimensions whose time is linear in the points.
//
// A. Adams, J. Baek, A. Davis: Fast high-dimensional filtering using the permutohedral lattice. Eurographics 2010.
// Points lie in simplices of D + 1 vertices. A point's value is spread over its vertices (splat), the vertices are
// blurred along the D + 1 axes of the lattice, and points read back from their vertices (slice).
//
// All arithmetic is float32 in the order of pydensecrf, so that results are equal to the last bit: sums over many
// points otherwise differ by 1e-5, since each is rounded.
//
// mean_field.cpp includes this once for each set of instructions, in a namespace of its own.

// Points whose simplices are searched together, so that the compiler can use vector registers.
constexpr int kGroup = 16;

// A group of points as it is read for every filter: for each of their vertices the barycentric weights and numbers,
// and what makes the filter's answer to ones even.
template <int D, class Index>
struct Points {
    float weight[D + 1][kGroup], norm[kGroup];
    Index vertex[D + 1][kGroup];
};

template <int D>
class Lattice {
public:
    // `position(start, f)` sets f[i][k] to coordinate i, in standard deviations, of the point start + k, k < kGroup;
    // zero from num_points on. They are at most `farthest`, which is at most 2^18.
    template <class Position>
    ICD_INLINE Lattice(std::size_t num_points, Position position, float farthest)
        : size_(num_points), num_groups_((num_points + kGroup - 1) / kGroup), groups_(num_groups_) {
        if (9 * farthest + 4 * (D + 1) < std::ldexp(1.f, kBits<std::uint64_t> - 1)) build<std::uint64_t>(position);
        else build<Longest>(position);
        find_norms();
    }

    // Values that `blur`, `splat` and `slice` need of each kind; the first one has to be zero.
    std::size_t num_values() const { return num_values_; }

    // The points, group by group; for 16-bit numbers, which take less time to read, only of up to 2^16 values. They
    // replace each other, so this is called once.
    template <class Index>
    const Points<D, Index> *points() {
        char *to = reinterpret_cast<char *>(groups_.get());
        for (std::size_t g = 0; g < num_groups_ && sizeof(Index) < sizeof(std::uint32_t); ++g) {
            const Points<D, std::uint32_t> from = groups_.get()[g];
            Points<D, Index> shorter;
            std::memcpy(shorter.weight, from.weight, sizeof from.weight);
            std::memcpy(shorter.norm, from.norm, sizeof from.norm);
            for (int r = 0; r <= D; ++r) std::copy(from.vertex[r], from.vertex[r] + kGroup, shorter.vertex[r]);
            std::memcpy(to + g * sizeof shorter, &shorter, sizeof shorter);
        }
        return reinterpret_cast<const Points<D, Index> *>(to);
    }

    // Adds to each of `blocks` vectors x what the vertices that surround point k of a group hold, times `attract`.
    template <class Index, class Vector>
    static ICD_INLINE void slice(const Points<D, Index> &points, int k, const Vector *values, std::size_t blocks,
                                 const Vector *attract, Vector *x) {
        const Vector *held[D + 1];
        float weight[D + 1];
        for (int r = 0; r <= D; ++r) {
            held[r] = values + points.vertex[r][k] * blocks;
            weight[r] = points.weight[r][k] * kScale;
        }
        for (std::size_t b = 0; b < blocks; ++b) {
            Vector sum = weight[0] * held[0][b];
            for (int r = 1; r <= D; ++r) sum += weight[r] * held[r][b];
            x[b] += attract[b] * (sum * points.norm[k]);
        }
    }

    template <class Index, class Vector>
    static ICD_INLINE void splat(const Points<D, Index> &points, int k, const Vector *x, std::size_t blocks,
                                 Vector *values) {
        for (std::size_t b = 0; b < blocks; ++b) {
            const Vector value = x[b] * points.norm[k];
            for (int r = 0; r <= D; ++r) values[points.vertex[r][k] * blocks + b] += points.weight[r][k] * value;
        }
    }

    // `slice` and `splat` of four labels of all points of a group, as many at a time as `Wide` holds.
    template <class Index, class Wide>
    static ICD_INLINE void slice_fours(const Points<D, Index> &points, const float4 *values, Wide attract, Wide *x) {
        constexpr int at_once = lanes<Wide>() / 4;
        alignas(64) float scaled[D + 1][kGroup];
        for (int r = 0; r <= D; ++r)
            for (int k = 0; k < kGroup; ++k) scaled[r][k] = points.weight[r][k] * kScale;
        for (int k = 0; k < kGroup; k += at_once) {
            Wide sum = spread<Wide>(scaled[0] + k) * join<Wide>(values, points.vertex[0] + k);
            for (int r = 1; r <= D; ++r)
                sum += spread<Wide>(scaled[r] + k) * join<Wide>(values, points.vertex[r] + k);
            x[k / at_once] += attract * (sum * spread<Wide>(points.norm + k));
        }
    }

    template <class Index, class Wide>
    static ICD_INLINE void splat_fours(const Points<D, Index> &points, const Wide *x, float4 *values) {
        constexpr int at_once = lanes<Wide>() / 4;
        for (int k = 0; k < kGroup; k += at_once) {
            const Wide value = x[k / at_once] * spread<Wide>(points.norm + k);
            Wide more[D + 1];
            for (int r = 0; r <= D; ++r) more[r] = spread<Wide>(points.weight[r] + k) * value;
            add_parts<0>(points, k, more, values);
        }
    }

    // Blurs `blocks` values a vertex; returns which of the two, of equal size, holds the result.
    template <class Value>
    ICD_INLINE Value *blur(Value *values, Value *spare, std::size_t blocks) const {
        const std::uint32_t *neighbour = neighbour_.get();
        for (int axis = 0; axis <= D; ++axis) {
            for (std::size_t v = 1; v < num_values(); ++v, neighbour += 2)
                for (std::size_t k = 0; k < blocks; ++k)
                    spare[v * blocks + k] = values[v * blocks + k] + .5f * (values[neighbour[0] * blocks + k] +
                                                                            values[neighbour[1] * blocks + k]);
            std::swap(values, spare);
        }
        return values;
    }

private:
    // The first D coordinates of a vertex, which sum up to zero with the last one. Each has its bits of one number,
    // with an offset that keeps it positive, so coordinates are added and compared all at once. They are below nine
    // times the farthest position, for D = 5, and the D + 1 that the ways to vertices and neighbours are long.
    __extension__ typedef unsigned __int128 Longest;
    template <class Key>
    static constexpr int kBits = sizeof(Key) * 8 / D;
    static_assert(D <= 5 && kBits<Longest> > 24, "coordinates have room");
    static constexpr float kScale = 1.f / (1 + 1.f / (1 << D));  // makes up for what blurring adds

    template <class Key>
    static constexpr Key unit(int axis) { return axis < D ? static_cast<Key>(1) << (kBits<Key> * axis) : 0; }
    template <class Key>
    static constexpr Key ones() {
        Key sum = 0;
        for (int axis = 0; axis < D; ++axis) sum += unit<Key>(axis);
        return sum;
    }
    // From vertex to vertex all coordinates grow by one, and one of them drops by D + 1.
    template <class Key>
    static constexpr Key step(int axis) { return ones<Key>() - (D + 1) * unit<Key>(axis); }

    template <int I, class Index, class Wide>
    static ICD_INLINE void add_parts(const Points<D, Index> &points, int k, const Wide *more, float4 *values) {
        for (int r = 0; r <= D; ++r) values[points.vertex[r][k + I]] += part<I>(more[r]);
        if constexpr (I + 1 < lanes<Wide>() / 4) add_parts<I + 1>(points, k, more, values);
    }

    template <class Key, class Position>
    ICD_INLINE void build(Position &position) {
        Numbering<Key> vertices;
        find_vertices(vertices, position);
        num_values_ = vertices.size();
        find_neighbours(vertices);
    }

    // A group of points in the D + 1 coordinates of the lattice's plane: the closest lattice point whose coordinates
    // are all multiples of D + 1; what is left, in units of D + 1, sorted, largest first; and whose each of these is.
    struct Group {
        float closest[D + 1][kGroup], sorted[D + 1][kGroup];
        std::int32_t axis[D + 1][kGroup];
    };

    static ICD_INLINE void locate(const float (&position)[D][kGroup], Group &group) {
        float rest[D + 1][kGroup], rank[D + 1][kGroup];
        auto &closest = group.closest;
        const float deviation = static_cast<float>(std::sqrt(2. / 3) * (D + 1)), inverse = 1.f / (D + 1);
        float total[kGroup] = {}, off[kGroup] = {};
        for (int i = D; i > 0; --i) {
            const float scale = static_cast<float>(1 / std::sqrt((i + 1.) * i) * deviation);
            for (int k = 0; k < kGroup; ++k) {
                const float scaled = position[i - 1][k] * scale;
                rest[i][k] = total[k] - static_cast<float>(i) * scaled;
                total[k] += scaled;
            }
        }
        std::copy(total, total + kGroup, rest[0]);
        for (int i = 0; i <= D; ++i)
            for (int k = 0; k < kGroup; ++k) {
                const float multiple = nearest(inverse * rest[i][k]);
                closest[i][k] = multiple * (D + 1);
                off[k] += multiple;
                rank[i][k] = 0;
            }
        for (int i = 0; i < D; ++i)
            for (int j = i + 1; j <= D; ++j)
                for (int k = 0; k < kGroup; ++k) {
                    const float less = rest[i][k] - closest[i][k] < rest[j][k] - closest[j][k] ? 1.f : 0.f;
                    rank[i][k] += less;
                    rank[j][k] += 1 - less;
                }
        // Rounding each coordinate alone may leave the plane; those with the most rest to give or take lead back.
        for (int i = 0; i <= D; ++i)
            for (int k = 0; k < kGroup; ++k) {
                const float moved = rank[i][k] + off[k];
                const float back = moved < 0 ? D + 1.f : moved >= D + 1.f ? -(D + 1.f) : 0.f;
                rank[i][k] = moved + back;
                closest[i][k] += back;
                rest[i][k] = (rest[i][k] - closest[i][k]) * inverse;
            }
        for (int r = 0; r <= D; ++r)
            for (int k = 0; k < kGroup; ++k) {
                group.sorted[r][k] = rest[0][k], group.axis[r][k] = 0;
                for (int i = 1; i <= D; ++i) {
                    const bool here = rank[i][k] == static_cast<float>(r);
                    group.sorted[r][k] = here ? rest[i][k] : group.sorted[r][k];
                    group.axis[r][k] = here ? i : group.axis[r][k];
                }
            }
    }

    // Vertices around each point and their barycentric weights.
    template <class Key, class Position>
    ICD_INLINE void find_vertices(Numbering<Key> &vertices, Position &position) {
        // pydensecrf goes on to a multiple of four with points at the origin. They hold nothing, but what is blurred
        // passes through their vertices.
        const std::size_t padded = (size_ + 3) / 4 * 4;
        Key steps[D + 1];
        for (int i = 0; i <= D; ++i) steps[i] = step<Key>(i);
        float f[D][kGroup];
        Group group;
        for (std::size_t g = 0; g < num_groups_; ++g) {
            position(g * kGroup, f);
            locate(f, group);
            auto &points = groups_.get()[g];
            Key nearest_zero[kGroup];
            for (Key &key : nearest_zero) key = ones<Key>() << (kBits<Key> - 1);
            for (int i = 0; i < D; ++i)
                for (int k = 0; k < kGroup; ++k)
                    nearest_zero[k] += static_cast<Key>(static_cast<std::int32_t>(group.closest[i][k])) * unit<Key>(i);
            for (int r = 0; r <= D; ++r)
                for (int k = 0; k < kGroup; ++k) {
                    const float weight = r ? group.sorted[D - r][k] - group.sorted[D - r + 1][k]
                                           : group.sorted[D][k] + (1 - group.sorted[0][k]);
                    points.weight[r][k] = g * kGroup + k < size_ ? weight : 0;
                }
            for (int k = 0; k < kGroup; ++k) {
                Key key = nearest_zero[k], keys[D + 1];
                std::uint32_t number[D + 1];
                bool known = true;
                for (int r = 0; r <= D; key += steps[group.axis[D - r][k]], ++r) {
                    number[r] = vertices.peek(keys[r] = key);
                    known &= number[r] != 0;
                }
                if (!known && g * kGroup + k < padded)
                    for (int r = 0; r <= D; ++r)
                        if (number[r] == 0) number[r] = vertices.find_or_add(keys[r]);
                for (int r = 0; r <= D; ++r) points.vertex[r][k] = g * kGroup + k < size_ ? number[r] : 0;
            }
        }
    }

    // The two neighbours of each vertex along each axis; 0, which holds nothing, for those that do not exist.
    template <class Key>
    void find_neighbours(const Numbering<Key> &vertices) {
        neighbour_.reset(new std::uint32_t[(num_values_ - 1) * 2 * (D + 1)]());
        std::uint32_t *pairs = neighbour_.get();
        for (int axis = 0; axis <= D; ++axis, pairs += 2 * (num_values_ - 1))
            for (std::uint32_t v = 1; v < num_values_; ++v) {
                const std::uint32_t after = vertices.find(vertices.key(v) + step<Key>(axis));
                pairs[2 * (v - 1) + 1] = after;
                if (after) pairs[2 * (after - 1)] = v;
            }
    }

    // The filter's answer to ones is not even; its inverse square root before and after filtering makes it so.
    void find_norms() {
        std::vector<float> first(num_values()), second(num_values());
        float *values = first.data(), *spare = second.data();
        for (std::size_t g = 0; g < num_groups_; ++g)
            for (int k = 0; k < kGroup; ++k)
                for (int r = 0; r <= D; ++r) {
                    const auto &points = groups_.get()[g];
                    values[points.vertex[r][k]] += points.weight[r][k];
                }
        values = blur(values, spare, 1);
        for (std::size_t g = 0; g < num_groups_; ++g) {
            auto &points = groups_.get()[g];
            float sum[kGroup] = {};
            for (int r = 0; r <= D; ++r)
                for (int k = 0; k < kGroup; ++k) sum[k] += points.weight[r][k] * values[points.vertex[r][k]] * kScale;
            for (int k = 0; k < kGroup; ++k) points.norm[k] = static_cast<float>(1 / std::sqrt(sum[k] + 1e-20));
        }
    }

    std::size_t size_, num_groups_, num_values_ = 0;
    Vectors<Points<D, std::uint32_t>> groups_;
    std::unique_ptr<std::uint32_t[]> neighbour_;    // pairs, axis by axis
};
