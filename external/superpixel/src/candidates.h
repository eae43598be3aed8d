// Which centres the pixels of an image are compared with.
#ifndef SUPERPIXEL_CANDIDATES_H
#define SUPERPIXEL_CANDIDATES_H

#include <cstddef>
#include <cstdint>

#include "buffer.h"
#include "connect.h"
#include "lab.h"

namespace superpixel {

constexpr int kTileRows = 4;  // of a tile, which is kLanes wide
constexpr int kMostStep = 4;  // between two rows that are looked at

// Pixels are compared with centres in tiles of kLanes x kTileRows: all pixels of a tile look at the same centres, those whose
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

}  // namespace superpixel

#endif
