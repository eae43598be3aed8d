#include "edges.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

#include "flags.h"
#include "simd.h"

namespace superpixel {
namespace {

// ---------------------------------------------------------------------------------------------------- weights
// Pixels from `a` on and from `b` on, whose planes lie `plane` values apart.
struct Pairs {
    const float *planes;
    std::size_t plane, a, b;
    int count;
};

// Bits of the Euclidean distance in colour of a pair.
ALWAYS_INLINE std::uint32_t distance_bits(const float *blue_a, const float *blue_b, std::size_t plane, int x) {
    const float red = blue_a[2 * plane + x] - blue_b[2 * plane + x], green = blue_a[plane + x] - blue_b[plane + x],
                blue = blue_a[x] - blue_b[x];
    const float distance = std::sqrt(red * red + green * green + blue * blue);
    std::uint32_t bits;
    std::memcpy(&bits, &distance, sizeof bits);
    return bits;
}

template <int>
ALWAYS_INLINE void weigh_body(const Pairs &pairs, std::uint32_t *__restrict bits) {
    const float *const a = pairs.planes + pairs.a, *const b = pairs.planes + pairs.b;
    const std::size_t plane = pairs.plane;
    for (int x = 0; x < pairs.count; ++x) bits[x] = distance_bits(a, b, plane, x);
}
BUILD_FOR_EACH(weigh, (const Pairs &pairs, std::uint32_t *bits), (pairs, bits))

// The same, and in `useful` the bit `flag` of those pairs that have one of the weights, and two regions of which one is
// flagged, or with an `inverted` of 1 none.
template <int>
ALWAYS_INLINE void weigh_useful_body(const Pairs &pairs, const Region *regions, Region inverted, const Weights &weights,
                                     std::uint32_t flag, std::uint32_t *__restrict bits,
                                     std::uint32_t *__restrict useful) {
    const float *const a = pairs.planes + pairs.a, *const b = pairs.planes + pairs.b;
    const Region *const regions_a = regions + pairs.a, *const regions_b = regions + pairs.b;
    const std::size_t plane = pairs.plane;
    const std::uint32_t begin = weights.begin, range = weights.end - begin;
    const int count = pairs.count;
    for (int x = 0; x < count; ++x) {
        const std::uint32_t own = distance_bits(a, b, plane, x);
        const Region one = regions_a[x], other = regions_b[x];
        bits[x] = own;
        useful[x] |= ((own - begin < range) & (one != other) & ((one | other) ^ inverted)) != 0 ? flag : 0;
    }
}
BUILD_FOR_EACH(weigh_useful,
               (const Pairs &pairs, const Region *regions, Region inverted, const Weights &weights,
                std::uint32_t flag, std::uint32_t *bits, std::uint32_t *useful),
               (pairs, regions, inverted, weights, flag, bits, useful))

template <int>
ALWAYS_INLINE void narrow_body(const std::uint32_t *__restrict from, int count, std::uint8_t *__restrict to) {
    for (int x = 0; x < count; ++x) to[x] = static_cast<std::uint8_t>(from[x]);
}
BUILD_FOR_EACH(narrow, (const std::uint32_t *from, int count, std::uint8_t *to), (from, count, to))

// ---------------------------------------------------------------------------------------------------- sorting
// The leading digits of a weight that decide where it goes, of which `sort` looks at kDigits twice.
constexpr int kDigits = 11;

struct Key {
    std::uint32_t lightest;  // what is lighter has the same key
    int shift;
    std::uint32_t operator()(Edge edge) const {
        const std::uint32_t bits = static_cast<std::uint32_t>(edge >> 32);
        return (std::max(bits, lightest) - lightest) >> shift;
    }
};

// Moves edges to where kDigits bits of their keys from `shift` on put them, and keeps the order of equal ones.
void radix_pass(const Edge *from, const Edge *end, Edge *to, Key key, int shift) {
    constexpr std::uint32_t kMask = (1u << kDigits) - 1;
    std::size_t start[kMask + 1] = {};
    for (const Edge *edge = from; edge != end; ++edge) ++start[key(*edge) >> shift & kMask];
    std::size_t sum = 0;
    for (std::size_t &s : start) sum += std::exchange(s, sum);
    for (const Edge *edge = from; edge != end; ++edge) to[start[key(*edge) >> shift & kMask]++] = *edge;
}

// Edges are in the order of their keys. Few share one that is not their whole weight.
void sort_within_keys(Edge *begin, Edge *end, Key key) {
    for (Edge *edge = begin; edge != end; ++edge) {
        if (edge == begin || edge[-1] <= edge[0]) continue;
        const std::uint32_t own = key(*edge);
        Edge *first = edge, *last = edge;
        while (first != begin && key(first[-1]) == own) --first;
        while (last != end && key(*last) == own) ++last;
        std::sort(first, last);
    }
}

// Groups end about where these fractions of all edges are. Of the first every edge is of use, of the last few are.
constexpr double kFractions[] = {.2, .4, .65};

// So few edges are lighter than `light_`.
constexpr double kLight = .001;

// Weights are counted in steps of so many bits, on every kSampled-th row.
constexpr int kStep = 16, kSampled = 8;

// Groups of more edges that are of use are rare.
std::size_t initial_capacity(std::size_t pixels) { return pixels + pixels / 2; }

}  // namespace

// ------------------------------------------------------------------------------------------------------ edges
Edges::Edges(const float *planes, int width, int height, Edge *room)
    : planes_(planes),
      width_(width),
      height_(height),
      bits_(static_cast<std::size_t>(kDirections) * width),
      useful_(width),
      portions_(static_cast<std::size_t>(width) + kFlagsRead),
      capacity_(initial_capacity(static_cast<std::size_t>(width) * height)),
      edges_(room),
      scratch_(room + capacity_),
      larger_(0) {
    choose_groups();
}

std::size_t Edges::initial_room(std::size_t pixels) { return 2 * initial_capacity(pixels); }

Edges::Row Edges::row(int y) const {
    const std::size_t first = static_cast<std::size_t>(y) * width_;
    const bool above = y > 0, below = y < height_ - 1;
    return {first,
            {width_ - 1, below ? width_ : 0, below ? width_ - 1 : 0, above ? width_ - 1 : 0},
            {first + 1, first + width_, first + width_ + 1, first - width_ + 1}};
}

void Edges::choose_groups() {
    std::vector<std::size_t> counts(kAllWeights.end >> kStep);
    const std::size_t plane = static_cast<std::size_t>(width_) * height_;
    double all = 0;
    for (int y = 0; y < height_; y += kSampled) {
        const Row from = row(y);
        for (int d = 0; d < kDirections; ++d) {
            if (from.count[d] <= 0) continue;
            weigh({planes_, plane, from.first, from.to[d], from.count[d]}, bits_.data());
            for (int x = 0; x < from.count[d]; ++x) ++counts[bits_[x] >> kStep];
            all += from.count[d];
        }
    }
    std::uint32_t step = 0;
    double lighter = 0;
    for (; step < counts.size() && lighter + static_cast<double>(counts[step]) < kLight * all; ++step)
        lighter += static_cast<double>(counts[step]);
    light_ = step << kStep;
    std::uint32_t begin = 0;
    for (const double fraction : kFractions) {
        for (; step < counts.size() && lighter < fraction * all; ++step) lighter += static_cast<double>(counts[step]);
        if (step << kStep > begin) groups_.push_back({begin, step << kStep});
        begin = step << kStep;
    }
    groups_.push_back({begin, kAllWeights.end});
}

void Edges::collect(Weights weights, const Region *regions, Use use) {
    const std::size_t plane = static_cast<std::size_t>(width_) * height_;
    count_ = 0;
    for (int y = 0; y < height_; ++y) {
        const Row from = row(y);
        std::fill(useful_.begin(), useful_.end(), 0);
        for (int d = 0; d < kDirections; ++d)
            if (from.count[d] > 0)
                weigh_useful({planes_, plane, from.first, from.to[d], from.count[d]}, regions,
                             use == Use::kNeitherFlagged, weights, 1u << d,
                             &bits_[static_cast<std::size_t>(d) * width_], useful_.data());
        narrow(useful_.data(), width_, portions_.data());
        append(static_cast<std::uint32_t>(from.first));
    }
    sort({std::max(weights.begin, light_), weights.end});
}

// Where `count` edges need more room than there is at first, room for all: what stays unused of it costs nothing.
void Edges::make_room(std::size_t count) {
    if (count <= capacity_) return;
    capacity_ = static_cast<std::size_t>(kDirections) * width_ * height_;
    larger_ = Buffer<Edge>(2 * capacity_);
    std::copy(edges_, edges_ + count_, larger_.get());
    edges_ = larger_.get();
    scratch_ = edges_ + capacity_;
}

// Appends the useful edges of a row as they are listed.
void Edges::append(std::uint32_t first_pixel) {
    make_room(count_ + static_cast<std::size_t>(kDirections) * width_);
    Edge *to = edges_ + count_;
    for_each_flag(portions_.data(), width_, [&](int at) {
        const int pixel = at / 8, direction = at % 8;
        *to++ = static_cast<Edge>(bits_[static_cast<std::size_t>(direction) * width_ + pixel]) << 32 |
                ((first_pixel + pixel) * kDirections + direction);
    });
    count_ = to - edges_;
}

// Edges are there as they are listed, so that a stable sort by weight and a sort by all bits do the same.
void Edges::sort(Weights weights) {
    if (std::is_sorted(begin(), end())) return;  // of a flat image all edges are alike
    int bits = 2 * kDigits;
    while (bits < 32 && (weights.end - 1 - weights.begin) >> bits != 0) ++bits;
    const Key key = {weights.begin, bits - 2 * kDigits};
    radix_pass(edges_, edges_ + count_, scratch_, key, 0);
    radix_pass(scratch_, scratch_ + count_, edges_, key, kDigits);
    sort_within_keys(edges_, edges_ + count_, key);
}

}  // namespace superpixel
