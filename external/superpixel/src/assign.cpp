#include "assign.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <utility>

#include "simd.h"

namespace superpixel {
namespace {

// Value by value, because GCC makes one instruction of this, and several of a conversion of vectors.
template <class Integers, std::size_t... kIndex>
ALWAYS_INLINE void widen(const std::int16_t *from, std::index_sequence<kIndex...>, Integers &to) {
    to = Integers{from[kIndex]...};
}

template <int kBytes>
ALWAYS_INLINE void load(const std::int16_t *from, typename Register<kBytes>::Integers &to) {
    widen(from, std::make_index_sequence<Register<kBytes>::kCount>(), to);
}

// AVX-512 adds and chooses by a mask in one instruction, others choose in several.
template <int kBytes, class Integers = typename Register<kBytes>::Integers>
ALWAYS_INLINE void add_where(const Integers &mask, const Integers &v, Integers &sum) {
    if constexpr (kBytes == 64)
        sum = mask ? sum + v : sum;
    else
        sum += mask & v;
}

// `candidate` is larger than what `owner` holds.
template <int kBytes, class Integers = typename Register<kBytes>::Integers>
ALWAYS_INLINE void take_where(const Integers &mask, std::int32_t candidate, Integers &owner) {
    if constexpr (kBytes == 32) {
        const Integers taken = mask & candidate;
        owner = taken > owner ? taken : owner;
    } else {
        owner = mask ? Integers{} + candidate : owner;
    }
}

// As many columns of a tile as a register holds.
template <int kBytes>
struct TileSlice {
    using Floats = typename Register<kBytes>::Floats;
    using Integers = typename Register<kBytes>::Integers;
    Floats x;
    Integers lightness[kTileRows], a[kTileRows], b[kTileRows], owner[kTileRows];
};

// The centre of the smallest distance, the first of equal ones, for every pixel of the slice.
template <int kBytes>
ALWAYS_INLINE void find_nearest(TileSlice<kBytes> &slice, int top, int step, const std::int32_t *first,
                                const std::int32_t *last, const Centre *centres, float nearness) {
    using Floats = typename Register<kBytes>::Floats;
    using Integers = typename Register<kBytes>::Integers;
    Floats smallest[kTileRows], lightness[kTileRows], a[kTileRows], b[kTileRows];
    Integers owner[kTileRows];
#pragma GCC unroll 8
    for (int row = 0; row < kTileRows; ++row) {
        smallest[row] = Floats{} + std::numeric_limits<float>::max();
        owner[row] = Integers{};
        lightness[row] = __builtin_convertvector(slice.lightness[row], Floats);
        a[row] = __builtin_convertvector(slice.a[row], Floats);
        b[row] = __builtin_convertvector(slice.b[row], Floats);
    }
    using Rows = Register<4 * kTileRows>::Floats;
    Rows tops, rows;
    for (int row = 0; row < kTileRows; ++row) {
        tops[row] = static_cast<float>(top);
        rows[row] = static_cast<float>(row * step);
    }
    for (const std::int32_t *candidate = first; candidate != last; ++candidate) {
        const Centre &centre = centres[*candidate];
        const Floats dx = slice.x - centre.x;
        const Floats along = nearness * dx * dx;
        const Rows dy = rows + (tops - centre.y);
        Rows across = dy * dy * nearness;
        asm("" : "+m"(across));  // in memory, from where reading a value for all lanes costs no instruction
#pragma GCC unroll 8
        for (int row = 0; row < kTileRows; ++row) {
            const Floats dl = lightness[row] - centre.lightness, da = a[row] - centre.a, db = b[row] - centre.b;
            const Floats distance = (along + across[row]) + dl * dl + (da * da + db * db);
            take_where<kBytes>(distance < smallest[row], *candidate, owner[row]);
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

// Two sums over the pixels of a tile fit in 31 bits: below that of a plane's values, which are counted from
// -kLargestLab, above that of ones, of rows or of columns.
constexpr int kValueBits = 21;
static_assert(kTileRows * kLanes * (2 * kLargestLab - 1) < 1 << kValueBits, "values of a tile fit");
static_assert(kTileRows * kLanes * (kLanes - 1) / 2 < 1 << (31 - kValueBits), "columns of a tile fit");
static_assert(kLanes * kTileRows * (kTileRows - 1) / 2 * kMostStep < 1 << (31 - kValueBits), "rows of a tile fit");

// Gives the slice's values what is summed up above them. `columns` is that of its lanes.
template <int kBytes>
ALWAYS_INLINE void pack(TileSlice<kBytes> &slice, const typename Register<kBytes>::Integers &columns, int step) {
#pragma GCC unroll 8
    for (int row = 0; row < kTileRows; ++row) {
        slice.lightness[row] += kLargestLab + (1 << kValueBits);
        slice.a[row] += kLargestLab + (row * step << kValueBits);
        slice.b[row] += columns;
    }
}

// Lanes of v, then of w, by their numbers. What Clang has is in GCC from version 12 on.
template <class Integers, std::size_t... kNumber>
ALWAYS_INLINE void pick(const Integers &v, const Integers &w, std::index_sequence<kNumber...>, Integers &to) {
#if defined(__clang__)
    to = __builtin_shufflevector(v, w, kNumber...);
#else
    to = __builtin_shuffle(v, w, Integers{kNumber...});
#endif
}

// Of each four lanes v0 to v3 and w0 to w3 makes v0 + v2, w0 + w2, v1 + v3, w1 + w3.
template <class Integers, std::size_t... kIndex>
ALWAYS_INLINE void fold(const Integers &v, const Integers &w, std::index_sequence<kIndex...>, Integers &to) {
    constexpr std::size_t kLength = sizeof...(kIndex);
    Integers first, second;
    pick(v, w, std::index_sequence<(kIndex / 4 * 4 + kIndex % 4 / 2 + kIndex % 2 * kLength)...>(), first);
    pick(v, w, std::index_sequence<(kIndex / 4 * 4 + kIndex % 4 / 2 + kIndex % 2 * kLength + 2)...>(), second);
    to = first + second;
}

using FourIntegers = Register<16>::Integers;

template <int kBytes>
ALWAYS_INLINE void add_fours(const typename Register<kBytes>::Integers &v, FourIntegers &sum) {
    if constexpr (kBytes == sizeof sum) {
        sum = v;
    } else {
        typename Register<kBytes / 2>::Integers halves[2];
        std::memcpy(halves, &v, sizeof v);
        add_fours<kBytes / 2>(halves[0] + halves[1], sum);
    }
}

ALWAYS_INLINE void add_to(std::int64_t *to, const FourIntegers &v) {
    typedef std::int64_t FourLong __attribute__((vector_size(32)));
    FourLong sum;
    std::memcpy(&sum, to, sizeof sum);
    sum += FourLong{v[0], v[1], v[2], v[3]};  // value by value as in `load`
    std::memcpy(to, &sum, sizeof sum);
}

// Adds what a centre owns of a tile.
template <int kBytes>
ALWAYS_INLINE void add_tile(const TileSlice<kBytes> *slices, int top, int left, std::int32_t centre, Sums &to) {
    using Integers = typename Register<kBytes>::Integers;
    Integers lightness{}, a{}, b{};
#pragma GCC unroll 4
    for (int i = 0; i < kLanes / Register<kBytes>::kCount; ++i)
#pragma GCC unroll 8
        for (int row = 0; row < kTileRows; ++row) {
            const TileSlice<kBytes> &slice = slices[i];
            const Integers own = slice.owner[row] == centre;
            add_where<kBytes>(own, slice.lightness[row], lightness);
            add_where<kBytes>(own, slice.a[row], a);
            add_where<kBytes>(own, slice.b[row], b);
        }
    // Lightness, b in even columns, a, b in odd columns.
    constexpr auto lanes = std::make_index_sequence<Register<kBytes>::kCount>();
    fold(lightness, a, lanes, a);
    fold(a, b, lanes, b);
    FourIntegers sum;
    add_fours<kBytes>(b, sum);
    const FourIntegers positions = sum >> kValueBits;
    add_to(to.values, sum & ((1 << kValueBits) - 1));
    add_to(to.positions, positions);
    to.left += static_cast<std::int64_t>(left) * positions[0];
    to.top += static_cast<std::int64_t>(top) * positions[0];
}

template <int kBytes>
ALWAYS_INLINE void assign_tiles_body(const LabPlanes &lab, const Candidates &candidates, const Centre *centres,
                                     float nearness, std::int32_t *clusters, Sums *sums) {
    using R = Register<kBytes>;
    constexpr int kSlices = kLanes / R::kCount;
    typename R::Floats lane;
    typename R::Integers columns[kSlices];
    for (int i = 0; i < R::kCount; ++i) {
        lane[i] = static_cast<float>(i);
        for (int slice = 0; slice < kSlices; ++slice)
            columns[slice][i] = kLargestLab + ((slice * R::kCount + i) << kValueBits);
    }
    TileSlice<kBytes> slices[kSlices];
    const int step = candidates.step();
    const std::size_t stride = static_cast<std::size_t>(lab.stride()) * step;
    for (int tile_row = 0; tile_row < candidates.rows(); ++tile_row)
        for (int tile_column = 0; tile_column < candidates.columns(); ++tile_column) {
            const std::size_t tile = static_cast<std::size_t>(tile_row) * candidates.columns() + tile_column;
            const std::int32_t *const first = candidates.begin(tile), *const last = candidates.end(tile);
            if (first == last) continue;  // every centre moved away: pixels keep what they have
            const int top = tile_row * kTileRows * step, left = tile_column * kLanes;
            const bool padded = left + kLanes > lab.width() || top + kTileRows * step > lab.height();
#pragma GCC unroll 4
            for (int i = 0; i < kSlices; ++i) {
                TileSlice<kBytes> &slice = slices[i];
                const int column = left + i * R::kCount;
                const std::size_t at = static_cast<std::size_t>(top) * lab.stride() + column;  // the slice's first
                slice.x = lane + static_cast<float>(column);
#pragma GCC unroll 8
                for (int row = 0; row < kTileRows; ++row) {
                    load<kBytes>(lab.lightness() + at + row * stride, slice.lightness[row]);
                    load<kBytes>(lab.a() + at + row * stride, slice.a[row]);
                    load<kBytes>(lab.b() + at + row * stride, slice.b[row]);
                }
                find_nearest<kBytes>(slice, top, step, first, last, centres, nearness);
                for (int row = 0; row < kTileRows; ++row)
                    std::memcpy(clusters + at + row * stride, &slice.owner[row], sizeof slice.owner[row]);
                if (!sums) continue;
                if (padded) disown_padding<kBytes>(slice, top, step, lab);
                pack<kBytes>(slice, columns[i], step);
            }
            if (!sums) continue;
            for (const std::int32_t *candidate = first; candidate != last; ++candidate)
                add_tile<kBytes>(slices, top, left, *candidate, sums[*candidate]);
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
