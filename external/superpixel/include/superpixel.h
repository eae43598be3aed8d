// Superpixels of one image: plain pixels in, labels out. No files, no threads, no other library.
#ifndef SUPERPIXEL_H
#define SUPERPIXEL_H

#include <cstddef>
#include <cstdint>

namespace superpixel {

constexpr int kVersion = 1;  // another one whenever the labels of an image change under the same settings

// Rows of 8-bit blue, green, red pixels; `stride` bytes from the start of a row to the start of the next.
struct Image {
    const std::uint8_t *bgr;
    int width;
    int height;
    std::ptrdiff_t stride;
};

struct SlicSettings {
    float compactness = 6;  // how much closeness counts against likeness of colour; higher: rounder, more even pieces
    int iterations = 10;    // at most so many rounds, at least 1, of assigning pixels and moving centres
};

// Both functions write `width * height` labels in raster order and return how many superpixels there are. Labels run
// from 0 without gaps, in raster order of each superpixel's first pixel. Every superpixel is connected (over 4
// neighbours by SLIC, over 8 by the graph method), and none is smaller than `min_size` pixels, which is at least 1,
// unless it is the whole image. An image without pixels gives 0. They throw std::bad_alloc, and nothing else.

// SLIC: Achanta et al., "SLIC Superpixels Compared to State-of-the-Art Superpixel Methods", TPAMI 2012.
// The grid cell has an area of 4 * min_size, so the classic rule "absorb what is below a quarter of the expected
// size" and the smallest size are one.
int slic(const Image &image, int min_size, const SlicSettings &settings, std::int32_t *labels);

// Felzenszwalb and Huttenlocher, "Efficient Graph-Based Image Segmentation", IJCV 2004, with sigma 0.8, and
// `min_size` also as the constant k of the threshold function k / size.
int graph_segment(const Image &image, int min_size, std::int32_t *labels);

}  // namespace superpixel

#endif
