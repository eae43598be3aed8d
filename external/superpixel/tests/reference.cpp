#include "reference.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <limits>
#include <numeric>
#include <set>

#include "../src/connect.h"
#include "../src/lab.h"

namespace {

struct PlainEdge {
    float weight;
    int a, b;
};

// The blue, green and red values of the image smoothed by a Gaussian of sigma 0.8, along rows and then across them.
std::array<std::vector<float>, 3> plain_planes(const TestImage &image) {
    const int width = image.width, height = image.height, count = width * height;
    std::vector<float> taps(5);
    for (int i = 0; i < 5; ++i) taps[i] = static_cast<float>(std::exp(-.5 * std::pow(static_cast<float>(i) / .8f, 2)));
    const float sum = 2 * (taps[1] + taps[2] + taps[3] + taps[4]) + taps[0];
    for (float &tap : taps) tap /= sum;
    std::array<std::vector<float>, 3> plane;
    std::vector<float> along(count);
    for (int c = 0; c < 3; ++c) {
        plane[c].resize(count);
        const auto smooth = [&](const auto &at, std::vector<float> &out, int dx, int dy) {
            for (int y = 0; y < height; ++y)
                for (int x = 0; x < width; ++x) {
                    float value = taps[0] * at(x, y);
                    for (int i = 1; i < 5; ++i)
                        value += taps[i] * (at(std::max(x - i * dx, 0), std::max(y - i * dy, 0)) +
                                            at(std::min(x + i * dx, width - 1), std::min(y + i * dy, height - 1)));
                    out[y * width + x] = value;
                }
        };
        smooth([&](int x, int y) { return static_cast<float>(image.bgr[3 * (y * width + x) + c]); }, along, 1, 0);
        smooth([&](int x, int y) { return along[y * width + x]; }, plane[c], 0, 1);
    }
    return plane;
}

// All edges to the right, down, and along both diagonals, in that order from each pixel on.
std::vector<PlainEdge> plain_edges(const TestImage &image) {
    const int width = image.width, height = image.height;
    const std::array<std::vector<float>, 3> plane = plain_planes(image);
    std::vector<PlainEdge> edges;
    const auto add = [&](int a, int b) {
        const float blue = plane[0][a] - plane[0][b], green = plane[1][a] - plane[1][b],
                    red = plane[2][a] - plane[2][b];
        edges.push_back({std::sqrt(red * red + green * green + blue * blue), a, b});
    };
    for (int y = 0; y < height; ++y)
        for (int x = 0; x < width; ++x) {
            const int p = y * width + x;
            if (x < width - 1) add(p, p + 1);
            if (y < height - 1) add(p, p + width);
            if (x < width - 1 && y < height - 1) add(p, p + width + 1);
            if (x < width - 1 && y > 0) add(p, p - width + 1);
        }
    return edges;
}

// The middles of a grid's cells, each moved to the lowest gradient among its 3 x 3 neighbours.
std::vector<superpixel::Centre> plain_seeds(const superpixel::LabPlanes &lab, double side) {
    const int width = lab.width(), height = lab.height(), stride = lab.stride();
    const std::int16_t *const planes[] = {lab.lightness(), lab.a(), lab.b()};
    const int columns = std::max(1, static_cast<int>(std::lround(width / side)));
    const int rows = std::max(1, static_cast<int>(std::lround(height / side)));
    std::vector<superpixel::Centre> centres;
    for (int j = 0; j < rows; ++j)
        for (int i = 0; i < columns; ++i) {
            const int x = static_cast<int>((i + .5) * width / columns), y = static_cast<int>((j + .5) * height / rows);
            int at = y * stride + x;
            double lowest = HUGE_VAL;
            for (int near = 0; near < 9; ++near) {
                const int u = x - 1 + near % 3, v = y - 1 + near / 3, here = v * stride + u;
                if (u < 1 || v < 1 || u > width - 2 || v > height - 2) continue;
                double gradient = 0;
                for (const std::int16_t *plane : planes)
                    gradient += std::pow(plane[here + 1] - plane[here - 1], 2) +
                                std::pow(plane[here + stride] - plane[here - stride], 2);
                if (gradient < lowest) at = here;
                lowest = std::min(lowest, gradient);
            }
            const auto value = [at](const std::int16_t *plane) { return static_cast<float>(plane[at]); };
            centres.push_back({value(planes[0]), value(planes[1]), value(planes[2]), static_cast<float>(at % stride),
                               static_cast<float>(at / stride)});
        }
    return centres;
}

struct PlainPiece {
    int up, size, cluster;  // the piece it was joined to, itself at first
    std::array<float, 3> colour;
    std::set<int> neighbours;
};

// The connected pieces of clusters, each with its neighbours, and the piece of every pixel.
std::vector<PlainPiece> plain_pieces(const superpixel::LabPlanes &lab, const std::vector<std::int32_t> &clusters,
                                     std::vector<int> &piece) {
    const int width = lab.width(), height = lab.height(), stride = lab.stride();
    std::vector<PlainPiece> pieces;
    std::vector<int> stack;
    piece.assign(static_cast<std::size_t>(width) * height, -1);
    const auto visit_around = [&](int p, const auto &visit) {
        const int x = p % width, y = p / width;
        if (x > 0) visit(p - 1);
        if (x < width - 1) visit(p + 1);
        if (y > 0) visit(p - width);
        if (y < height - 1) visit(p + width);
    };
    for (int start = 0; start < width * height; ++start) {
        if (piece[start] >= 0) continue;
        const int own = static_cast<int>(pieces.size()), cluster = clusters[start / width * stride + start % width];
        pieces.push_back({own, 0, cluster, {}, {}});
        piece[start] = own;
        for (stack = {start}; !stack.empty();) {
            const int p = stack.back();
            stack.pop_back();
            visit_around(p, [&](int q) {
                if (piece[q] >= 0 || clusters[q / width * stride + q % width] != cluster) return;
                piece[q] = own;
                stack.push_back(q);
            });
        }
    }
    for (int p = 0; p < width * height; ++p) {
        PlainPiece &own = pieces[piece[p]];
        ++own.size;
        const std::int16_t *const planes[] = {lab.lightness(), lab.a(), lab.b()};
        for (int i = 0; i < 3; ++i) own.colour[i] += planes[i][p / width * stride + p % width];
        visit_around(p, [&](int q) {
            if (piece[q] != piece[p]) own.neighbours.insert(piece[q]);
        });
    }
    return pieces;
}

}  // namespace

