// The assignment step of SLIC: every pixel to the nearest centre whose window it lies in.
#ifndef SUPERPIXEL_ASSIGN_H
#define SUPERPIXEL_ASSIGN_H

#include <cstddef>
#include <cstdint>

#include "buffer.h"
#include "connect.h"
#include "lab.h"

namespace superpixel {

// Sums over the pixels of a cluster, of every kLanes-th column each, so that adding a tile is adding whole registers.
// Values are whole numbers, exact in a float up to 2^24.
struct Sums {
    alignas(64) float lightness[kLanes], a[kLanes], b[kLanes], x[kLanes], y[kLanes], count[kLanes];
};

// Pixels are compared with centres in tiles of kLanes x 4: all pixels of a tile look at the same centres, those whose
// window (2 `reach` x 2 `reach` around the centre) reaches into the tile. This holds each tile's centres, in ascending
// order.
class Candidates {
public:
    Candidates(const LabPlanes &lab, int num_centres, double reach);

    // `step`: image rows from one that is looked at to the next.
    void update(const Centre *centres, int count, int step);

    int columns() const { return columns_; }
    int step() const { return step_; }
    int rows() const { return rows_; }
    const std::int32_t *begin(std::size_t tile) const { return &centres_[begin_[tile]]; }
    const std::int32_t *end(std::size_t tile) const { return &centres_[begin_[tile + 1]]; }

private:
    std::size_t capacity(int num_centres, double reach) const;
    template <class Visit>
    void for_each_tile(const Centre &centre, Visit visit) const;

    int columns_, most_rows_, rows_ = 0, step_ = 1;
    float reach_;
    Buffer<std::int32_t> begin_, centres_;
};

// Gives every pixel its nearest centre, and adds it to that centre's sums unless `sums` is null. `nearness` is what a
// squared distance of one pixel weighs against one of colour.
void assign(const LabPlanes &lab, const Candidates &candidates, const Centre *centres, float nearness,
            std::int32_t *clusters, Sums *sums);

}  // namespace superpixel

#endif
