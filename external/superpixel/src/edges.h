// The edges of the graph method: neighbouring pixels and how far apart their colours are.
#ifndef SUPERPIXEL_EDGES_H
#define SUPERPIXEL_EDGES_H

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "buffer.h"

namespace superpixel {

// An edge in 64 bits: its weight's bits (floats that are not negative order like their bits), four times its pixel, and
// its direction. Ordering the numbers orders edges by weight and then as they are listed.
using Edge = std::uint64_t;
enum Direction { kRight, kDown, kDownRight, kUpRight, kDirections };

inline float weight_of_bits(std::uint32_t bits) {
    float weight;
    std::memcpy(&weight, &bits, sizeof weight);
    return weight;
}

inline float weight_of(Edge edge) { return weight_of_bits(static_cast<std::uint32_t>(edge >> 32)); }

// A pixel's region: twice its number, and a flag.
using Region = std::uint32_t;

// Which edges between different regions are of use.
enum class Use { kNeitherFlagged, kOneFlagged };

// The bits of weights that are at least `begin` and below `end`.
struct Weights {
    std::uint32_t begin, end;
};
constexpr Weights kAllWeights = {0, 0x44000000};  // below 512, as all are

// The edges of the grid of pixels (8 neighbours), lightest first, as many of them at a time as are asked for: what the
// lighter ones make useless is never ordered.
class Edges {
public:
    // `planes`: the blue, green and red planes of the smoothed image, one after the other, below 256. `room`, for
    // `initial_room` values, is where edges are kept unless there are unusually many.
    Edges(const float *planes, int width, int height, Edge *room);
    static std::size_t initial_room(std::size_t pixels);

    // Ranges of weights, ascending, which between them have all edges.
    const std::vector<Weights> &groups() const { return groups_; }

    // Sorts the edges of a range that are of use.
    void collect(Weights weights, const Region *regions, Use use);

    const Edge *begin() const { return edges_; }
    const Edge *end() const { return edges_ + count_; }

private:
    struct Row {
        std::size_t first;            // its first pixel
        int count[kDirections];       // edges of each direction that start in it
        std::size_t to[kDirections];  // the pixels where the first of them end
    };

    Row row(int y) const;
    void choose_groups();
    void make_room(std::size_t count);
    void append(std::uint32_t first_pixel);
    void sort(Weights weights);

    const float *planes_;
    int width_, height_;
    std::vector<Weights> groups_;
    std::uint32_t light_ = 0;             // bits of a weight that few are lighter than
    std::vector<std::uint32_t> bits_;     // weights of a row's edges, one direction after the other
    std::vector<std::uint32_t> useful_;   // a bit for each direction of a row's pixels
    std::vector<std::uint8_t> portions_;  // the same in bytes, and room for a portion more
    std::size_t count_ = 0, capacity_;
    Edge *edges_, *scratch_;
    Buffer<Edge> larger_;
};

}  // namespace superpixel

#endif
