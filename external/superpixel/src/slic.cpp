// SLIC: k-means of colour and position, each centre searching only its surroundings.
#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "superpixel.h"

namespace superpixel {
namespace {

struct Centre {
    float l, a, b, x, y;
};

float linear(float v) { return v <= .04045f ? v / 12.92f : std::pow((v + .055f) / 1.055f, 2.4f); }
float cube_root(float t) { return t > .008856452f ? std::cbrt(t) : 7.787037f * t + 16.f / 116.f; }

std::vector<float> to_lab(const Image &image) {
    float gamma[256];
    for (int i = 0; i < 256; ++i) gamma[i] = linear(i / 255.f);
    std::vector<float> lab(static_cast<std::size_t>(image.width) * image.height * 3);
    float *out = lab.data();
    for (int y = 0; y < image.height; ++y)
        for (int x = 0; x < image.width; ++x, out += 3) {
            const std::uint8_t *p = image.bgr + y * image.stride + 3 * x;
            const float b = gamma[p[0]], g = gamma[p[1]], r = gamma[p[2]];
            const float fx = cube_root((.412453f * r + .357580f * g + .180423f * b) / .950456f);
            const float fy = cube_root(.212671f * r + .715160f * g + .072169f * b);
            const float fz = cube_root((.019334f * r + .119193f * g + .950227f * b) / 1.088754f);
            out[0] = 116 * fy - 16;
            out[1] = 500 * (fx - fy);
            out[2] = 200 * (fy - fz);
        }
    return lab;
}

}  // namespace

int slic(const Image &image, int min_size, const SlicSettings &settings, std::int32_t *labels) {
    const int w = image.width, h = image.height;
    if (w <= 0 || h <= 0) return 0;
    const std::size_t n = static_cast<std::size_t>(w) * h;
    const std::vector<float> lab = to_lab(image);
    const double side = std::sqrt(4. * min_size);
    const int nx = std::max(1, static_cast<int>(std::lround(w / side))), ny = std::max(1, static_cast<int>(std::lround(h / side)));
    std::vector<Centre> centres;
    for (int j = 0; j < ny; ++j)
        for (int i = 0; i < nx; ++i) {
            const int x = static_cast<int>((i + .5) * w / nx), y = static_cast<int>((j + .5) * h / ny);
            const float *p = &lab[3 * (static_cast<std::size_t>(y) * w + x)];
            centres.push_back({p[0], p[1], p[2], static_cast<float>(x), static_cast<float>(y)});
        }
    const float weight = settings.compactness * settings.compactness / static_cast<float>(side * side);
    std::vector<float> best(n);
    std::vector<std::int32_t> owner(n, 0);
    for (int round = 0; round < settings.iterations; ++round) {
        std::fill(best.begin(), best.end(), std::numeric_limits<float>::max());
        for (std::size_t c = 0; c < centres.size(); ++c) {
            const Centre &m = centres[c];
            const int reach = static_cast<int>(std::ceil(side));
            for (int y = std::max(0, static_cast<int>(m.y) - reach); y < std::min(h, static_cast<int>(m.y) + reach + 1); ++y)
                for (int x = std::max(0, static_cast<int>(m.x) - reach); x < std::min(w, static_cast<int>(m.x) + reach + 1); ++x) {
                    const std::size_t i = static_cast<std::size_t>(y) * w + x;
                    const float dl = lab[3 * i] - m.l, da = lab[3 * i + 1] - m.a, db = lab[3 * i + 2] - m.b;
                    const float dx = x - m.x, dy = y - m.y;
                    const float d = dl * dl + da * da + db * db + weight * (dx * dx + dy * dy);
                    if (d < best[i]) {
                        best[i] = d;
                        owner[i] = static_cast<std::int32_t>(c);
                    }
                }
        }
        std::vector<double> sum(6 * centres.size());
        for (std::size_t i = 0; i < n; ++i) {
            double *s = &sum[6 * owner[i]];
            s[0] += lab[3 * i];
            s[1] += lab[3 * i + 1];
            s[2] += lab[3 * i + 2];
            s[3] += i % w;
            s[4] += i / w;
            s[5] += 1;
        }
        for (std::size_t c = 0; c < centres.size(); ++c) {
            const double *s = &sum[6 * c];
            if (s[5] > 0)
                centres[c] = {static_cast<float>(s[0] / s[5]), static_cast<float>(s[1] / s[5]), static_cast<float>(s[2] / s[5]),
                              static_cast<float>(s[3] / s[5]), static_cast<float>(s[4] / s[5])};
        }
    }

    // Connected pieces in raster order; a piece below min_size joins the neighbour whose mean colour is nearest.
    std::vector<std::int32_t> piece(n, -1), stack;
    struct Piece {
        double l, a, b;
        std::size_t size;
        std::int32_t parent;
    };
    std::vector<Piece> pieces;
    for (std::size_t s = 0; s < n; ++s) {
        if (piece[s] >= 0) continue;
        const std::int32_t id = static_cast<std::int32_t>(pieces.size());
        Piece p{0, 0, 0, 0, id};
        stack.assign(1, static_cast<std::int32_t>(s));
        piece[s] = id;
        while (!stack.empty()) {
            const std::int32_t i = stack.back();
            stack.pop_back();
            p.l += lab[3 * i];
            p.a += lab[3 * i + 1];
            p.b += lab[3 * i + 2];
            ++p.size;
            const int x = i % w, y = i / w;
            const auto push = [&](std::int32_t j) {
                if (piece[j] < 0 && owner[j] == owner[i]) {
                    piece[j] = id;
                    stack.push_back(j);
                }
            };
            if (x > 0) push(i - 1);
            if (x + 1 < w) push(i + 1);
            if (y > 0) push(i - w);
            if (y + 1 < h) push(i + w);
        }
        pieces.push_back(p);
    }
    std::vector<std::vector<std::int32_t>> near(pieces.size());
    for (std::size_t i = 0; i < n; ++i) {
        const auto touch = [&](std::size_t j) {
            if (piece[i] != piece[j]) {
                near[piece[i]].push_back(piece[j]);
                near[piece[j]].push_back(piece[i]);
            }
        };
        if (static_cast<int>(i % w) + 1 < w) touch(i + 1);
        if (i + w < n) touch(i + w);
    }
    const auto root = [&](std::int32_t p) {
        while (pieces[p].parent != p) p = pieces[p].parent = pieces[pieces[p].parent].parent;
        return p;
    };
    std::vector<std::int32_t> order(pieces.size());
    for (std::size_t i = 0; i < order.size(); ++i) order[i] = static_cast<std::int32_t>(i);
    std::stable_sort(order.begin(), order.end(), [&](std::int32_t x, std::int32_t y) { return pieces[x].size < pieces[y].size; });
    for (bool again = true; again;) {
        again = false;
        for (const std::int32_t o : order) {
            const std::int32_t p = root(o);
            if (pieces[p].size >= static_cast<std::size_t>(min_size)) continue;
            double nearest = std::numeric_limits<double>::max();
            std::int32_t into = -1;
            for (const std::int32_t q0 : near[p]) {
                const std::int32_t q = root(q0);
                if (q == p) continue;
                const Piece &P = pieces[p], &Q = pieces[q];
                const double dl = P.l / P.size - Q.l / Q.size, da = P.a / P.size - Q.a / Q.size, db = P.b / P.size - Q.b / Q.size;
                const double d = dl * dl + da * da + db * db;
                if (d < nearest) {
                    nearest = d;
                    into = q;
                }
            }
            if (into < 0) continue;
            again = true;
            Piece &P = pieces[p], &Q = pieces[into];
            Q.l += P.l;
            Q.a += P.a;
            Q.b += P.b;
            Q.size += P.size;
            P.parent = into;
            near[into].insert(near[into].end(), near[p].begin(), near[p].end());
        }
    }
    std::vector<std::int32_t> number(pieces.size(), -1);
    std::int32_t next = 0;
    for (std::size_t i = 0; i < n; ++i) {
        std::int32_t &label = number[root(piece[i])];
        if (label < 0) label = next++;
        labels[i] = label;
    }
    return next;
}

}  // namespace superpixel
