// The assignment step of SLIC: every pixel to the nearest centre whose window it lies in.
#ifndef SUPERPIXEL_ASSIGN_H
#define SUPERPIXEL_ASSIGN_H

#include <cstddef>
#include <cstdint>

#include "buffer.h"
#include "connect.h"
#include "lab.h"

namespace superpixel {

constexpr int kMostStep = 4;

// Sums over the pixels of a cluster, in the parts that a tile is added in. They are exact: whole numbers of 64 bits.
struct alignas(32) Sums {
    std::int64_t count() const { return positions[0]; }
    std::int64_t lightness() const { return values[0] - kLargestLab * count(); }
    std::int64_t a() const { return values[2] - kLargestLab * count(); }
    std::int64_t b() const { return values[1] + values[3] - kLargestLab * count(); }
    std::int64_t x() const { return left + positions[1] + positions[3]; }
    std::int64_t y() const { return top + positions[2]; }

    std::int64_t values[4];     // lightness, b in even columns, a, b in odd columns, all counted from -kLargestLab
    std::int64_t positions[4];  // in tiles: how many pixels, columns (even ones), rows, columns (odd ones)
    std::int64_t left, top;     // of the tiles, once for every pixel
};

// Pixels are compared with centres in tiles of kLanes x 4: all pixels of a tile look at the same centres, those whose
// window (2 `reach` x 2 `reach` around the centre) reaches into the tile. This holds each tile's centres, in ascending
// order.
class Candidates {
public:
    Candidates(const LabPlanes &lab, int num_centres, double reach);

    // `step`: image rows from one that is looked at to the next, a power of two up to kMostStep.
    void update(const Centre *centres, int count, int step);

    int columns() const { return columns_; }
    int step() const { return step_; }
    int rows() const { return rows_; }
    const std::int32_t *begin(std::size_t tile) const { return &centres_[begin_[tile]]; }
    const std::int32_t *end(std::size_t tile) const { return &centres_[begin_[tile + 1]]; }

private:
    // Those that a centre's window reaches into, without the ends.
    struct Tiles {
        std::int32_t left, right, top, bottom;
    };

    int columns_, most_rows_, rows_ = 0, step_ = 1;
    float reach_;
    Buffer<Tiles> tiles_;
    Buffer<std::int32_t> changes_, begin_, centres_;
};

// Gives every pixel its nearest centre, and adds it to that centre's sums unless `sums` is null. `nearness` is what a
// squared distance of one pixel weighs against one of colour.
void assign(const LabPlanes &lab, const Candidates &candidates, const Centre *centres, float nearness,
            std::int32_t *clusters, Sums *sums);

}  // namespace superpixel

#endif
