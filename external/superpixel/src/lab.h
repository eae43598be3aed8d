// Images as planes of CIELAB values.
#ifndef SUPERPIXEL_LAB_H
#define SUPERPIXEL_LAB_H

#include <cstddef>
#include <cstdint>

#include "buffer.h"
#include "superpixel.h"

namespace superpixel {

constexpr float kLabUnit = 64;        // stored steps in one unit of lightness
constexpr int kLargestLab = 1 << 14;  // stored values are below it, and not below its negative
constexpr int kLanes = 16;            // rows are padded to a multiple of so many pixels, and
constexpr int kPadRows = 16;          // columns to a multiple of so many

// Lightness, a and b (CIE 1976, white of D65, sRGB with its gamma) in steps of 1 / kLabUnit, chroma (a and b)
// stretched by 1.5, slightly smoothed. The padding repeats the last pixel of rows and columns.
class LabPlanes {
public:
    explicit LabPlanes(const Image &image);

    const std::int16_t *lightness() const { return values_.get(); }
    const std::int16_t *a() const { return values_.get() + size_; }
    const std::int16_t *b() const { return values_.get() + 2 * size_; }
    int width() const { return width_; }
    int height() const { return height_; }
    int stride() const { return stride_; }  // width with padding
    int padded_height() const { return static_cast<int>(size_ / stride_); }
    std::size_t size() const { return size_; }  // pixels of one plane, padding counted

private:
    int width_, height_, stride_;
    std::size_t size_;
    Buffer<std::int16_t> values_;
};

}  // namespace superpixel

#endif
