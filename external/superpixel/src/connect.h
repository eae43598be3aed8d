// From clusters of pixels to connected superpixels.
#ifndef SUPERPIXEL_CONNECT_H
#define SUPERPIXEL_CONNECT_H

#include <cstdint>

#include "lab.h"

namespace superpixel {

// A cluster's mean colour (as in LabPlanes) and position.
struct Centre {
    float lightness, a, b, x, y;
};

// Cuts clusters into their connected pieces (4 neighbours) and lets those with fewer than `min_size` pixels, the
// smallest first, be absorbed by the neighbour of the most similar colour.
//
// `clusters` has the stride and the padding of `lab` and indexes `centres`; `labels` has no padding and gets numbers in
// raster order from 0. Returns how many.
int connect(const LabPlanes &lab, const std::int32_t *clusters, const Centre *centres, int min_size,
            std::int32_t *labels);

}  // namespace superpixel

#endif
