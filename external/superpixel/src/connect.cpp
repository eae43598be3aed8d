#include "connect.h"

#include <algorithm>
#include <limits>
#include <vector>

namespace superpixel {
namespace {

constexpr std::int32_t kNone = -1;

// Pixels of one cluster next to each other in a row: from column `start` to the start of the next run.
struct Run {
    std::int32_t start;
    std::int32_t piece;         // while pieces are searched for: an earlier run of the same piece, or this one
    std::int32_t above, below;  // the last runs of the rows above and below that share a column with this one
};

// All runs in raster order. Those of row y are in [first(y), end(y)), and runs[end(y)] starts where the row ends.
class Runs {
public:
    Runs(const LabPlanes &lab, const std::int32_t *clusters)
        : first_(static_cast<std::size_t>(lab.height()) + 1), runs_(count(lab, clusters)) {
        std::int32_t next = 0;
        for (int y = 0; y < lab.height(); ++y) {
            const std::int32_t *row = clusters + static_cast<std::size_t>(y) * lab.stride();
            first_[y] = next;
            runs_[next] = {0, next, kNone, kNone};
            ++next;
            for (int x = 1; x < lab.width(); ++x) {
                runs_[next] = {x, next, kNone, kNone};
                next += row[x] != row[x - 1];
            }
            runs_[next] = {lab.width(), next, kNone, kNone};
            ++next;
        }
        first_[lab.height()] = next;
    }

    std::int32_t first(int y) const { return first_[y]; }
    std::int32_t end(int y) const { return first_[y + 1] - 1; }
    Run &operator[](std::int32_t run) { return runs_[run]; }

    // Numbers the connected pieces in raster order of their first pixels, in Run::piece. Returns how many.
    std::int32_t number_pieces(const LabPlanes &lab, const std::int32_t *clusters) {
        for (int y = 1; y < lab.height(); ++y)
            join_rows(y, clusters + static_cast<std::size_t>(y) * lab.stride(), lab.stride());
        std::int32_t pieces = 0;
        for (int y = 0; y < lab.height(); ++y)
            for (std::int32_t run = first(y); run < end(y); ++run)
                runs_[run].piece = runs_[run].piece == run ? pieces++ : runs_[runs_[run].piece].piece;
        return pieces;
    }

private:
    static std::size_t count(const LabPlanes &lab, const std::int32_t *clusters) {
        std::size_t runs = 0;
        for (int y = 0; y < lab.height(); ++y) {
            const std::int32_t *row = clusters + static_cast<std::size_t>(y) * lab.stride();
            std::int32_t changes = 2;
            for (int x = 1; x < lab.width(); ++x) changes += row[x] != row[x - 1];
            runs += changes;
        }
        return runs;
    }

    // Walks along row y and the row above, over pairs of runs that share a column.
    void join_rows(int y, const std::int32_t *row, int stride) {
        for (std::int32_t above = first(y - 1), run = first(y); run < end(y);) {
            runs_[run].above = above;
            runs_[above].below = run;
            // Whether two runs are of one cluster is hard to foresee: both ways take the same steps.
            const bool same = row[runs_[run].start] == row[runs_[above].start - stride];
            const std::int32_t a = earliest(above), b = earliest(run), later = std::max(a, b);
            runs_[later].piece = same ? std::min(a, b) : later;
            const std::int32_t above_end = runs_[above + 1].start, run_end = runs_[run + 1].start;
            above += above_end <= run_end;
            run += run_end <= above_end;
        }
    }

    std::int32_t earliest(std::int32_t run) {
        std::int32_t first = runs_[runs_[run].piece].piece;
        while (runs_[first].piece != first) first = runs_[first].piece = runs_[runs_[first].piece].piece;
        runs_[run].piece = first;
        return first;
    }

