#include "assign.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "simd.h"

namespace superpixel {
namespace {

constexpr int kTileRows = 4;

}  // namespace

// ---------------------------------------------------------------------------------------------- candidates
Candidates::Candidates(const LabPlanes &lab, int num_centres, double reach)
    : columns_(lab.stride() / kLanes),
      most_rows_(lab.padded_height() / kTileRows),
      reach_(static_cast<float>(reach)),
      begin_(static_cast<std::size_t>(columns_) * most_rows_ + 2),
      centres_(capacity(num_centres, reach)) {}

void Candidates::update(const Centre *centres, int count, int step) {
    step_ = step;
    rows_ = most_rows_ / step;
    const std::size_t tiles = static_cast<std::size_t>(columns_) * rows_;
    std::fill(begin_.get(), begin_.get() + tiles + 2, 0);
    // Counts begin one entry late, so that filling, which moves every start to its end, makes it the next tile's.
    std::int32_t *const start = begin_.get() + 1, *const all = centres_.get();
    for (int c = 0; c < count; ++c) for_each_tile(centres[c], [start](std::size_t tile) { ++start[tile + 1]; });
    for (std::size_t tile = 0; tile < tiles; ++tile) start[tile + 1] += start[tile];
    for (int c = 0; c < count; ++c)
        for_each_tile(centres[c], [start, all, c](std::size_t tile) { all[start[tile]++] = c; });
}

std::size_t Candidates::capacity(int num_centres, double reach) const {
    const double across = std::min(std::floor(2 * reach / kLanes) + 2, static_cast<double>(columns_));
    const double down = std::min(std::floor(2 * reach / kTileRows) + 2, static_cast<double>(most_rows_));
    return static_cast<std::size_t>(across * down) * num_centres;
}

template <class Visit>
void Candidates::for_each_tile(const Centre &centre, Visit visit) const {
    const int columns = columns_;  // what `visit` writes could be a member, for all the compiler knows
    const int left = static_cast<int>(std::max(centre.x - reach_, 0.f)) / kLanes;
    const int right = std::min(static_cast<int>(centre.x + reach_) / kLanes, columns - 1);
    const int top = static_cast<int>(std::max(centre.y - reach_, 0.f)) / (kTileRows * step_);
    const int bottom = std::min(static_cast<int>(centre.y + reach_) / (kTileRows * step_), rows_ - 1);
    for (int row = top; row <= bottom; ++row)
        for (int column = left; column <= right; ++column) visit(static_cast<std::size_t>(row) * columns + column);
}

// ---------------------------------------------------------------------------------------------- assignment
namespace {

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

// As many columns of a tile as a register holds.
template <int kBytes>
struct TileSlice {
    using Floats = typename Register<kBytes>::Floats;
    using Integers = typename Register<kBytes>::Integers;
    Floats x, lightness[kTileRows], a[kTileRows], b[kTileRows];
    Integers owner[kTileRows];
};

// The centre of the smallest distance, the first of equal ones, for every pixel of the slice.
template <int kBytes>
ALWAYS_INLINE void find_nearest(TileSlice<kBytes> &slice, int top, int step, const std::int32_t *first,
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
        const Floats dx = slice.x - centre.x;
        const Floats along = nearness * dx * dx;
        const float dy = static_cast<float>(top) - centre.y;
#pragma GCC unroll 8
        for (int row = 0; row < kTileRows; ++row) {
            const float row_dy = dy + static_cast<float>(row * step);
            const float across = row_dy * row_dy * nearness;
            const Floats dl = slice.lightness[row] - centre.lightness, da = slice.a[row] - centre.a,
                         db = slice.b[row] - centre.b;
            const Floats distance = (along + across) + dl * dl + (da * da + db * db);
            owner[row] = distance < smallest[row] ? Integers{} + *candidate : owner[row];
            smallest[row] = distance < smallest[row] ? distance : smallest[row];
        }
    }
    for (int row = 0; row < kTileRows; ++row) slice.owner[row] = owner[row];
}

template <int kBytes>
ALWAYS_INLINE void disown_padding(TileSlice<kBytes> &slice, int top, int step, const LabPlanes &lab) {
    for (int row = 0; row < kTileRows; ++row) {
        const int width = top + row * step < lab.height() ? lab.width() : 0;
        slice.owner[row] =
            slice.x < static_cast<float>(width) ? slice.owner[row] : typename Register<kBytes>::Integers{} - 1;
    }
}

template <int kBytes>
ALWAYS_INLINE void add_slice(const TileSlice<kBytes> &slice, int top, int step, std::int32_t candidate, int at,
                             Sums &to) {
    using Floats = typename Register<kBytes>::Floats;
    using Integers = typename Register<kBytes>::Integers;
    Floats lightness{}, a{}, b{};
    Integers count{}, rows{};
#pragma GCC unroll 8
    for (int row = 0; row < kTileRows; ++row) {
        const Integers own = slice.owner[row] == candidate;  // all bits set, -1, where it is so
        lightness += reinterpret_cast<Floats>(own & reinterpret_cast<Integers>(slice.lightness[row]));
        a += reinterpret_cast<Floats>(own & reinterpret_cast<Integers>(slice.a[row]));
        b += reinterpret_cast<Floats>(own & reinterpret_cast<Integers>(slice.b[row]));
        count -= own;
        rows += own & row;
    }
    const Floats pixels = __builtin_convertvector(count, Floats);
    add_to(to.lightness + at, lightness);
    add_to(to.a + at, a);
    add_to(to.b + at, b);
    add_to(to.x + at, pixels * slice.x);
    add_to(to.y + at,
           pixels * static_cast<float>(top) + __builtin_convertvector(rows, Floats) * static_cast<float>(step));
    add_to(to.count + at, pixels);
}

template <int kBytes>
ALWAYS_INLINE void assign_tiles_body(const LabPlanes &lab, const Candidates &candidates, const Centre *centres,
                                     float nearness, std::int32_t *clusters, Sums *sums) {
    using R = Register<kBytes>;
    typename R::Floats lane;
    for (int i = 0; i < R::kCount; ++i) lane[i] = static_cast<float>(i);
    TileSlice<kBytes> slice;
    const int step = candidates.step();
    const std::size_t stride = static_cast<std::size_t>(lab.stride()) * step;
    for (int tile_row = 0; tile_row < candidates.rows(); ++tile_row)
        for (int tile_column = 0; tile_column < candidates.columns(); ++tile_column) {
            const std::size_t tile = static_cast<std::size_t>(tile_row) * candidates.columns() + tile_column;
            const std::int32_t *const first = candidates.begin(tile), *const last = candidates.end(tile);
            if (first == last) continue;  // every centre moved away: pixels keep what they have
            const int top = tile_row * kTileRows * step;
            for (int left = tile_column * kLanes; left < (tile_column + 1) * kLanes; left += R::kCount) {
                const std::size_t at = static_cast<std::size_t>(top) * lab.stride() + left;  // the slice's first
                slice.x = lane + static_cast<float>(left);
                for (int row = 0; row < kTileRows; ++row) {
                    load<kBytes>(lab.lightness() + at + row * stride, slice.lightness[row]);
                    load<kBytes>(lab.a() + at + row * stride, slice.a[row]);
                    load<kBytes>(lab.b() + at + row * stride, slice.b[row]);
                }
                find_nearest<kBytes>(slice, top, step, first, last, centres, nearness);
                for (int row = 0; row < kTileRows; ++row)
                    std::memcpy(clusters + at + row * stride, &slice.owner[row], sizeof slice.owner[row]);
                if (!sums) continue;
                if (left + R::kCount > lab.width() || top + kTileRows * step > lab.height())
                    disown_padding<kBytes>(slice, top, step, lab);
                for (const std::int32_t *candidate = first; candidate != last; ++candidate)
                    add_slice<kBytes>(slice, top, step, *candidate, left % kLanes, sums[*candidate]);
            }
        }
}
BUILD_FOR_EACH(assign_tiles,
               (const LabPlanes &lab, const Candidates &candidates, const Centre *centres, float nearness,
                std::int32_t *clusters, Sums *sums),
               (lab, candidates, centres, nearness, clusters, sums))

}  // namespace

void assign(const LabPlanes &lab, const Candidates &candidates, const Centre *centres, float nearness,
            std::int32_t *clusters, Sums *sums) {
    assign_tiles(lab, candidates, centres, nearness, clusters, sums);
}

}  // namespace superpixel
