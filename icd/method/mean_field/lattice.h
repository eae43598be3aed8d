// The permutohedral lattice: Gaussian filters in D dimensions whose time is linear in the points.
//
// A. Adams, J. Baek, A. Davis: Fast high-dimensional filtering using the permutohedral lattice. Eurographics 2010.
// Points lie in simplices of D + 1 vertices. A point's value is spread over its vertices (splat), the vertices are
// blurred along the D + 1 axes of the lattice, and points read back from their vertices (slice).
//
// All arithmetic is float32 in the order of pydensecrf, so that results are equal to the last bit: sums over many
// points otherwise differ by 1e-5, since each is rounded.
#ifndef ICD_LATTICE_H
#define ICD_LATTICE_H

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <type_traits>
#include <utility>
#include <vector>

#include "vectors.h"

namespace mean_field {

// Points whose simplices are searched together, so that the compiler can use vector registers.
constexpr int kGroup = 16;

template <int D>
class Lattice {
public:
    // `position(start, f)` sets f[i][k] to coordinate i, in standard deviations, of the point start + k, k < kGroup;
    // zero from num_points on. They are at most 2^18, so that the lattice's fit into its keys.
    template <class Position>
    ICD_INLINE Lattice(std::size_t num_points, Position position) : size_(num_points) {
        // pydensecrf goes on to a multiple of four with points at the origin. They hold nothing, but what is blurred
        // passes through their vertices.
        const std::size_t padded = (num_points + 3) / 4 * 4;
        vertex_.reset(new std::uint32_t[padded * (D + 1)]);
        weight_.reset(new float[padded * (D + 1)]);
        find_vertices(padded, position);
        find_neighbours();
        std::vector<Slot>().swap(slots_);
        find_norms();
    }

    // Values that `blur`, `splat` and `slice` need of each kind; the first one has to be zero.
    std::size_t num_values() const { return keys_.size() + 1; }

    // Adds to each of `blocks` vectors x what the points that surround `point` hold, times `attract`.
    template <class Vector>
    ICD_INLINE void slice(std::size_t point, const Vector *values, std::size_t blocks, const Vector *attract,
                          Vector *x) const {
        const Vector *held[D + 1];
        float weight[D + 1];
        for (int r = 0; r <= D; ++r) {
            held[r] = values + vertex_[point * (D + 1) + r] * blocks;
            weight[r] = weight_[point * (D + 1) + r] * kScale;
        }
        const float norm = norm_[point];
        for (std::size_t k = 0; k < blocks; ++k) {
            Vector sum = weight[0] * held[0][k];
            for (int r = 1; r <= D; ++r) sum += weight[r] * held[r][k];
            x[k] += attract[k] * (sum * norm);
        }
    }

