// What holds for labels of any image, both methods, and against the methods written down plainly.
//
//     test_core [IMAGES [SEED]]      so many random images of 1 to 64 pixels a side (default: 400)
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <limits>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "../src/connect.h"
#include "../src/lab.h"
#include "../src/simd.h"
#include "superpixel.h"

using superpixel::Image;
using superpixel::InstructionSet;
using Labels = std::vector<std::int32_t>;

namespace {

int failures = 0;
std::string context;

void check(bool holds, const char *what) {
    if (holds) return;
    ++failures;
    std::fprintf(stderr, "FAILED: %s (%s)\n", what, context.c_str());
}

// ---------------------------------------------------------------------------------------------------- images
struct Picture {
    int width, height;
    std::vector<std::uint8_t> bgr;
    Image image() const { return {bgr.data(), width, height, 3 * static_cast<std::ptrdiff_t>(width)}; }
};

// Noise, flat colour, patches, a ramp, or two halves: what is easy, what is hard, what ties.
Picture draw(int width, int height, int kind, std::mt19937 &random) {
    Picture picture{width, height, std::vector<std::uint8_t>(3u * width * height)};
    std::vector<std::uint8_t> colours(3 * 64);
    for (std::uint8_t &value : colours) value = static_cast<std::uint8_t>(random());
    for (int y = 0; y < height; ++y)
        for (int x = 0; x < width; ++x)
            for (int c = 0; c < 3; ++c) {
                std::uint8_t &value = picture.bgr[3 * (static_cast<std::size_t>(y) * width + x) + c];
                switch (kind) {
                    case 0: value = static_cast<std::uint8_t>(random()); break;
                    case 1: value = colours[c]; break;
                    case 2:
                        value = static_cast<std::uint8_t>(colours[3 * (y / 9 % 8 * 8 + x / 9 % 8) + c] + random() % 8);
                        break;
                    case 3: value = static_cast<std::uint8_t>(3 * x + 2 * y); break;
                    default: value = x < width / 2 ? 40 : 200; break;
                }
            }
    return picture;
}
constexpr int kKinds = 5;

// ------------------------------------------------------------------------------------------------ properties
int count_labels(const Labels &labels) {
    return labels.empty() ? 0 : *std::max_element(labels.begin(), labels.end()) + 1;
}

bool in_raster_order(const Labels &labels) {
    std::int32_t next = 0;
    for (const std::int32_t label : labels) {
        if (label < 0 || label > next) return false;
        next += label == next;
    }
    return true;
}

// Connected pieces of equal labels, over 4 or 8 neighbours.
int count_pieces(const Labels &labels, int width, int height, bool eight) {
    std::vector<char> seen(labels.size(), 0);
    std::vector<int> stack;
    int pieces = 0;
    for (int start = 0; start < width * height; ++start) {
        if (seen[start]) continue;
        ++pieces;
        stack.push_back(start);
        seen[start] = 1;
        while (!stack.empty()) {
            const int at = stack.back(), x = at % width, y = at / width;
            stack.pop_back();
            for (int dy = -1; dy <= 1; ++dy)
                for (int dx = -1; dx <= 1; ++dx) {
                    if ((!eight && dx != 0 && dy != 0) || x + dx < 0 || x + dx >= width || y + dy < 0 ||
                        y + dy >= height)
                        continue;
                    const int other = at + dy * width + dx;
                    if (seen[other] || labels[other] != labels[at]) continue;
                    seen[other] = 1;
                    stack.push_back(other);
                }
        }
    }
    return pieces;
}

void check_superpixels(const Labels &labels, int returned, int width, int height, int min_size, bool eight) {
    check(in_raster_order(labels), "labels are numbered in raster order without gaps");
    const int count = count_labels(labels);
    check(returned == count, "the number of superpixels is returned");
    check(count_pieces(labels, width, height, eight) == count, "every superpixel is connected");
    std::vector<int> size(count, 0);
    for (const std::int32_t label : labels) ++size[label];
    check(count <= 1 || *std::min_element(size.begin(), size.end()) >= min_size, "no superpixel is smaller than K");
}

// ---------------------------------------------------------------------------------------------------- methods
using Method = std::function<int(const Image &, int, std::int32_t *)>;

Labels run(const Method &method, const Image &image, int min_size, int *returned = nullptr) {
    Labels labels(static_cast<std::size_t>(image.width) * image.height, -1);
    const int count = method(image, min_size, labels.data());
    if (returned) *returned = count;
    return labels;
}

// Rows that lie further apart than they are long, with noise between them.
bool same_with_stride(const Method &method, const Picture &picture, int min_size, const Labels &labels,
                      std::mt19937 &random) {
    const std::ptrdiff_t row = 3 * static_cast<std::ptrdiff_t>(picture.width), stride = row + 1 + random() % 40;
    std::vector<std::uint8_t> spread(static_cast<std::size_t>(stride) * picture.height);
    for (std::uint8_t &value : spread) value = static_cast<std::uint8_t>(random());
    for (int y = 0; y < picture.height; ++y) std::memcpy(&spread[y * stride], &picture.bgr[y * row], row);
    return run(method, {spread.data(), picture.width, picture.height, stride}, min_size) == labels;
}

bool same_with_each_instruction_set(const Method &method, const Image &image, int min_size, const Labels &labels) {
    bool same = true;
    for (const InstructionSet set : {InstructionSet::kPortable, InstructionSet::kAvx2, InstructionSet::kAvx512}) {
        superpixel::limit_instruction_set(set);
        same = same && run(method, image, min_size) == labels;
    }
    return same;
}

// The graph method as the paper and the published program have it, one step after the other.
Labels plain_graph(const Picture &picture, int k) {
    const int width = picture.width, height = picture.height, count = width * height;
    std::vector<float> taps(5);
    for (int i = 0; i < 5; ++i) taps[i] = static_cast<float>(std::exp(-.5 * std::pow(static_cast<float>(i) / .8f, 2)));
    const float sum = 2 * (taps[1] + taps[2] + taps[3] + taps[4]) + taps[0];
    for (float &tap : taps) tap /= sum;
    std::vector<float> plane[3], along(count);
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
        smooth([&](int x, int y) { return static_cast<float>(picture.bgr[3 * (y * width + x) + c]); }, along, 1, 0);
        smooth([&](int x, int y) { return along[y * width + x]; }, plane[c], 0, 1);
    }
    struct PlainEdge {
        float weight;
        int a, b;
    };
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

// SLIC one pixel after the other. Which centres a pixel looks at goes by tiles of 16 pixels in 4 of the rows in use.
Labels plain_slic(const Picture &picture, int min_size, const superpixel::SlicSettings &settings) {
    const superpixel::LabPlanes lab(picture.image());
    const int width = picture.width, height = picture.height, stride = lab.stride();
    const std::int16_t *const planes[] = {lab.lightness(), lab.a(), lab.b()};
    const double side = std::sqrt(4. * min_size);
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
    const float reach = static_cast<float>(side);
    const double weight = superpixel::kLabUnit * settings.compactness / side;
    const float nearness = static_cast<float>(weight * weight);
    std::vector<std::int32_t> clusters(lab.size(), 0);
    for (int rounds = settings.iterations; rounds > 0;) {
        const int most = side < 8 ? 1 : side < 16 ? 2 : 4;
        const int step = std::min(most, rounds > 4 ? 4 : rounds > 2 ? 2 : 1);
        const auto tile = [](float place, int pixels) { return static_cast<int>(std::max(place, 0.f)) / pixels; };
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
    Labels labels(static_cast<std::size_t>(width) * height);
    superpixel::connect(lab, clusters.data(), centres.data(), min_size, labels.data());
    return labels;
}

void test_random_images(int images, unsigned seed) {
    std::mt19937 random(seed);
    const int sizes[] = {1, 2, 5, 14, 20, 75, 300, 5000, 0x7fffffff};
    for (int i = 0; i < images; ++i) {
        const int width = 1 + static_cast<int>(random() % 64), height = 1 + static_cast<int>(random() % 64),
                  kind = static_cast<int>(random() % kKinds);
        const int min_size = sizes[random() % 9];
        const superpixel::SlicSettings settings = {
            static_cast<float>(std::pow(10., static_cast<double>(random() % 7) - 2)),
            static_cast<int>(1 + random() % 12)};
        context = std::to_string(width) + " x " + std::to_string(height) + ", kind " + std::to_string(kind) + ", K " +
                  std::to_string(min_size) + ", compactness " + std::to_string(settings.compactness) + ", iterations " +
                  std::to_string(settings.iterations) + ", image " + std::to_string(i);
        const Picture picture = draw(width, height, kind, random);
        const Method slic = [&](const Image &image, int k, std::int32_t *labels) {
            return superpixel::slic(image, k, settings, labels);
        };
        for (const bool is_graph : {false, true}) {
            const Method method = is_graph ? Method(superpixel::graph_segment) : slic;
            int returned = 0;
            const Labels labels = run(method, picture.image(), min_size, &returned);
            check_superpixels(labels, returned, width, height, min_size, is_graph);
            check(same_with_stride(method, picture, min_size, labels, random), "rows may lie apart");
            check(same_with_each_instruction_set(method, picture.image(), min_size, labels),
                  "every instruction set gives the same labels");
            check(labels == (is_graph ? plain_graph(picture, min_size) : plain_slic(picture, min_size, settings)),
                  is_graph ? "the plain graph method gives the same labels" : "plain SLIC gives the same labels");
        }
    }
}

// ---------------------------------------------------------------------------------------------- known answers
void test_no_pixels() {
    context = "no pixels";
    const std::uint8_t nothing = 0;
    check(superpixel::slic({&nothing, 0, 7, 0}, 10, {}, nullptr) == 0, "an image of no columns has no superpixels");
    check(superpixel::graph_segment({&nothing, 7, 0, 21}, 10, nullptr) == 0, "an image of no rows has no superpixels");
}

void test_colours() {
    struct Known {
        std::uint8_t red, green, blue;
        double lightness, a, b;  // http://www.brucelindbloom.com, sRGB and D65
    };
    for (const Known &known : {Known{255, 255, 255, 100, 0, 0},
                               {0, 0, 0, 0, 0, 0},
                               {255, 0, 0, 53.24, 80.09, 67.20},
                               {0, 255, 0, 87.73, -86.18, 83.18},
                               {0, 0, 255, 32.30, 79.19, -107.86},
                               {1, 1, 1, .27, 0, 0},
                               {119, 119, 119, 50.03, 0, 0}}) {
        context = "colour " + std::to_string(known.red) + " " + std::to_string(known.green) + " " +
                  std::to_string(known.blue);
        const std::uint8_t bgr[] = {known.blue, known.green, known.red};
        const superpixel::LabPlanes lab({bgr, 1, 1, 3});
        const auto near = [](std::int16_t stored, double value) {
            return std::abs(stored / superpixel::kLabUnit - value) < .05;
        };
        check(near(lab.lightness()[0], known.lightness), "lightness");
        check(near(lab.a()[0], 1.5 * known.a) && near(lab.b()[0], 1.5 * known.b), "chroma");
    }
}

// Two halves of different colours: no superpixel lies across.
void test_edge() {
    context = "two halves";
    std::mt19937 random(1);
    const Picture picture = draw(120, 90, 4, random);
    for (const Method &method :
         {Method([](const Image &i, int k, std::int32_t *l) { return superpixel::slic(i, k, {}, l); }),
          Method(superpixel::graph_segment)}) {
        const Labels labels = run(method, picture.image(), 60);
        std::vector<int> side(count_labels(labels), -1);
        bool across = false;
        for (int p = 0; p < 120 * 90; ++p) {
            int &own = side[labels[p]];
            across = across || (own >= 0 && own != (p % 120 < 60));
            own = p % 120 < 60;
        }
        check(!across, "superpixels keep to an edge");
    }
}

// Without anything to hold on to, SLIC's superpixels are the cells of a grid of 4K pixels each.
void test_flat() {
    context = "flat colour";
    std::mt19937 random(1);
    const Picture picture = draw(160, 120, 1, random);
    const Labels labels =
        run([](const Image &i, int k, std::int32_t *l) { return superpixel::slic(i, k, {}, l); }, picture.image(), 100);
    check(count_labels(labels) == 8 * 6, "a flat image is cut into cells of 20 x 20");
    std::vector<int> size(count_labels(labels), 0);
    for (const std::int32_t label : labels) ++size[label];
    check(*std::max_element(size.begin(), size.end()) <= 2 * *std::min_element(size.begin(), size.end()),
          "of even size");
}

// Three clusters in a row; the small one in the middle must go where its colour goes.
void test_absorption() {
    context = "absorption";
    for (const int like : {0, 1}) {
        std::vector<std::uint8_t> bgr(3 * 30);
        std::vector<std::int32_t> clusters(32 * 16, 0), labels(30);
        for (int x = 0; x < 30; ++x) {
            const int cluster = x < 13 ? 0 : x < 17 ? 1 : 2;
            clusters[x] = cluster;
            for (int c = 0; c < 3; ++c) bgr[3 * x + c] = cluster == 0 ? 20 : cluster == 2 ? 220 : like ? 190 : 50;
        }
        const superpixel::LabPlanes lab({bgr.data(), 30, 1, 90});
        superpixel::Centre centres[3] = {};
        for (const int c : {0, 2}) centres[c].lightness = lab.lightness()[c * 14];
        check(superpixel::connect(lab, clusters.data(), centres, 5, labels.data()) == 2, "the small piece is absorbed");
        check(labels[15] == labels[like ? 29 : 0], "by the neighbour most like it");
    }
}

}  // namespace

int main(int count, char **arguments) {
    const int images = count > 1 ? std::atoi(arguments[1]) : 400;
    const unsigned seed = count > 2 ? static_cast<unsigned>(std::atoi(arguments[2])) : 0;
    test_no_pixels();
    test_colours();
    test_edge();
    test_flat();
    test_absorption();
    test_random_images(images, seed);
    std::printf("%s: %d random images and the known answers\n", failures ? "FAILED" : "passed", images);
    return failures ? 1 : 0;
}