    Buffer<std::int32_t> first_;
    Buffer<Run> runs_;
};

class Pieces {
public:
    Pieces(const LabPlanes &lab, Runs &runs, std::int32_t count, const std::int32_t *clusters, const Centre *centres,
           int min_size)
        : min_size_(min_size), count_(count), pieces_(count) {
        for (std::int32_t p = 0; p < count; ++p) pieces_[p] = {p, 0, kNone, {}, {kNone, kNone}, kNone, kNone};
        for (int y = 0; y < lab.height(); ++y) {
            const std::int32_t *row = clusters + static_cast<std::size_t>(y) * lab.stride();
            for (std::int32_t run = runs.first(y); run < runs.end(y); ++run) {
                Piece &piece = pieces_[runs[run].piece];
                piece.size += runs[run + 1].start - runs[run].start;
                piece.cluster = row[runs[run].start];
            }
        }
        Buffer<std::int32_t> small(lab.width());  // runs of small pieces in a row
        for (int y = 0; y < lab.height(); ++y) {
            int num_small = 0;
            for (std::int32_t run = runs.first(y); run < runs.end(y); ++run) {
                small[num_small] = run;
                num_small += pieces_[runs[run].piece].size < min_size;
            }
            for (int i = 0; i < num_small; ++i) {
                Piece &piece = pieces_[runs[small[i]].piece];
                add_colours(lab, static_cast<std::size_t>(y) * lab.stride(), runs[small[i]].start,
                            runs[small[i] + 1].start, piece);
                add_borders(runs, y, small[i], piece);
            }
        }
        for (std::int32_t p = 0; p < count; ++p) {
            Piece &piece = pieces_[p];
            const Centre &centre = centres[piece.cluster];
            if (piece.size < min_size)
                piece.colour.scale(1.f / static_cast<float>(piece.size));
            else
                piece.colour = {centre.lightness, centre.a, centre.b};
        }
    }

    void absorb_small_ones() {
        std::vector<std::int32_t> small = smallest_first();
        // What is still too small after it grew has another turn at the end of the line.
        for (std::size_t i = 0; i < small.size(); ++i) {
            const std::int32_t piece = small[i];
            if (pieces_[piece].up != piece || pieces_[piece].size >= min_size_) continue;
            const std::int32_t neighbour = most_similar_neighbour(piece);
            if (neighbour == kNone) return;  // it is the whole image
            const std::int32_t joined = join(piece, neighbour);
            if (pieces_[joined].size < min_size_) small.push_back(joined);
        }
    }

    std::int32_t find(std::int32_t p) {
        while (pieces_[p].up != p) p = pieces_[p].up = pieces_[pieces_[p].up].up;
        return p;
    }

private:
    struct Colour {
        float lightness, a, b;
        void scale(float by) {
            lightness *= by;
            a *= by;
            b *= by;
        }
    };
    struct Piece {
        std::int32_t up;  // the piece it was absorbed by, itself at first
        std::int32_t size;
        std::int32_t cluster;
        Colour colour;                           // its mean; of a large piece, its cluster's mean
        std::int32_t latest[2];                  // neighbours whose borders were found last
        std::int32_t first_border, last_border;  // a list in borders_, of small pieces only
    };
    struct Border {
        std::int32_t neighbour, next;
    };

    // The pieces that are too small, by size and then in raster order.
    std::vector<std::int32_t> smallest_first() const {
        std::int32_t largest = 0;
        for (std::int32_t p = 0; p < count_; ++p)
            if (pieces_[p].size < min_size_) largest = std::max(largest, pieces_[p].size);
        std::vector<std::int32_t> start(static_cast<std::size_t>(largest) + 2);
        for (std::int32_t p = 0; p < count_; ++p)
            if (pieces_[p].size < min_size_) ++start[pieces_[p].size + 1];
        for (std::int32_t size = 0; size <= largest; ++size) start[size + 1] += start[size];
        std::vector<std::int32_t> small(start[largest + 1]);
        for (std::int32_t p = 0; p < count_; ++p)
            if (pieces_[p].size < min_size_) small[start[pieces_[p].size]++] = p;
        return small;
    }

    static void add_colours(const LabPlanes &lab, std::size_t row, std::int32_t begin, std::int32_t end, Piece &piece) {
        for (std::size_t at = row + begin; at < row + end; ++at) {
            piece.colour.lightness += lab.lightness()[at];
            piece.colour.a += lab.a()[at];
            piece.colour.b += lab.b()[at];
        }
    }

