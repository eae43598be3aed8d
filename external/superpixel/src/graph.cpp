// Graph-based segmentation: smooth, order the edges of the pixel grid by weight, join along them.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

#include "buffer.h"
#include "gaussian.h"
#include "simd.h"
#include "superpixel.h"

namespace superpixel {
namespace {

// ---------------------------------------------------------------------------------------------------- edges
// The red, green and blue planes of the smoothed image, one after the other.
struct Planes {
    const float *red, *green, *blue;
};

// An edge in 64 bits, so that ordering the numbers orders edges by weight and then as they are listed: the weight's
// bits (floats that are not negative order like their bits), four times the pixel, and the direction.
using Edge = std::uint64_t;
enum Direction { kRight, kDown, kDownRight, kUpRight, kDirections };

inline float weight_of(Edge edge) {
    const std::uint32_t bits = static_cast<std::uint32_t>(edge >> 32);
    float weight;
    std::memcpy(&weight, &bits, sizeof weight);
    return weight;
}

// Bits of the Euclidean distances in colour between `count` pixels from `a` on and those from `b` on.
template <int>
ALWAYS_INLINE void distance_bits_body(const Planes &planes, std::size_t a, std::size_t b, int count,
                                      std::uint32_t *__restrict bits) {
    const float *__restrict red_a = planes.red + a, *__restrict red_b = planes.red + b;
    const float *__restrict green_a = planes.green + a, *__restrict green_b = planes.green + b;
    const float *__restrict blue_a = planes.blue + a, *__restrict blue_b = planes.blue + b;
    for (int x = 0; x < count; ++x) {
        const float red = red_a[x] - red_b[x], green = green_a[x] - green_b[x], blue = blue_a[x] - blue_b[x];
        const float distance = std::sqrt(red * red + green * green + blue * blue);
        std::memcpy(&bits[x], &distance, sizeof distance);
    }
}
BUILD_FOR_EACH(distance_bits, (const Planes &planes, std::size_t a, std::size_t b, int count, std::uint32_t *bits),
               (planes, a, b, count, bits))

// Edges come into buckets by the leading bits of their weight (eight of them for the exponent and seven of what
// follows), which are then sorted one by one where the cache holds them. Weights are below 512 = 2^9; those below
// 2^-7 share the first bucket.
constexpr int kShift = 16;
constexpr std::uint32_t kFirst = (127 - 7) << 7;
constexpr int kBuckets = ((127 + 9) << 7) - kFirst;

inline int bucket_of(std::uint32_t bits) { return std::max<int>((bits >> kShift) - kFirst, 0); }

class EdgeList {
public:
    EdgeList(const Planes &planes, int width, int height)
        : planes_(planes),
          width_(width),
          height_(height),
          bits_(static_cast<std::size_t>(kDirections) * width),
          edges_(static_cast<std::size_t>(kDirections) * width * height),
          scratch_(0) {
        fill();
    }

    // Calls `visit(edges, end)` with ascending runs of edges that together are all edges in ascending order.
    template <class Visit>
    void in_order(Visit visit) {
        std::size_t begin = 0;
        for (std::size_t end : ends_) {
            if (end > begin) {
                sort(edges_.get() + begin, end - begin);
                visit(edges_.get() + begin, edges_.get() + end);
            }
            begin = end;
        }
    }

private:
    // Weights of the edges that start in row y, `bits_[direction * width + x]`, and how many there are of each.
    void weigh_row(int y, int count[kDirections]) {
        const std::size_t row = static_cast<std::size_t>(y) * width_;
        const bool above = y > 0, below = y < height_ - 1;
        count[kRight] = width_ - 1;
        count[kDown] = below ? width_ : 0;
        count[kDownRight] = below ? width_ - 1 : 0;
        count[kUpRight] = above ? width_ - 1 : 0;
        const std::size_t other[kDirections] = {row + 1, row + width_, row + width_ + 1, row - width_ + 1};
        for (int d = 0; d < kDirections; ++d)
            if (count[d] > 0) distance_bits(planes_, row, other[d], count[d], &bits_[d * width_]);
    }

    // Weights are cheaper to compute twice than to keep: once to count the buckets, once to fill them.
    void fill() {
        std::fill(ends_, ends_ + kBuckets, 0);
        int count[kDirections];
        for (int y = 0; y < height_; ++y) {
            weigh_row(y, count);
            for (int d = 0; d < kDirections; ++d)
                for (int x = 0; x < count[d]; ++x) ++ends_[bucket_of(bits_[d * width_ + x])];
        }
        std::size_t largest = 0, begin = 0;
        for (std::size_t &end : ends_) {  // for now: where each bucket starts
            const std::size_t size = end;
            largest = std::max(largest, size);
            end = begin;
            begin += size;
        }
        for (int y = 0; y < height_; ++y) {
            weigh_row(y, count);
            const std::uint32_t first = static_cast<std::uint32_t>(y) * width_;
            for (int x = 0; x < width_; ++x)
                for (int d = 0; d < kDirections; ++d) {
                    if (x >= count[d]) continue;
                    const std::uint32_t bits = bits_[d * width_ + x];
                    edges_[ends_[bucket_of(bits)]++] = static_cast<Edge>(bits) << 32 | ((first + x) * kDirections + d);
                }
        }
        scratch_ = Buffer<Edge>(largest);
    }

