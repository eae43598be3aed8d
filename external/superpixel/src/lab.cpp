#include "lab.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "simd.h"

namespace superpixel {
namespace {

// Colour decides more about where objects end than brightness, which shadows and texture change, too.
constexpr float kChroma = 1.5f;

// sRGB's gamma (IEC 61966-2-1).
std::array<float, 256> linear_light() {
    std::array<float, 256> table;
    for (int i = 0; i < 256; ++i) {
        const double v = i / 255.;
        table[i] = static_cast<float>(v <= .04045 ? v / 12.92 : std::pow((v + .055) / 1.055, 2.4));
    }
    return table;
}

// Cube root of 0.008 to 1.1: a third of the exponent (Kahan), then two steps of Halley's method.
ALWAYS_INLINE float cube_root(float v) {
    std::int32_t bits;
    std::memcpy(&bits, &v, sizeof bits);
    bits = static_cast<std::int32_t>(static_cast<float>(bits) * (1.f / 3)) + 709921077;
    float root;
    std::memcpy(&root, &bits, sizeof root);
    for (int step = 0; step < 2; ++step) {
        const float cube = root * root * root;
        root *= (cube + v + v) / (cube + cube + v);
    }
    return root;
}

// The f of CIELAB.
ALWAYS_INLINE float lab_curve(float t) {
    const float root = cube_root(t), line = 7.787037f * t + 16.f / 116;
    return t > .008856452f ? root : line;
}

template <int>
ALWAYS_INLINE void lab_row_body(const float *__restrict red, const float *__restrict green,
                                const float *__restrict blue, int width, float *__restrict lightness,
                                float *__restrict a, float *__restrict b) {
    for (int x = 0; x < width; ++x) {
        const float fx = lab_curve((.4124564f * red[x] + .3575761f * green[x] + .1804375f * blue[x]) * (1 / .95047f));
        const float fy = lab_curve(.2126729f * red[x] + .7151522f * green[x] + .0721750f * blue[x]);
        const float fz = lab_curve((.0193339f * red[x] + .1191920f * green[x] + .9503041f * blue[x]) * (1 / 1.08883f));
        lightness[x] = kLabUnit * (116 * fy - 16);
        a[x] = kLabUnit * kChroma * 500 * (fx - fy);
        b[x] = kLabUnit * kChroma * 200 * (fy - fz);
    }
}
BUILD_FOR_EACH(lab_row,
               (const float *red, const float *green, const float *blue, int width, float *lightness, float *a,
                float *b),
               (red, green, blue, width, lightness, a, b))

// Both smoothings have the weights 1/6, 4/6, 1/6. This takes the noise that would fray the borders of superpixels, and
// leaves edges where they are.
template <int>
ALWAYS_INLINE void smooth_along_body(const float *__restrict row, int width, float *__restrict out) {
    for (int x = 0; x < width; ++x) out[x] = (1.f / 6) * (row[x - 1] + row[x + 1]) + (4.f / 6) * row[x];
}
BUILD_FOR_EACH(smooth_along, (const float *row, int width, float *out), (row, width, out))

template <int>
ALWAYS_INLINE void smooth_across_body(const float *__restrict above, const float *__restrict row,
                                      const float *__restrict below, int width, std::int16_t *__restrict out) {
    for (int x = 0; x < width; ++x) {
        const float value = (1.f / 6) * (above[x] + below[x]) + (4.f / 6) * row[x];
        out[x] = static_cast<std::int16_t>(static_cast<std::int32_t>(value + (kLargestLab + .5f)) - kLargestLab);
    }
}
BUILD_FOR_EACH(smooth_across, (const float *above, const float *row, const float *below, int width, std::int16_t *out),
               (above, row, below, width, out))

}  // namespace

LabPlanes::LabPlanes(const Image &image)
    : width_(image.width),
      height_(image.height),
      stride_((image.width + kLanes - 1) / kLanes * kLanes),
      size_(static_cast<std::size_t>(stride_) * ((image.height + kPadRows - 1) / kPadRows * kPadRows)),
      values_(3 * size_) {
    static const std::array<float, 256> linear = linear_light();
    // A row of each channel with a pixel more at both ends, and three rows of Lab smoothed along the row.
    const int padded = stride_ + 2 * kLanes;
    Buffer<float> channels(3 * static_cast<std::size_t>(padded)), lab(3 * static_cast<std::size_t>(padded)),
        smoothed(9 * static_cast<std::size_t>(stride_));
    const auto smoothed_row = [&](int plane, int y) { return smoothed.get() + (3 * plane + y % 3) * stride_; };
    for (int y = 0; y <= height_; ++y) {
        if (y < height_) {
            const std::uint8_t *pixel = image.bgr + y * image.stride;
            float *const blue = channels.get(), *const green = blue + padded, *const red = green + padded;
#pragma GCC unroll 4
            for (int x = 0; x < width_; ++x) {
                blue[x] = linear[pixel[3 * x]];
                green[x] = linear[pixel[3 * x + 1]];
                red[x] = linear[pixel[3 * x + 2]];
            }
            for (float *row : {blue, green, red}) std::fill(row + width_, row + stride_, row[width_ - 1]);
            float *const l = lab.get() + kLanes, *const a = l + padded, *const b = a + padded;
            lab_row(red, green, blue, stride_, l, a, b);
            for (int plane = 0; plane < 3; ++plane) {
                float *row = l + plane * padded;
                row[-1] = row[0];
                row[stride_] = row[stride_ - 1];
                smooth_along(row, stride_, smoothed_row(plane, y));
            }
        }
        const int middle = y - 1;
        if (middle < 0) continue;
        for (int plane = 0; plane < 3; ++plane)
            smooth_across(smoothed_row(plane, std::max(middle - 1, 0)), smoothed_row(plane, middle),
                          smoothed_row(plane, std::min(y, height_ - 1)), stride_,
                          values_.get() + plane * size_ + static_cast<std::size_t>(middle) * stride_);
    }
    for (int plane = 0; plane < 3; ++plane)
        for (int y = height_; y < padded_height(); ++y) {
            std::int16_t *row = values_.get() + plane * size_ + static_cast<std::size_t>(y) * stride_;
            std::copy(row - stride_, row, row);
        }
}

}  // namespace superpixel
