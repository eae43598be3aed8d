#include "connect.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <utility>
#include <vector>

#include "runs.h"
#include "simd.h"

namespace superpixel {
namespace {

constexpr std::int32_t kNone = -1;
constexpr std::int32_t kUnknown = std::numeric_limits<std::int32_t>::max();  // a piece after all others

class Pieces {
public:
    Pieces(const LabPlanes &lab, const Runs &runs, int min_size)
        : lab_(lab),
          runs_(runs),
          min_size_(min_size),
          begin_(static_cast<std::size_t>(runs.count()) + 1),
          piece_(runs.count()),
          up_(static_cast<std::size_t>(runs.count()) + 1),
          same_(static_cast<std::size_t>(lab.width()) + 1) {}

    // Numbers pieces in the order of their first pixels. Of those that grow together further down, the first one stands
    // for all.
    ALWAYS_INLINE void find(const std::int32_t *clusters, const Centre *centres) {
        Buffer<std::int32_t> size(static_cast<std::size_t>(runs_.count()) + 1);
        Buffer<std::int32_t> cluster(static_cast<std::size_t>(runs_.count()) + 1);
        std::int32_t run = 0, count = 0;
        std::fill(piece_.get(), piece_.get() + runs_.count(), kUnknown);
        for (int y = 0; y < lab_.height(); ++y) {
            if (y > 0) join_row(y);
            const std::int32_t *const row = clusters + static_cast<std::size_t>(y) * lab_.stride();
            std::int32_t last_piece = count, last_x = 0;
            size[last_piece] = 0;
            for (int i = 0, words = runs_.words(); i < words; ++i)
                for (std::uint64_t starts = runs_.starts(y)[i]; starts != 0; starts &= starts - 1, ++run) {
                    const int x = i * kWord + lowest_bit(starts);
                    begin_[run] = y * lab_.width() + x;
                    size[last_piece] += x - last_x;
                    // Whether a run begins a piece is hard to foresee: both ways take the same steps.
                    const std::int32_t known = piece_[run];
                    up_[count] = count;
                    size[count] = 0;
                    cluster[count] = row[x];
                    last_piece = piece_[run] = std::min(known, count);
                    last_x = x;
                    count += known == kUnknown;
                }
            size[last_piece] += lab_.width() - last_x;
        }
        begin_[run] = lab_.width() * lab_.height();
        count_ = count;
        pieces_ = Buffer<Piece>(count);
        for (std::int32_t p = 0; p < count; ++p) {
            const Centre &centre = centres[cluster[p]];
            pieces_[p] = {{centre.lightness, centre.a, centre.b}, 0, p, kNone, 0, 0};
            up_[p] = up_[up_[p]];
            pieces_[up_[p]].size += size[p];
        }
    }

    // Finds neighbours and mean colours of small pieces.
    ALWAYS_INLINE void look_around() {
        const std::vector<SmallRun> runs = list_small();
        std::size_t pixels = 0;
        for (const std::int32_t p : small_) pixels += pieces_[p].size;
        borders_ = Buffer<std::int32_t>(2 * (pixels + runs.size()) + 1);
        std::int32_t *end = borders_.get();
        for (const std::int32_t p : small_) {
            Piece &piece = pieces_[p];
            piece.first_border = static_cast<std::int32_t>(end - borders_.get());
            Colour sum = {0, 0, 0};
            std::int32_t known = p;
            for (std::int32_t i = piece.first_run; i != kNone; i = runs[i].next) {
                const std::int32_t *const before = end;
                end = add_neighbours(p, runs[i].run, runs[i].y, known, end);
                known = end > before ? *before : known;
                add_colours(runs[i].run, runs[i].y, sum);
            }
            piece.end_border = static_cast<std::int32_t>(end - borders_.get());
            const float scale = 1.f / static_cast<float>(piece.size);
            piece.colour = {sum.lightness * scale, sum.a * scale, sum.b * scale};
        }
    }

    void absorb_small_ones() {
        std::vector<std::int32_t> small = smallest_first();
        // What is still too small after it grew has another turn at the end of the line.
        for (std::size_t i = 0; i < small.size(); ++i) {
            const std::int32_t piece = small[i];
            if (up_[piece] != piece || pieces_[piece].size >= min_size_) continue;
            const std::int32_t neighbour = most_similar_neighbour(piece);
            if (neighbour == kNone) return;  // it is the whole image
            const std::int32_t joined = join(piece, neighbour);
            if (pieces_[joined].size < min_size_) small.push_back(joined);
        }
    }