    // Edges are filled in as they are listed, so that a stable sort by weight and a sort by all bits do the same. Those
    // of the first bucket differ in the upper half of the weight's bits, too, and are in order where all are 0.
    void sort(Edge *edges, std::size_t count) {
        if (count < 64 || edges == edges_.get()) {
            if (!std::is_sorted(edges, edges + count)) std::sort(edges, edges + count);
            return;
        }
        radix_pass(edges, scratch_.get(), count, 32);
        radix_pass(scratch_.get(), edges, count, 40);
    }

    static void radix_pass(const Edge *from, Edge *to, std::size_t count, int shift) {
        std::uint32_t start[256] = {};
        for (std::size_t i = 0; i < count; ++i) ++start[from[i] >> shift & 255];
        std::uint32_t sum = 0;
        for (std::uint32_t &s : start) {
            const std::uint32_t size = s;
            s = sum;
            sum += size;
        }
        for (std::size_t i = 0; i < count; ++i) to[start[from[i] >> shift & 255]++] = from[i];
    }

    Planes planes_;
    int width_, height_;
    Buffer<std::uint32_t> bits_;
    Buffer<Edge> edges_, scratch_;
    std::size_t ends_[kBuckets];
};

// ---------------------------------------------------------------------------------------------------- forest
// Disjoint sets of pixels. A root holds minus its set's size, every other pixel a pixel nearer to its root.
class Forest {
public:
    explicit Forest(std::size_t count) : up_(count) { std::fill(up_.get(), up_.get() + count, -1); }

    std::int32_t find(std::int32_t x) {
        while (up_[x] >= 0) {
            const std::int32_t up = up_[x];
            if (up_[up] < 0) return up;
            up_[x] = up_[up];
            x = up_[up];
        }
        return x;
    }

    std::int32_t size(std::int32_t root) const { return -up_[root]; }

    std::int32_t join(std::int32_t a, std::int32_t b) {
        if (size(a) < size(b)) std::swap(a, b);
        up_[a] += up_[b];
        up_[b] = a;
        return a;
    }

private:
    Buffer<std::int32_t> up_;
};

// The two pixels of an edge, by its lower 32 bits.
struct Ends {
    explicit Ends(int width) : offset{1, width, width + 1, 1 - width} {}
    std::int32_t from(std::uint32_t index) const { return static_cast<std::int32_t>(index / kDirections); }
    std::int32_t to(std::uint32_t index) const { return from(index) + offset[index % kDirections]; }
    std::int32_t offset[kDirections];
};

int number_in_raster_order(Forest &forest, std::size_t count, std::int32_t *labels) {
    Buffer<std::int32_t> number(count);
    std::fill(number.get(), number.get() + count, -1);
    std::int32_t next = 0;
    for (std::size_t i = 0; i < count; ++i) {
        std::int32_t &label = number[forest.find(static_cast<std::int32_t>(i))];
        if (label < 0) label = next++;
        labels[i] = label;
    }
    return next;
}

}  // namespace

int graph_segment(const Image &image, int min_size, std::int32_t *labels) {
    if (image.width <= 0 || image.height <= 0) return 0;
    const std::size_t count = static_cast<std::size_t>(image.width) * image.height;
    const float k = static_cast<float>(min_size);

    Buffer<float> smoothed(3 * count);
    smooth(image, smoothed.get());
    EdgeList edges({smoothed.get() + 2 * count, smoothed.get() + count, smoothed.get()}, image.width, image.height);

    // Joins two sets where the edge is no heavier than what holds either together plus k / size (paper, algorithm 1).
    // What it leaves apart are the only edges that the second round has to look at, in their order.
    const Ends ends(image.width);
    Forest forest(count);
    Buffer<float> threshold(count);
    std::fill(threshold.get(), threshold.get() + count, k);
    Buffer<std::uint32_t> apart(kDirections * count);
    std::size_t apart_count = 0;
    edges.in_order([&](const Edge *edge, const Edge *end) {
        for (; edge != end; ++edge) {
            const std::uint32_t index = static_cast<std::uint32_t>(*edge);
            const std::int32_t a = forest.find(ends.from(index)), b = forest.find(ends.to(index));
            if (a == b) continue;
            const float weight = weight_of(*edge);
            if (weight <= threshold[a] && weight <= threshold[b]) {
                const std::int32_t root = forest.join(a, b);
                threshold[root] = weight + k / static_cast<float>(forest.size(root));
            } else {
                apart[apart_count++] = index;
            }
        }
    });
    for (std::size_t i = 0; i < apart_count; ++i) {
        const std::int32_t a = forest.find(ends.from(apart[i])), b = forest.find(ends.to(apart[i]));
        if (a != b && (forest.size(a) < min_size || forest.size(b) < min_size)) forest.join(a, b);
    }
    return number_in_raster_order(forest, count, labels);
}

}  // namespace superpixel
