// SLIC: k-means over colour and position, in which every centre competes for its surroundings only.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "buffer.h"
#include "connect.h"
#include "lab.h"
#include "simd.h"
#include "superpixel.h"

namespace superpixel {
namespace {

// Pixels are compared with centres in tiles of kLanes x kTileRows: all pixels of a tile look at the same centres, those
// whose window (2S x 2S around the centre) reaches into the tile.
constexpr int kTileRows = 4;

// Centres that move less than this (on average, in pixels) have settled.
constexpr double kSettled = .1;

// The first rounds only bring the centres near to where they belong: they look at every fourth row, and at every second
// one when kHalfOfRows rounds are left. The last kAllRows rounds look at all.
constexpr int kHalfOfRows = 4, kAllRows = 2;

// Sums over the pixels of a cluster, of every kLanes-th column each, so that adding a tile is adding whole registers.
// Values are whole numbers, exact in a float up to 2^24.
struct Sums {
    alignas(64) float lightness[kLanes], a[kLanes], b[kLanes], x[kLanes], y[kLanes], count[kLanes];
};

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

// The cell's middle, moved to the place of the lowest gradient among its 3 x 3 neighbours (paper, section 3.1).
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

// -------------------------------------------------------------------------------------------------- windows
// For every tile the centres to look at, in ascending order.
class Candidates {
public:
    Candidates(const LabPlanes &lab, const Grid &grid, double reach)
        : columns_(lab.stride() / kLanes),
          most_rows_(lab.padded_height() / kTileRows),
          reach_(static_cast<float>(reach)),
          begin_(static_cast<std::size_t>(columns_) * most_rows_ + 2),
          centres_(most(grid, reach)) {}

    // `step`: image rows from one that is looked at to the next.
    void update(const Centre *centres, int count, int step) {
        step_ = step;
        rows_ = most_rows_ / step;
        const std::size_t tiles = static_cast<std::size_t>(columns_) * rows_;
        std::fill(begin_.get(), begin_.get() + tiles + 2, 0);
        // Counts begin a place late, so that filling, which moves every start to its end, makes it the next tile's.
        std::int32_t *const start = begin_.get() + 1;
        for (int c = 0; c < count; ++c) for_each_tile(centres[c], [&](std::size_t tile) { ++start[tile + 1]; });
        for (std::size_t tile = 0; tile < tiles; ++tile) start[tile + 1] += start[tile];
        for (int c = 0; c < count; ++c)
            for_each_tile(centres[c], [&](std::size_t tile) { centres_[start[tile]++] = c; });
    }

    int columns() const { return columns_; }
    int step() const { return step_; }
    int rows() const { return rows_; }
    const std::int32_t *begin(std::size_t tile) const { return &centres_[begin_[tile]]; }
    const std::int32_t *end(std::size_t tile) const { return &centres_[begin_[tile + 1]]; }

private:
    std::size_t most(const Grid &grid, double reach) const {
        const double across = std::min(std::floor(2 * reach / kLanes) + 2, static_cast<double>(columns_));
        const double down = std::min(std::floor(2 * reach / kTileRows) + 2, static_cast<double>(most_rows_));
        return static_cast<std::size_t>(across * down) * grid.size();
    }

    template <class Visit>
    void for_each_tile(const Centre &centre, Visit visit) const {
        const int left = static_cast<int>(std::max(centre.x - reach_, 0.f)) / kLanes;
        const int right = std::min(static_cast<int>(centre.x + reach_) / kLanes, columns_ - 1);
        const int top = static_cast<int>(std::max(centre.y - reach_, 0.f)) / (kTileRows * step_);
        const int bottom = std::min(static_cast<int>(centre.y + reach_) / (kTileRows * step_), rows_ - 1);
        for (int row = top; row <= bottom; ++row)
            for (int column = left; column <= right; ++column) visit(static_cast<std::size_t>(row) * columns_ + column);
    }

