// SLIC: k-means over colour and position, in which every centre competes for its surroundings only.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "assign.h"
#include "buffer.h"
#include "connect.h"
#include "lab.h"
#include "superpixel.h"

namespace superpixel {
namespace {

// Centres that move less than this (on average, in pixels) have settled.
constexpr double kSettled = .1;

// The first rounds only bring the centres near to where they belong: they look at every fourth row, and at every second
// one when kHalfOfRows rounds are left. The last kAllRows rounds look at all.
constexpr int kHalfOfRows = 4, kAllRows = 2;

// -------------------------------------------------------------------------------------------------- seeds
// How many centres fit the image: a grid whose cells come closest to squares of the given side.
struct Grid {
    Grid(const LabPlanes &lab, double side) : columns(cells(lab.width(), side)), rows(cells(lab.height(), side)) {}
    static int cells(int length, double side) { return std::max(1, static_cast<int>(std::lround(length / side))); }
    int size() const { return columns * rows; }
    int columns, rows;
};

double gradient(const LabPlanes &lab, std::size_t at) {
    double sum = 0;
    for (const std::int16_t *plane : {lab.lightness(), lab.a(), lab.b()}) {
        const double along = plane[at + 1] - plane[at - 1],
                     across = plane[at + lab.stride()] - plane[at - lab.stride()];
        sum += along * along + across * across;
    }
    return sum;
}

// The cell's middle, moved to the lowest gradient among its 3 x 3 neighbours (paper, section 3.1).
Centre seed(const LabPlanes &lab, int x, int y) {
    double lowest = std::numeric_limits<double>::max();
    int best_x = x, best_y = y;
    for (int v = std::max(y - 1, 1); v <= std::min(y + 1, lab.height() - 2); ++v)
        for (int u = std::max(x - 1, 1); u <= std::min(x + 1, lab.width() - 2); ++u) {
            const double here = gradient(lab, static_cast<std::size_t>(v) * lab.stride() + u);
            if (here < lowest) {
                lowest = here;
                best_x = u;
                best_y = v;
            }
        }
    const std::size_t at = static_cast<std::size_t>(best_y) * lab.stride() + best_x;
    return {static_cast<float>(lab.lightness()[at]), static_cast<float>(lab.a()[at]), static_cast<float>(lab.b()[at]),
            static_cast<float>(best_x), static_cast<float>(best_y)};
}

// ------------------------------------------------------------------------------------------------- rounds
// Moves every centre to its pixels' mean. Returns how far they moved on average (city-block distance, pixels).
double move_centres(const Sums *sums, Centre *centres, int count) {
    double moved = 0;
    for (int c = 0; c < count; ++c) {
        const Sums &sum = sums[c];
        if (sum.count() == 0) continue;
        const auto mean = [&sum](std::int64_t total) {
            return static_cast<float>(static_cast<double>(total) / static_cast<double>(sum.count()));
        };
        const Centre centre = {mean(sum.lightness()), mean(sum.a()), mean(sum.b()), mean(sum.x()), mean(sum.y())};
        moved += std::fabs(centre.x - centres[c].x) + std::fabs(centre.y - centres[c].y);
        centres[c] = centre;
    }
    return moved / count;
}

// Rows from one that is looked at to the next with `rounds` to go. A cluster must have a few of them.
int row_step(int rounds, double side) {
    const int step = rounds > kHalfOfRows ? kMostStep : rounds > kAllRows ? 2 : 1;
    return std::min(step, side < 8 ? 1 : side < 16 ? 2 : kMostStep);
}

// When the centres have settled, the rounds that look at the same rows are done.
int rounds_to_go(int rounds, bool settled) {
    if (!settled) return rounds - 1;
    return rounds > kHalfOfRows ? kHalfOfRows : rounds > kAllRows ? kAllRows : 0;
}

void find_clusters(const LabPlanes &lab, const SlicSettings &settings, double side, const Grid &grid, Centre *centres,
                   std::int32_t *clusters) {
    Candidates candidates(lab, grid.size(), side);
    Buffer<Sums> sums(grid.size());
    const double weight = kLabUnit * settings.compactness / side;
    for (int rounds = settings.iterations; rounds > 0;) {
        const bool is_last = rounds == 1;
        candidates.update(centres, grid.size(), row_step(rounds, side));
        std::memset(sums.get(), 0, sizeof(Sums) * grid.size());
        assign(lab, candidates, centres, static_cast<float>(weight * weight), clusters, is_last ? nullptr : sums.get());
        const bool settled = is_last || move_centres(sums.get(), centres, grid.size()) < kSettled;
        rounds = rounds_to_go(rounds, settled);
    }
}

}  // namespace

int slic(const Image &image, int min_size, const SlicSettings &settings, std::int32_t *labels) {
    if (image.width <= 0 || image.height <= 0) return 0;
    const LabPlanes lab(image);
    const double side = std::sqrt(4. * min_size);
    const Grid grid(lab, side);
    Buffer<Centre> centres(grid.size());
    for (int row = 0; row < grid.rows; ++row)
        for (int column = 0; column < grid.columns; ++column)
            centres[row * grid.columns + column] =
                seed(lab, static_cast<int>((column + .5) * lab.width() / grid.columns),
                     static_cast<int>((row + .5) * lab.height() / grid.rows));
    Buffer<std::int32_t> clusters(lab.size());
    std::fill(clusters.get(), clusters.get() + lab.size(), 0);
    find_clusters(lab, settings, side, grid, centres.get(), clusters.get());
    return connect(lab, clusters.get(), centres.get(), min_size, labels);
}

}  // namespace superpixel