    int label(std::int32_t *labels) {
        Buffer<std::int32_t> number(count_);
        std::int32_t next = 0;
        for (std::int32_t p = 0; p < count_; ++p) {
            const std::int32_t first = first_of(p);
            number[p] = next;
            number[p] = number[first];
            next += first == p;
        }
        // Whole portions are quick. What is filled beyond a run's end is filled anew by the next runs.
        constexpr int kPortion = 16;
        const std::int32_t runs = runs_.count(), last_begin = begin_[runs] - kPortion;
        std::int32_t run = 0;
        for (; run < runs && begin_[run + 1] <= last_begin; ++run) {
            const std::int32_t value = number[piece_[run]], end = begin_[run + 1];
            for (std::int32_t at = begin_[run]; at < end; at += kPortion)
                for (int i = 0; i < kPortion; ++i) labels[at + i] = value;
        }
        for (; run < runs; ++run) std::fill(labels + begin_[run], labels + begin_[run + 1], number[piece_[run]]);
        return next;
    }

private:
    struct Colour {
        float lightness, a, b;
    };
    struct Piece {
        Colour colour;  // its mean; of a large piece, its cluster's mean
        std::int32_t size;
        std::int32_t ring;  // the next of the pieces that were joined, from the last one back to the first
        // Of small pieces only: in the list of small runs, and in borders_.
        std::int32_t first_run, first_border, end_border;
    };
    struct Pair {
        std::int32_t p, q;
    };
    struct SmallRun {
        std::int32_t run, y, next;  // the piece's next one
    };

    // Runs are joined to pieces of the row above. Where two pieces meet is noted, to be looked at after the row.
    ALWAYS_INLINE void join_row(int y) {
        Pair *end = same_.get();
        for (int i = 0, words = runs_.words(); i < words; ++i) {
            const std::uint64_t starts = runs_.starts(y)[i], starts_above = runs_.starts(y - 1)[i];
            std::int32_t *const row = piece_.get() + runs_.before(y)[i];
            const std::int32_t *const above = piece_.get() + runs_.before(y - 1)[i];
            for (std::uint64_t joins = runs_.joins(y)[i]; joins != 0; joins &= joins - 1) {
                const std::uint64_t up_to = joins ^ (joins - 1);
                std::int32_t &p = row[count_bits(starts & up_to) - 1];
                const std::int32_t q = above[count_bits(starts_above & up_to) - 1];
                *end = {p, q};
                end += (p != kUnknown) & (p != q);
                p = std::min(p, q);
            }
        }
        for (const Pair *pair = same_.get(); pair != end; ++pair) unite(pair->p, pair->q);
    }

    void unite(std::int32_t p, std::int32_t q) {
        p = first_of(p);
        q = first_of(q);
        up_[std::max(p, q)] = std::min(p, q);
    }

    std::int32_t first_of(std::int32_t p) {
        std::int32_t first = up_[up_[p]];
        while (up_[first] != first) first = up_[first] = up_[up_[first]];
        return first;
    }

    // Lists the small pieces, and returns their runs, both in raster order.
    std::vector<SmallRun> list_small() {
        std::vector<unsigned char> is_small(count_);
        small_.resize(static_cast<std::size_t>(count_) + 1);
        std::int32_t num_pieces = 0, num_runs = 0;
        for (std::int32_t p = 0; p < count_; ++p) {
            is_small[p] = pieces_[up_[p]].size < min_size_;
            small_[num_pieces] = p;
            num_pieces += (up_[p] == p) & is_small[p];
        }
        small_.resize(num_pieces);
        Buffer<std::int32_t> small(static_cast<std::size_t>(runs_.count()) + 1);
        for (std::int32_t run = 0; run < runs_.count(); ++run) {
            small[num_runs] = run;
            num_runs += is_small[piece_[run]];
        }
        std::vector<SmallRun> runs(num_runs);
        for (std::int32_t i = num_runs - 1, y = lab_.height() - 1; i >= 0; --i) {
            while (small[i] < runs_.first(y)) --y;
            std::int32_t &first = pieces_[up_[piece_[small[i]]]].first_run;
            runs[i] = {small[i], y, first};
            first = i;
        }
        return runs;
    }

    // Appends the pieces around a run of `own` clockwise from the left, so that most of those that come again do so at
    // once and are left out, as is `known`. Which are new is hard to foresee: each is written, and `end` moves on if it
    // is to stay.
    ALWAYS_INLINE std::int32_t *add_neighbours(std::int32_t own, std::int32_t run, int y, std::int32_t known,
                                               std::int32_t *end) const {
        std::int32_t last = own;
        const auto add = [&](std::int32_t other) {
            const std::int32_t p = up_[piece_[other]];
            *end = p;
            end += (p != own) & (p != last) & (p != known);
            last = p;
        };
        const int left = begin_[run] - y * lab_.width(), right = begin_[run + 1] - 1 - y * lab_.width();
        add(run - (left > 0));
        if (y > 0) {
            const std::int32_t from = runs_.at(left, y - 1), to = runs_.at(right, y - 1);
            add(from);
            for (std::int32_t other = from + 1; other < to; ++other) add(other);
            add(to);
        }
        add(run + (right + 1 < lab_.width()));
        if (y + 1 < lab_.height()) {
            const std::int32_t from = runs_.at(left, y + 1), to = runs_.at(right, y + 1);
            add(to);
            for (std::int32_t other = to - 1; other > from; --other) add(other);
            add(from);
        }
        return end;
    }