    template <class Vector>
    ICD_INLINE void splat(std::size_t point, const Vector *x, std::size_t blocks, Vector *values) const {
        Vector *held[D + 1];
        float weight[D + 1];
        for (int r = 0; r <= D; ++r) {
            held[r] = values + vertex_[point * (D + 1) + r] * blocks;
            weight[r] = weight_[point * (D + 1) + r];
        }
        const float norm = norm_[point];
        for (std::size_t k = 0; k < blocks; ++k) {
            const Vector value = x[k] * norm;
            for (int r = 0; r <= D; ++r) held[r][k] += weight[r] * value;
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
    // with an offset that keeps it positive, so coordinates are added and compared all at once.
    __extension__ typedef unsigned __int128 Wide;
    using Key = typename std::conditional<(D <= 2), std::uint64_t, Wide>::type;
    using Slot = std::uint32_t;
    static constexpr int kBits = D <= 2 ? 32 : 25;
    // Positions of 2^18 give coordinates below 2^23.
    static_assert(kBits > 24 && kBits * D <= 8 * sizeof(Key), "coordinates have room");
    static constexpr float kScale = 1.f / (1 + 1.f / (1 << D));  // makes up for what blurring adds

    static Key unit(int axis) { return axis < D ? static_cast<Key>(1) << (kBits * axis) : 0; }
    static Key ones() {
        Key sum = 0;
        for (int axis = 0; axis < D; ++axis) sum += unit(axis);
        return sum;
    }

    static std::size_t hash(Key key) {
        const auto high = static_cast<std::uint64_t>(static_cast<Wide>(key) >> 64);
        const std::uint64_t mixed =
            (static_cast<std::uint64_t>(key) ^ high * 0x9E3779B97F4A7C15u) * 0xD6E8FEB86659FD93u;
        return mixed >> 20 ^ mixed >> 40;
    }

    // Number of a vertex, from 1; 0 when it does not exist.
    std::uint32_t find(Key key) const {
        for (std::size_t s = hash(key) & (slots_.size() - 1);; s = (s + 1) & (slots_.size() - 1))
            if (slots_[s] == 0 || keys_[slots_[s] - 1] == key) return slots_[s];
    }

    std::uint32_t find_or_add(Key key) {
        if (const std::uint32_t found = find(key)) return found;
        keys_.push_back(key);
        if (2 * keys_.size() > slots_.size()) {
            slots_.assign(2 * slots_.size(), 0);
            for (std::size_t v = 0; v < keys_.size(); ++v) enter(v);
        } else {
            enter(keys_.size() - 1);
        }
        return static_cast<std::uint32_t>(keys_.size());
    }

    void enter(std::size_t v) {
        std::size_t s = hash(keys_[v]) & (slots_.size() - 1);
        while (slots_[s] != 0) s = (s + 1) & (slots_.size() - 1);
        slots_[s] = static_cast<Slot>(v + 1);
    }

    // A group of points in the D + 1 coordinates of the lattice's plane: the closest lattice point whose coordinates
    // are all multiples of D + 1, what is left, in units of D + 1, and the order of what is left, largest first.
    struct Group {
        float rest[D + 1][kGroup], closest[D + 1][kGroup], rank[D + 1][kGroup];
    };

    static ICD_INLINE void locate(const float (&position)[D][kGroup], Group &group) {
        auto &rest = group.rest, &closest = group.closest, &rank = group.rank;
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
    }

    // Vertices around each point and their barycentric weights.
    template <class Position>
    ICD_INLINE void find_vertices(std::size_t padded, Position position) {
        slots_.assign(1 << 12, 0);
        Key known[D + 1] = {};  // the point before often has the same vertices
        std::uint32_t number[D + 1] = {};
        float f[D][kGroup];
        Group group;
        for (std::size_t start = 0; start < padded; start += kGroup) {
            position(start, f);
            locate(f, group);
            for (std::size_t p = start; p < std::min(start + kGroup, padded); ++p) {
                float rest[D + 1];
                Key taken[D + 1], key = ones() << (kBits - 1);
                for (int i = 0; i <= D; ++i) {
                    const int rank = static_cast<int>(group.rank[i][p - start]);
                    rest[rank] = group.rest[i][p - start];
                    taken[rank] = (D + 1) * unit(i);
                    key += static_cast<Key>(static_cast<std::int64_t>(group.closest[i][p - start])) * unit(i);
                }
                // From vertex to vertex all coordinates grow by one, and the one with the next least rest drops
                // by D + 1.
                for (int r = 0; r <= D; key += ones() - taken[D - r], ++r) {
                    if (key != known[r]) number[r] = find_or_add(known[r] = key);
                    vertex_[p * (D + 1) + r] = number[r];
                    weight_[p * (D + 1) + r] = r ? rest[D - r] - rest[D - r + 1] : rest[D] + (1 - rest[0]);
                }
            }
        }
    }

    // The two neighbours of each vertex along each axis; 0, which holds nothing, for those that do not exist.
    void find_neighbours() {
        neighbour_.reset(new std::uint32_t[keys_.size() * 2 * (D + 1)]);
        std::uint32_t *next = neighbour_.get();
        for (int axis = 0; axis <= D; ++axis) {
            const Key step = ones() - (D + 1) * unit(axis);
            for (const Key key : keys_) {
                *next++ = find(key - step);
                *next++ = find(key + step);
            }
        }
    }

    // The filter's answer to ones is not even; its inverse square root before and after filtering makes it so.
    void find_norms() {
        std::vector<float> first(num_values()), second(num_values());
        float *values = first.data(), *spare = second.data();
        for (std::size_t i = 0; i < size_ * (D + 1); ++i) values[vertex_[i]] += weight_[i];
        values = blur(values, spare, 1);
        norm_.reset(new float[size_]);
        for (std::size_t p = 0; p < size_; ++p) {
            float sum = 0;
            for (std::size_t i = p * (D + 1); i < (p + 1) * (D + 1); ++i)
                sum += weight_[i] * values[vertex_[i]] * kScale;
            norm_[p] = static_cast<float>(1 / std::sqrt(sum + 1e-20));
        }
    }

    std::size_t size_;
    std::unique_ptr<std::uint32_t[]> vertex_, neighbour_;  // D + 1 a point; pairs, axis by axis
    std::unique_ptr<float[]> weight_, norm_;
    std::vector<Key> keys_;
    std::vector<Slot> slots_;
};

}  // namespace mean_field

#endif