    void add_borders(Runs &runs, int y, std::int32_t run, Piece &piece) {
        if (run > runs.first(y)) add_border(piece, runs[run - 1].piece);
        if (run + 1 < runs.end(y)) add_border(piece, runs[run + 1].piece);
        for (const std::int32_t last : {runs[run].above, runs[run].below}) {
            if (last == kNone) continue;
            const int other_row = last < run ? y - 1 : y + 1;
            for (std::int32_t other = last; other >= runs.first(other_row) && runs[other + 1].start > runs[run].start;
                 --other)
                if (runs[other].piece != runs[run].piece) add_border(piece, runs[other].piece);
        }
    }

    void add_border(Piece &piece, std::int32_t neighbour) {
        if (piece.latest[0] == neighbour || piece.latest[1] == neighbour) return;
        piece.latest[1] = piece.latest[0];
        piece.latest[0] = neighbour;
        const std::int32_t border = static_cast<std::int32_t>(borders_.size());
        borders_.push_back({neighbour, kNone});
        (piece.first_border == kNone ? piece.first_border : borders_[piece.last_border].next) = border;
        piece.last_border = border;
    }

    std::int32_t most_similar_neighbour(std::int32_t p) {
        const Colour &own = pieces_[p].colour;
        float nearest = std::numeric_limits<float>::max();
        std::int32_t best = kNone;
        for (std::int32_t i = pieces_[p].first_border; i != kNone; i = borders_[i].next) {
            const std::int32_t q = find(borders_[i].neighbour);
            if (q == p) continue;
            const Colour &other = pieces_[q].colour;
            const float dl = own.lightness - other.lightness, da = own.a - other.a, db = own.b - other.b;
            const float distance = dl * dl + da * da + db * db;
            if (distance < nearest || (distance == nearest && q < best)) {
                nearest = distance;
                best = q;
            }
        }
        return best;
    }

    std::int32_t join(std::int32_t p, std::int32_t q) {
        const std::int32_t into = std::min(p, q);
        Piece &to = pieces_[into], &from = pieces_[std::max(p, q)];
        const float fraction = static_cast<float>(from.size) / static_cast<float>(to.size + from.size);
        to.colour.lightness += fraction * (from.colour.lightness - to.colour.lightness);
        to.colour.a += fraction * (from.colour.a - to.colour.a);
        to.colour.b += fraction * (from.colour.b - to.colour.b);
        to.size += from.size;
        from.up = into;
        if (from.first_border != kNone) {
            (to.first_border == kNone ? to.first_border : borders_[to.last_border].next) = from.first_border;
            to.last_border = from.last_border;
        }
        return into;
    }

    std::int32_t min_size_, count_;
    Buffer<Piece> pieces_;
    std::vector<Border> borders_;
};

// Fills [begin, end) and up to kPortion - 1 more, which are filled anew later: whole portions are quick.
constexpr int kPortion = 8;

void fill_in_portions(std::int32_t *begin, const std::int32_t *end, std::int32_t value) {
    for (; begin < end; begin += kPortion)
        for (int i = 0; i < kPortion; ++i) begin[i] = value;
}

}  // namespace

int connect(const LabPlanes &lab, const std::int32_t *clusters, const Centre *centres, int min_size,
            std::int32_t *labels) {
    Runs runs(lab, clusters);
    const std::int32_t count = runs.number_pieces(lab, clusters);
    Pieces pieces(lab, runs, count, clusters, centres, min_size);
    pieces.absorb_small_ones();

    // Pieces have the order of their first pixels, and the earliest of those that were joined stands for all.
    Buffer<std::int32_t> number(count);
    std::int32_t next = 0;
    for (std::int32_t p = 0; p < count; ++p) {
        const std::int32_t earliest = pieces.find(p);
        number[p] = earliest == p ? next++ : number[earliest];
    }
    for (int y = 0; y < lab.height(); ++y, labels += lab.width()) {
        const bool room = static_cast<std::int64_t>(lab.height() - 1 - y) * lab.width() >= kPortion;
        for (std::int32_t run = runs.first(y); run < runs.end(y); ++run) {
            std::int32_t *const begin = labels + runs[run].start, *const end = labels + runs[run + 1].start;
            if (room)
                fill_in_portions(begin, end, number[runs[run].piece]);
            else
                std::fill(begin, end, number[runs[run].piece]);
        }
    }
    return next;
}

}  // namespace superpixel