Labels plain_connect(const superpixel::LabPlanes &lab, const std::vector<std::int32_t> &clusters,
                     const std::vector<superpixel::Centre> &centres, int min_size) {
    Labels labels;
    std::vector<PlainPiece> pieces = plain_pieces(lab, clusters, labels);
    std::vector<int> small;
    for (PlainPiece &piece : pieces) {
        const superpixel::Centre &centre = centres[piece.cluster];
        const float scale = 1.f / static_cast<float>(piece.size);
        for (float &value : piece.colour) value *= scale;
        if (piece.size < min_size)
            small.push_back(piece.up);
        else
            piece.colour = {centre.lightness, centre.a, centre.b};
    }
    std::stable_sort(small.begin(), small.end(), [&](int p, int q) { return pieces[p].size < pieces[q].size; });
    const auto find = [&](int p) {
        while (pieces[p].up != p) p = pieces[p].up;
        return p;
    };
    for (std::size_t i = 0; i < small.size(); ++i) {
        const int p = small[i];
        if (pieces[p].up != p || pieces[p].size >= min_size) continue;
        float nearest = HUGE_VALF;
        int best = -1;
        for (const int neighbour : pieces[p].neighbours) {
            const int q = find(neighbour);
            std::array<float, 3> d;
            for (int c = 0; c < 3; ++c) d[c] = pieces[p].colour[c] - pieces[q].colour[c];
            const float distance = d[0] * d[0] + d[1] * d[1] + d[2] * d[2];
            if (q == p || distance > nearest || (distance == nearest && q > best)) continue;
            nearest = distance;
            best = q;
        }
        if (best < 0) break;
        PlainPiece &to = pieces[std::min(p, best)], &from = pieces[std::max(p, best)];
        const float fraction = static_cast<float>(from.size) / static_cast<float>(to.size + from.size);
        for (int c = 0; c < 3; ++c) to.colour[c] += fraction * (from.colour[c] - to.colour[c]);
        to.size += from.size;
        to.neighbours.insert(from.neighbours.begin(), from.neighbours.end());
        from.up = to.up;
        if (to.size < min_size) small.push_back(to.up);
    }
    std::vector<int> number(pieces.size(), -1);
    int next = 0;
    for (std::int32_t &label : labels) {
        int &own = number[find(label)];
        if (own < 0) own = next++;
        label = own;
    }
    return labels;
}

