// What holds for labels of any image, both methods, and against the methods written down plainly.
//
//     test_core [IMAGES [SEED]]      so many random images of 1 to 64 pixels a side (default: 400)
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "../src/connect.h"
#include "../src/lab.h"
#include "../src/simd.h"
#include "images.h"
#include "reference.h"
#include "superpixel.h"

using superpixel::Image;
using superpixel::InstructionSet;

namespace {

int failures = 0;
std::string context;

void check(bool holds, const char *what) {
    if (holds) return;
    ++failures;
    std::fprintf(stderr, "FAILED: %s (%s)\n", what, context.c_str());
}

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
bool same_with_stride(const Method &method, const TestImage &drawn, int min_size, const Labels &labels,
                      std::mt19937 &random) {
    const std::ptrdiff_t row = 3 * static_cast<std::ptrdiff_t>(drawn.width), stride = row + 1 + random() % 40;
    std::vector<std::uint8_t> spread(static_cast<std::size_t>(stride) * drawn.height);
    for (std::uint8_t &value : spread) value = static_cast<std::uint8_t>(random());
    for (int y = 0; y < drawn.height; ++y) std::memcpy(&spread[y * stride], &drawn.bgr[y * row], row);
    return run(method, {spread.data(), drawn.width, drawn.height, stride}, min_size) == labels;
}

bool same_with_each_instruction_set(const Method &method, const Image &image, int min_size, const Labels &labels) {
    bool same = true;
    for (const InstructionSet set : {InstructionSet::kPortable, InstructionSet::kAvx2, InstructionSet::kAvx512}) {
        superpixel::limit_instruction_set(set);
        same = same && run(method, image, min_size) == labels;
    }
    return same;
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
        const TestImage drawn = draw(width, height, kind, random);
        const Method slic = [&](const Image &image, int k, std::int32_t *labels) {
            return superpixel::slic(image, k, settings, labels);
        };
        for (const bool is_graph : {false, true}) {
            const Method method = is_graph ? Method(superpixel::graph_segment) : slic;
            int returned = 0;
            const Labels labels = run(method, drawn.image(), min_size, &returned);
            check_superpixels(labels, returned, width, height, min_size, is_graph);
            check(same_with_stride(method, drawn, min_size, labels, random), "rows may lie apart");
            check(same_with_each_instruction_set(method, drawn.image(), min_size, labels),
                  "every instruction set gives the same labels");
            check(labels == (is_graph ? plain_graph(drawn, min_size) : plain_slic(drawn, min_size, settings)),
                  is_graph ? "the plain graph method gives the same labels" : "plain SLIC gives the same labels");
        }
    }
}

// Clusters that no image leads to: noise, stripes either way, teeth that meet at their ends, and patches. The width of
// some is next to a multiple of 64.
void test_random_clusters(int maps, unsigned seed) {
    std::mt19937 random(seed);
    const int sizes[] = {1, 2, 5, 14, 75, 300, 2000, 0x7fffffff};
    for (int i = 0; i < maps; ++i) {
        const int width = random() % 3 == 0 ? static_cast<int>(63 + random() % 3 + 64 * (random() % 3))
                                            : static_cast<int>(1 + random() % 70);
        const int height = static_cast<int>(1 + random() % 40), kind = static_cast<int>(random() % 5);
        const int count = static_cast<int>(2 + random() % 20), wide = static_cast<int>(1 + random() % 9);
        const int min_size = sizes[random() % 8];
        context = std::to_string(width) + " x " + std::to_string(height) + ", kind " + std::to_string(kind) + ", K " +
                  std::to_string(min_size) + ", clusters " + std::to_string(i);
        const TestImage drawn = draw(width, height, static_cast<int>(random() % kKinds), random);
        const superpixel::LabPlanes lab(drawn.image());
        std::vector<std::int32_t> clusters(lab.size());
        for (std::size_t at = 0; at < clusters.size(); ++at) {
            const int stride = lab.stride(), x = static_cast<int>(at) % stride, y = static_cast<int>(at) / stride;
            const int any = static_cast<int>(random() % count);
            switch (kind) {
                case 0: clusters[at] = any; break;
                case 1: clusters[at] = x / wide % count; break;
                case 2: clusters[at] = y / wide % count; break;
                case 3: clusters[at] = x % 2 == 1 && y != (x % 4 == 1 ? 0 : height - 1); break;
                default:
                    clusters[at] = x > 0 && random() % wide > 0   ? clusters[at - 1]
                                   : y > 0 && random() % wide > 0 ? clusters[at - stride]
                                                                  : any;
            }
        }
        std::vector<superpixel::Centre> centres(count);
        for (superpixel::Centre &centre : centres)
            centre = {static_cast<float>(random() % 6400), static_cast<float>(random() % 99), 0, 0, 0};
        const Labels plain = plain_connect(lab, clusters, centres, min_size);
        for (const InstructionSet set : {InstructionSet::kPortable, InstructionSet::kAvx2, InstructionSet::kAvx512}) {
            superpixel::limit_instruction_set(set);
            Labels labels(plain.size(), -1);
            const int returned = superpixel::connect(lab, clusters.data(), centres.data(), min_size, labels.data());
            check(labels == plain, "connected pieces are those of the plain way");
            check(returned == count_labels(plain), "the number of pieces is returned");
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
    const TestImage drawn = draw(120, 90, 4, random);
    for (const Method &method :
         {Method([](const Image &i, int k, std::int32_t *l) { return superpixel::slic(i, k, {}, l); }),
          Method(superpixel::graph_segment)}) {
        const Labels labels = run(method, drawn.image(), 60);
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
    const TestImage drawn = draw(160, 120, 1, random);
    const Labels labels =
        run([](const Image &i, int k, std::int32_t *l) { return superpixel::slic(i, k, {}, l); }, drawn.image(), 100);
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

// Sums over a hundred thousand pixels are exact, too: here a value in the last place decides a tie.
void test_large_superpixels() {
    context = "large superpixels";
    std::mt19937 random(1);
    const TestImage drawn = draw(800, 700, 4, random);
    const Method slic = [](const Image &i, int k, std::int32_t *l) { return superpixel::slic(i, k, {}, l); };
    const Labels labels = run(slic, drawn.image(), 40000);
    check(labels == plain_slic(drawn, 40000, {}), "plain SLIC gives the same labels");
    check(same_with_each_instruction_set(slic, drawn.image(), 40000, labels),
          "every instruction set gives the same labels");
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
    test_large_superpixels();
    test_random_clusters(images, seed);
    test_random_images(images, seed);
    std::printf("%s: %d random images and the known answers\n", failures ? "FAILED" : "passed", images);
    return failures ? 1 : 0;
}
