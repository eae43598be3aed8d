#include "candidates.h"

#include <algorithm>
#include <cmath>

namespace superpixel {
namespace {

// How many of `tiles` tiles, of so many pixels, a window reaches into at most.
double most_tiles(double reach, int pixels, int tiles) {
    return std::min(std::floor(2 * reach / pixels) + 2, static_cast<double>(tiles));
}

}  // namespace

Candidates::Candidates(const LabPlanes &lab, int num_centres, double reach)
    : columns_(lab.stride() / kLanes),
      most_rows_(lab.padded_height() / kTileRows),
      reach_(static_cast<float>(reach)),
      tiles_(num_centres),
      changes_((static_cast<std::size_t>(columns_) + 1) * (most_rows_ + 1)),
      begin_(static_cast<std::size_t>(columns_) * most_rows_ + 1),
      centres_(static_cast<std::size_t>(most_tiles(reach, kLanes, columns_) *
                                        most_tiles(reach, kTileRows, most_rows_)) *
               num_centres) {}

void Candidates::update(const Centre *centres, int count, int step) {
    step_ = step;
    rows_ = most_rows_ / step;
    // Locals, because what is written could be a member, for all the compiler knows.
    const int columns = columns_, rows = rows_, shift = __builtin_ctz(kTileRows * step);
    const float reach = reach_;
    Tiles *const tiles = tiles_.get();
    std::int32_t *const changes = changes_.get(), *const all = centres_.get();
    // A corner of a centre's tiles changes how many centres the tiles to its right and below have.
    const std::size_t width = static_cast<std::size_t>(columns) + 1;
    std::fill(changes, changes + width * (rows + 1), 0);
    for (int c = 0; c < count; ++c) {
        const Centre &centre = centres[c];
        const Tiles own = {static_cast<int>(std::max(centre.x - reach, 0.f)) / kLanes,
                           std::min(static_cast<int>(centre.x + reach) / kLanes + 1, columns),
                           static_cast<int>(std::max(centre.y - reach, 0.f)) >> shift,
                           std::min((static_cast<int>(centre.y + reach) >> shift) + 1, rows)};
        tiles[c] = own;
        ++changes[own.top * width + own.left];
        --changes[own.top * width + own.right];
        --changes[own.bottom * width + own.left];
        ++changes[own.bottom * width + own.right];
    }
    // Starts lie one entry late, so that filling, which moves every start to its end, makes it the next tile's.
    std::int32_t *const start = begin_.get() + 1;
    std::int32_t next = 0;
    begin_[0] = 0;
    for (int row = 0; row < rows; ++row) {
        std::int32_t *const here = changes + row * width, *const below = here + width;
        for (int column = 0, centres_here = 0; column < columns; ++column) {
            below[column] += here[column];
            centres_here += here[column];
            start[static_cast<std::size_t>(row) * columns + column] = next;
            next += centres_here;
        }
    }
    for (int c = 0; c < count; ++c) {
        const Tiles own = tiles[c];
        for (int column = own.left; column < own.right; ++column) {
            std::int32_t *at = start + static_cast<std::size_t>(own.top) * columns + column;
            for (int row = own.top; row < own.bottom; ++row, at += columns) all[(*at)++] = c;
        }
    }
}

}  // namespace superpixel
