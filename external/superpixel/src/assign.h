// The assignment step of SLIC: every pixel to the nearest centre whose window it lies in.
#ifndef SUPERPIXEL_ASSIGN_H
#define SUPERPIXEL_ASSIGN_H

#include <cstdint>

#include "candidates.h"
#include "connect.h"
#include "lab.h"

namespace superpixel {

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

// Gives every pixel its nearest centre, and adds it to that centre's sums unless `sums` is null. `nearness` is what a
// squared distance of one pixel weighs against one of colour.
void assign(const LabPlanes &lab, const Candidates &candidates, const Centre *centres, float nearness,
            std::int32_t *clusters, Sums *sums);

}  // namespace superpixel

#endif
