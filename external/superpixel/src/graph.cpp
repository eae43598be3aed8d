// Graph-based segmentation: smooth, order the edges of the pixel grid by weight, join along them.
#include <algorithm>
#include <vector>

#include "buffer.h"
#include "edges.h"
#include "gaussian.h"
#include "superpixel.h"

namespace superpixel {
namespace {

// Disjoint sets of pixels. A root holds its set's size and the weight up to which edges join it with others.
class Forest {
public:
    Forest(std::size_t count, float threshold, Block &memory)
        : count_(count), up_(memory.take<std::int32_t>(count)), roots_(memory.take<Root>(count)) {
        for (std::size_t x = 0; x < count; ++x) up_[x] = static_cast<std::int32_t>(x);
        std::fill(roots_, roots_ + count, Root{1, threshold});
    }

    static std::size_t bytes(std::size_t count) {
        return Block::bytes_of<std::int32_t>(count) + Block::bytes_of<Root>(count);
    }

    std::int32_t find(std::int32_t x) {
        // Most are there after two steps, which then cost no branch.
        std::int32_t root = up_[up_[x]];
        while (up_[root] != root) root = up_[root] = up_[up_[root]];
        up_[x] = root;
        return root;
    }

    void prefetch(std::int32_t x) const { __builtin_prefetch(up_ + x, 1); }
    void prefetch_root(std::int32_t x) const { __builtin_prefetch(roots_ + x, 1); }
    std::int32_t size(std::int32_t root) const { return roots_[root].size; }
    float &threshold(std::int32_t root) { return roots_[root].threshold; }

    std::int32_t join(std::int32_t a, std::int32_t b) {
        const std::int32_t into = std::min(a, b), from = std::max(a, b);
        roots_[into].size += roots_[from].size;
        up_[from] = into;
        return into;
    }

    // The region of every pixel, with its flag where `is_flagged(root)`.
    template <class Flag>
    void write_regions(Flag is_flagged, Region *regions) {
        for (std::size_t x = 0; x < count_; ++x) {
            const std::int32_t root = find(static_cast<std::int32_t>(x));
            regions[x] = static_cast<Region>(root) * 2 + is_flagged(root);
        }
    }

    // Roots are the first pixels of their sets.
    int number_in_raster_order(std::int32_t *labels) {
        std::int32_t next = 0;
        for (std::size_t x = 0; x < count_; ++x) {
            const std::int32_t root = find(static_cast<std::int32_t>(x));
            labels[x] = root == static_cast<std::int32_t>(x) ? next++ : labels[root];
        }
        return next;
    }

private:
    struct Root {
        std::int32_t size;
        float threshold;
    };
    std::size_t count_;
    std::int32_t *up_;  // a pixel nearer to the root, of a root itself
    Root *roots_;
};

// The two pixels of an edge, by its lower 32 bits.
struct Ends {
    explicit Ends(int width) : offset{1, width, width + 1, 1 - width} {}
    std::int32_t from(std::uint32_t index) const { return static_cast<std::int32_t>(index / kDirections); }
    std::int32_t to(std::uint32_t index) const { return from(index) + offset[index % kDirections]; }
    std::int32_t offset[kDirections];
};

// Calls `visit(edge, a, b)` for every edge that still lies between two sets, of the roots a and b. Roots are looked up
// for a batch of edges at once: nothing depends on another then, and few of the later branches are surprises.
template <class Visit>
void for_each_between(const Edges &edges, int width, Forest &forest, Visit visit) {
    constexpr std::ptrdiff_t kBatch = 32;
    const Ends ends(width);
    struct Between {
        Edge edge;
        std::int32_t a, b;
    } batch[kBatch];
    for (const Edge *next = edges.begin(), *const end = edges.end(); next != end;) {
        int count = 0;
        for (const Edge *const last = next + std::min(kBatch, end - next); next != last; ++next) {
            const std::uint32_t index = static_cast<std::uint32_t>(*next);
            batch[count] = {*next, forest.find(ends.from(index)), forest.find(ends.to(index))};
            forest.prefetch_root(batch[count].a);
            forest.prefetch_root(batch[count].b);
            count += batch[count].a != batch[count].b;
            const std::uint32_t later = static_cast<std::uint32_t>(next[std::min(kBatch, end - 1 - next)]);
            forest.prefetch(ends.from(later));
            forest.prefetch(ends.to(later));
        }
        for (int i = 0; i < count; ++i) {
            const std::int32_t a = forest.find(batch[i].a), b = forest.find(batch[i].b);
            if (a != b) visit(batch[i].edge, a, b);
        }
    }
}

// Joins two sets where the edge is no heavier than what holds either together plus k / size (paper, algorithm 1). A set
// that an edge was too heavy for is never joined again, as all later ones are as heavy.
void join_similar(int width, int min_size, Edges &edges, Forest &forest, Region *regions) {
    const float k = static_cast<float>(min_size);
    for (const Weights &group : edges.groups()) {
        const float lightest = weight_of_bits(group.begin);
        forest.write_regions([&](std::int32_t root) { return forest.threshold(root) < lightest; }, regions);
        edges.collect(group, regions, Use::kNeitherFlagged);
        for_each_between(edges, width, forest, [&](Edge edge, std::int32_t a, std::int32_t b) {
            const float weight = weight_of(edge);
            if (weight > std::min(forest.threshold(a), forest.threshold(b))) return;
            const std::int32_t root = forest.join(a, b);
            forest.threshold(root) = weight + k / static_cast<float>(forest.size(root));
        });
    }
}

// Joins two sets where one is smaller than `min_size`.
void join_small(int width, int min_size, Edges &edges, Forest &forest, Region *regions) {
    const auto is_small = [&](std::int32_t root) { return forest.size(root) < min_size; };
    forest.write_regions(is_small, regions);
    edges.collect(kAllWeights, regions, Use::kOneFlagged);
    for_each_between(edges, width, forest, [&](Edge, std::int32_t a, std::int32_t b) {
        if (is_small(a) || is_small(b)) forest.join(a, b);
    });
}

}  // namespace

int graph_segment(const Image &image, int min_size, std::int32_t *labels) {
    if (image.width <= 0 || image.height <= 0) return 0;
    const std::size_t count = static_cast<std::size_t>(image.width) * image.height;
    const std::size_t room = Edges::initial_room(count);
    Block memory(Block::bytes_of<float>(3 * count) + Forest::bytes(count) + Block::bytes_of<Edge>(room));
    float *const smoothed = memory.take<float>(3 * count);
    smooth(image, smoothed);

    Forest forest(count, static_cast<float>(min_size), memory);
    Edges edges(smoothed, image.width, image.height, memory.take<Edge>(room));
    Region *const regions = reinterpret_cast<Region *>(labels);  // labels are known last
    join_similar(image.width, min_size, edges, forest, regions);
    join_small(image.width, min_size, edges, forest, regions);
    return forest.number_in_raster_order(labels);
}

}  // namespace superpixel