    int columns_, most_rows_, rows_ = 0, step_ = 1;
    float reach_;
    Buffer<std::int32_t> begin_, centres_;
};

// ---------------------------------------------------------------------------------------------- assignment
template <int kBytes>
struct Register {
    static constexpr int kCount = kBytes / 4;
    typedef float Floats __attribute__((vector_size(kBytes)));
    typedef std::int32_t Integers __attribute__((vector_size(kBytes)));
    typedef std::int16_t Halves __attribute__((vector_size(kBytes / 2)));
};

template <int kBytes>
ALWAYS_INLINE void load(const std::int16_t *from, typename Register<kBytes>::Floats &to) {
    typename Register<kBytes>::Halves values;
    std::memcpy(&values, from, sizeof values);
    to = __builtin_convertvector(values, typename Register<kBytes>::Floats);
}

template <class Vector>
ALWAYS_INLINE void add_to(float *to, const Vector &v) {
    Vector sum;
    std::memcpy(&sum, to, sizeof sum);
    sum += v;
    std::memcpy(to, &sum, sizeof sum);
}

// A part of a tile that is as wide as a register.
template <int kBytes>
struct Part {
    using Floats = typename Register<kBytes>::Floats;
    using Integers = typename Register<kBytes>::Integers;
    Floats x, lightness[kTileRows], a[kTileRows], b[kTileRows];
    Integers owner[kTileRows];
};

// The centre of the smallest distance, the first of equal ones, for every pixel of the part.
template <int kBytes>
ALWAYS_INLINE void find_nearest(Part<kBytes> &part, int top, int step, const std::int32_t *first,
                                const std::int32_t *last, const Centre *centres, float nearness) {
    using Floats = typename Register<kBytes>::Floats;
    using Integers = typename Register<kBytes>::Integers;
    Floats smallest[kTileRows];
    Integers owner[kTileRows];
    for (int row = 0; row < kTileRows; ++row) {
        smallest[row] = Floats{} + std::numeric_limits<float>::max();
        owner[row] = Integers{};
    }
    for (const std::int32_t *candidate = first; candidate != last; ++candidate) {
        const Centre &centre = centres[*candidate];
        const Floats dx = part.x - centre.x;
        const Floats along = nearness * dx * dx;
        const float dy = static_cast<float>(top) - centre.y;
#pragma GCC unroll 8
        for (int row = 0; row < kTileRows; ++row) {
            const float row_dy = dy + static_cast<float>(row * step);
            const float across = row_dy * row_dy * nearness;
            const Floats dl = part.lightness[row] - centre.lightness, da = part.a[row] - centre.a,
                         db = part.b[row] - centre.b;
            const Floats distance = (along + across) + dl * dl + (da * da + db * db);
            owner[row] = distance < smallest[row] ? Integers{} + *candidate : owner[row];
            smallest[row] = distance < smallest[row] ? distance : smallest[row];
        }
    }
    for (int row = 0; row < kTileRows; ++row) part.owner[row] = owner[row];
}

template <int kBytes>
ALWAYS_INLINE void disown_padding(Part<kBytes> &part, int top, int step, const LabPlanes &lab) {
    for (int row = 0; row < kTileRows; ++row) {
        const int width = top + row * step < lab.height() ? lab.width() : 0;
        part.owner[row] =
            part.x < static_cast<float>(width) ? part.owner[row] : typename Register<kBytes>::Integers{} - 1;
    }
}

template <int kBytes>
ALWAYS_INLINE void add_part(const Part<kBytes> &part, int top, int step, std::int32_t candidate, int at, Sums &to) {
    using Floats = typename Register<kBytes>::Floats;
    using Integers = typename Register<kBytes>::Integers;
    Floats lightness{}, a{}, b{};
    Integers count{}, rows{};
#pragma GCC unroll 8
    for (int row = 0; row < kTileRows; ++row) {
        const Integers own = part.owner[row] == candidate;  // all bits set, -1, where it is so
        lightness += reinterpret_cast<Floats>(own & reinterpret_cast<Integers>(part.lightness[row]));
        a += reinterpret_cast<Floats>(own & reinterpret_cast<Integers>(part.a[row]));
        b += reinterpret_cast<Floats>(own & reinterpret_cast<Integers>(part.b[row]));
        count -= own;
        rows += own & row;
    }
    const Floats pixels = __builtin_convertvector(count, Floats);
    add_to(to.lightness + at, lightness);
    add_to(to.a + at, a);
    add_to(to.b + at, b);
    add_to(to.x + at, pixels * part.x);
    add_to(to.y + at,
           pixels * static_cast<float>(top) + __builtin_convertvector(rows, Floats) * static_cast<float>(step));
    add_to(to.count + at, pixels);
}

// Gives every pixel its nearest centre, and adds it to that centre's sums unless `sums` is null. `nearness` is what a
// squared distance of one pixel weighs against one of colour.
template <int kBytes>
ALWAYS_INLINE void assign_body(const LabPlanes &lab, const Candidates &candidates, const Centre *centres,
                               float nearness, std::int32_t *clusters, Sums *sums) {
    using R = Register<kBytes>;
    typename R::Floats lane;
    for (int i = 0; i < R::kCount; ++i) lane[i] = static_cast<float>(i);
    Part<kBytes> part;
    const int step = candidates.step();
    const std::size_t stride = static_cast<std::size_t>(lab.stride()) * step;
    for (int tile_row = 0; tile_row < candidates.rows(); ++tile_row)
        for (int tile_column = 0; tile_column < candidates.columns(); ++tile_column) {
            const std::size_t tile = static_cast<std::size_t>(tile_row) * candidates.columns() + tile_column;
            const std::int32_t *const first = candidates.begin(tile), *const last = candidates.end(tile);
            if (first == last) continue;  // every centre moved away: pixels keep what they have
            const int top = tile_row * kTileRows * step;
            for (int left = tile_column * kLanes; left < (tile_column + 1) * kLanes; left += R::kCount) {
                const std::size_t at = static_cast<std::size_t>(top) * lab.stride() + left;  // the part's first
                part.x = lane + static_cast<float>(left);
                for (int row = 0; row < kTileRows; ++row) {
                    load<kBytes>(lab.lightness() + at + row * stride, part.lightness[row]);
                    load<kBytes>(lab.a() + at + row * stride, part.a[row]);
                    load<kBytes>(lab.b() + at + row * stride, part.b[row]);
                }
                find_nearest<kBytes>(part, top, step, first, last, centres, nearness);
                for (int row = 0; row < kTileRows; ++row)
                    std::memcpy(clusters + at + row * stride, &part.owner[row], sizeof part.owner[row]);
                if (!sums) continue;
                if (left + R::kCount > lab.width() || top + kTileRows * step > lab.height())
                    disown_padding<kBytes>(part, top, step, lab);
                for (const std::int32_t *candidate = first; candidate != last; ++candidate)
                    add_part<kBytes>(part, top, step, *candidate, left % kLanes, sums[*candidate]);
            }
        }
}
BUILD_FOR_EACH(assign,
               (const LabPlanes &lab, const Candidates &candidates, const Centre *centres, float nearness,
                std::int32_t *clusters, Sums *sums),
               (lab, candidates, centres, nearness, clusters, sums))

double total(const float values[kLanes]) {
    double sum = 0;
    for (int i = 0; i < kLanes; ++i) sum += values[i];
    return sum;
}

// Moves every centre to its pixels' mean. Returns how far they moved on average (city-block distance, pixels).
double move_centres(const Sums *sums, Centre *centres, int count) {
    double moved = 0;
    for (int c = 0; c < count; ++c) {
        const double pixels = total(sums[c].count);
        if (pixels == 0) continue;
        const auto mean = [&](const float *values) { return static_cast<float>(total(values) / pixels); };
        const Centre centre = {mean(sums[c].lightness), mean(sums[c].a), mean(sums[c].b), mean(sums[c].x),
                               mean(sums[c].y)};
        moved += std::fabs(centre.x - centres[c].x) + std::fabs(centre.y - centres[c].y);
        centres[c] = centre;
    }
    return moved / count;
}

// Rows from one that is looked at to the next with `rounds` to go. A cluster must have a few of them.
int row_step(int rounds, double side) {
    const int step = rounds > kHalfOfRows ? 4 : rounds > kAllRows ? 2 : 1;
    return std::min(step, side < 8 ? 1 : side < 16 ? 2 : 4);
}

// When the centres have settled, the rounds that look at the same rows are done.
int rounds_to_go(int rounds, bool settled) {
    if (!settled) return rounds - 1;
    return rounds > kHalfOfRows ? kHalfOfRows : rounds > kAllRows ? kAllRows : 0;
}

void find_clusters(const LabPlanes &lab, const SlicSettings &settings, double side, const Grid &grid, Centre *centres,
                   std::int32_t *clusters) {
    Candidates candidates(lab, grid, side);
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