Labels plain_graph(const TestImage &image, int k) {
    const int count = image.width * image.height;
    std::vector<PlainEdge> edges = plain_edges(image);
    std::stable_sort(edges.begin(), edges.end(),
                     [](const PlainEdge &e, const PlainEdge &f) { return e.weight < f.weight; });
    std::vector<int> up(count), size(count, 1);
    std::iota(up.begin(), up.end(), 0);
    std::vector<float> threshold(count, static_cast<float>(k));
    const auto find = [&](int p) {
        while (up[p] != p) p = up[p] = up[up[p]];
        return p;
    };
    for (const PlainEdge &edge : edges) {
        const int a = find(edge.a), b = find(edge.b);
        if (a == b || edge.weight > threshold[a] || edge.weight > threshold[b]) continue;
        up[b] = a;
        size[a] += size[b];
        threshold[a] = edge.weight + static_cast<float>(k) / static_cast<float>(size[a]);
    }
    for (const PlainEdge &edge : edges) {
        const int a = find(edge.a), b = find(edge.b);
        if (a == b || (size[a] >= k && size[b] >= k)) continue;
        up[b] = a;
        size[a] += size[b];
    }
    Labels number(count, -1), labels(count);
    int next = 0;
    for (int p = 0; p < count; ++p) {
        std::int32_t &label = number[find(p)];
        if (label < 0) label = next++;
        labels[p] = label;
    }
    return labels;
}

Labels plain_slic(const TestImage &image, int min_size, const superpixel::SlicSettings &settings) {
    const superpixel::LabPlanes lab(image.image());
    const int width = image.width, height = image.height, stride = lab.stride();
    const std::int16_t *const planes[] = {lab.lightness(), lab.a(), lab.b()};
    const double side = std::sqrt(4. * min_size);
    std::vector<superpixel::Centre> centres = plain_seeds(lab, side);
    const float reach = static_cast<float>(side);
    const double weight = superpixel::kLabUnit * settings.compactness / side;
    const float nearness = static_cast<float>(weight * weight);
    std::vector<std::int32_t> clusters(lab.size(), 0);
    for (int rounds = settings.iterations; rounds > 0;) {
        const int most = side < 8 ? 1 : side < 16 ? 2 : 4;
        const int step = std::min(most, rounds > 4 ? 4 : rounds > 2 ? 2 : 1);
        const auto tile = [](float position, int pixels) { return static_cast<int>(std::max(position, 0.f)) / pixels; };
        std::vector<std::array<double, 6>> sums(centres.size(), std::array<double, 6>{});
        for (int y = 0; y < height; y += step)
            for (int x = 0; x < width; ++x) {
                const int at = y * stride + x;
                const float l = planes[0][at], a = planes[1][at], b = planes[2][at];
                float smallest = std::numeric_limits<float>::max();
                bool seen = false;
                for (std::size_t c = 0; c < centres.size(); ++c) {
                    const superpixel::Centre &m = centres[c];
                    if (x / 16 < tile(m.x - reach, 16) || x / 16 > tile(m.x + reach, 16) ||
                        y / (4 * step) < tile(m.y - reach, 4 * step) || y / (4 * step) > tile(m.y + reach, 4 * step))
                        continue;
                    const float dx = static_cast<float>(x) - m.x, dy = static_cast<float>(y) - m.y;
                    const float distance = (nearness * dx * dx + dy * dy * nearness) +
                                           (l - m.lightness) * (l - m.lightness) +
                                           ((a - m.a) * (a - m.a) + (b - m.b) * (b - m.b));
                    seen = true;
                    if (distance >= smallest) continue;
                    smallest = distance;
                    clusters[at] = static_cast<std::int32_t>(c);
                }
                const double values[] = {l, a, b, static_cast<double>(x), static_cast<double>(y), 1};
                for (int i = 0; seen && i < 6; ++i) sums[clusters[at]][i] += values[i];
            }
        double moved = 0;
        for (std::size_t c = 0; rounds > 1 && c < centres.size(); ++c) {
            if (sums[c][5] == 0) continue;
            const auto mean = [&](int i) { return static_cast<float>(sums[c][i] / sums[c][5]); };
            const superpixel::Centre before = centres[c];
            centres[c] = {mean(0), mean(1), mean(2), mean(3), mean(4)};
            moved += std::abs(centres[c].x - before.x) + std::abs(centres[c].y - before.y);
        }
        const bool settled = rounds == 1 || moved / static_cast<double>(centres.size()) < .1;
        rounds = !settled ? rounds - 1 : rounds > 4 ? 4 : rounds > 2 ? 2 : 0;
    }
    return plain_connect(lab, clusters, centres, min_size);
}