    void add_colours(std::int32_t run, int y, Colour &sum) const {
        const std::size_t padding = static_cast<std::size_t>(y) * (lab_.stride() - lab_.width());
        for (std::size_t at = begin_[run] + padding; at < begin_[run + 1] + padding; ++at) {
            sum.lightness += lab_.lightness()[at];
            sum.a += lab_.a()[at];
            sum.b += lab_.b()[at];
        }
    }

    // The pieces that are too small, by size and then in raster order.
    std::vector<std::int32_t> smallest_first() const {
        std::int32_t largest = 0;
        for (const std::int32_t p : small_) largest = std::max(largest, pieces_[p].size);
        std::vector<std::int32_t> start(static_cast<std::size_t>(largest) + 2);
        for (const std::int32_t p : small_) ++start[pieces_[p].size + 1];
        for (std::int32_t size = 0; size <= largest; ++size) start[size + 1] += start[size];
        std::vector<std::int32_t> sorted(small_.size());
        for (const std::int32_t p : small_) sorted[start[pieces_[p].size]++] = p;
        return sorted;
    }

    std::int32_t most_similar_neighbour(std::int32_t p) {
        const Colour own = pieces_[p].colour;
        // A distance's bits, and the piece: bits of floats that are not negative have the order of the floats, and of
        // equal distances the first piece is taken.
        constexpr std::uint64_t kAll = ~std::uint64_t{0};
        std::uint64_t best = kAll;
        std::int32_t part = p;
        do {
            for (std::int32_t i = pieces_[part].first_border; i < pieces_[part].end_border; ++i) {
                const std::int32_t q = first_of(borders_[i]);
                const Colour &other = pieces_[q].colour;
                const float dl = own.lightness - other.lightness, da = own.a - other.a, db = own.b - other.b;
                const float distance = dl * dl + da * da + db * db;
                std::uint32_t bits;
                std::memcpy(&bits, &distance, sizeof bits);
                const std::uint64_t key = static_cast<std::uint64_t>(bits) << 32 | static_cast<std::uint32_t>(q);
                best = std::min(best, key | kAll * (q == p));
            }
            part = pieces_[part].ring;
        } while (part != p);
        return best == kAll ? kNone : static_cast<std::int32_t>(best);
    }

    std::int32_t join(std::int32_t p, std::int32_t q) {
        const std::int32_t into = std::min(p, q);
        Piece &to = pieces_[into], &from = pieces_[std::max(p, q)];
        const float fraction = static_cast<float>(from.size) / static_cast<float>(to.size + from.size);
        to.colour.lightness += fraction * (from.colour.lightness - to.colour.lightness);
        to.colour.a += fraction * (from.colour.a - to.colour.a);
        to.colour.b += fraction * (from.colour.b - to.colour.b);
        to.size += from.size;
        std::swap(to.ring, from.ring);  // makes one ring of two
        up_[std::max(p, q)] = into;
        return into;
    }

    const LabPlanes &lab_;
    const Runs &runs_;
    std::int32_t min_size_, count_ = 0;
    Buffer<std::int32_t> begin_, piece_;  // of each run: its first pixel, the next run's is its end; its piece
    Buffer<std::int32_t> up_;             // of each piece: the one it was joined to, itself at first
    Buffer<Pair> same_;                   // pieces that turned out to be one in a row
    Buffer<Piece> pieces_{0};
    std::vector<std::int32_t> small_;  // the pieces that are too small, in raster order
    Buffer<std::int32_t> borders_{0};  // the neighbours of small pieces, some of them more than once
};

template <int>
ALWAYS_INLINE void find_pieces_body(Pieces &pieces, const std::int32_t *clusters, const Centre *centres) {
    pieces.find(clusters, centres);
    pieces.look_around();
}
BUILD_FOR_EACH(find_pieces, (Pieces &pieces, const std::int32_t *clusters, const Centre *centres),
               (pieces, clusters, centres))

}  // namespace

int connect(const LabPlanes &lab, const std::int32_t *clusters, const Centre *centres, int min_size,
            std::int32_t *labels) {
    const Runs runs(lab, clusters);
    Pieces pieces(lab, runs, min_size);
    find_pieces(pieces, clusters, centres);
    pieces.absorb_small_ones();
    return pieces.label(labels);
}

}  // namespace superpixel
