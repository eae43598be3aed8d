#include "gaussian.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>

#include "buffer.h"
#include "simd.h"

namespace superpixel {
namespace {

constexpr float kSigma = .8f;
constexpr int kTaps = 5;  // ceil(4 sigma) + 1: the centre and what is on one side of it

struct Taps {
    float at[kTaps];
};

// The Gaussian, its sum over both sides brought to 1, rounded to float32 where the published program rounds.
Taps gaussian_taps() {
    Taps taps;
    for (int i = 0; i < kTaps; ++i) {
        const float z = static_cast<float>(i) / kSigma;
        taps.at[i] = static_cast<float>(std::exp(-.5 * (z * z)));
    }
    float sum = 0;
    for (int i = 1; i < kTaps; ++i) sum += taps.at[i];
    sum = 2 * sum + taps.at[0];
    for (float &tap : taps.at) tap /= sum;
    return taps;
}

// `row` has kTaps - 1 more values at both ends.
template <int>
ALWAYS_INLINE void smooth_along_body(const float *__restrict row, int width, const Taps &taps, float *__restrict out) {
    const float t0 = taps.at[0], t1 = taps.at[1], t2 = taps.at[2], t3 = taps.at[3], t4 = taps.at[4];
    for (int x = 0; x < width; ++x) {
        float sum = t0 * row[x];
        sum += t1 * (row[x - 1] + row[x + 1]);
        sum += t2 * (row[x - 2] + row[x + 2]);
        sum += t3 * (row[x - 3] + row[x + 3]);
        sum += t4 * (row[x - 4] + row[x + 4]);
        out[x] = sum;
    }
}
BUILD_FOR_EACH(smooth_along, (const float *row, int width, const Taps &taps, float *out), (row, width, taps, out))

// `rows` are the kTaps - 1 rows above, the row itself and the kTaps - 1 rows below.
template <int>
ALWAYS_INLINE void smooth_across_body(const float *const rows[2 * kTaps - 1], int width, const Taps &taps,
                                      float *__restrict out) {
    const float t0 = taps.at[0], t1 = taps.at[1], t2 = taps.at[2], t3 = taps.at[3], t4 = taps.at[4];
    const float *__restrict r0 = rows[0], *__restrict r1 = rows[1], *__restrict r2 = rows[2], *__restrict r3 = rows[3],
                            *__restrict r4 = rows[4], *__restrict r5 = rows[5], *__restrict r6 = rows[6],
                            *__restrict r7 = rows[7], *__restrict r8 = rows[8];
    for (int x = 0; x < width; ++x) {
        float sum = t0 * r4[x];
        sum += t1 * (r3[x] + r5[x]);
        sum += t2 * (r2[x] + r6[x]);
        sum += t3 * (r1[x] + r7[x]);
        sum += t4 * (r0[x] + r8[x]);
        out[x] = sum;
    }
}
BUILD_FOR_EACH(smooth_across, (const float *const rows[2 * kTaps - 1], int width, const Taps &taps, float *out),
               (rows, width, taps, out))

constexpr int kBorder = kTaps - 1, kRows = 2 * kBorder + 1;

// Row y of a channel, smoothed along. `padded` has room for a row and the border's pixels, which are repeated.
void smooth_row(const Image &image, int channel, int y, const Taps &taps, float *padded, float *out) {
    const int width = image.width;
    float *const row = padded + kBorder;
    const std::uint8_t *const pixel = image.bgr + y * image.stride + channel;
    for (int x = 0; x < width; ++x) row[x] = pixel[3 * x];
    std::fill(row - kBorder, row, row[0]);
    std::fill(row + width, row + width + kBorder, row[width - 1]);
    smooth_along(row, width, taps, out);
}

// One channel of `image` to `plane`, smoothed along rows, then across them. `along` has room for kRows rows: those that
// a row of the result depends on.
void smooth_channel(const Image &image, int channel, const Taps &taps, float *padded, float *along, float *plane) {
    const int width = image.width, height = image.height;
    const auto along_row = [&](int y) { return along + static_cast<std::size_t>(y % kRows) * width; };
    for (int y = 0; y < std::min(kBorder, height); ++y) smooth_row(image, channel, y, taps, padded, along_row(y));
    for (int y = 0; y < height; ++y) {
        const int below = y + kBorder;
        if (below < height) smooth_row(image, channel, below, taps, padded, along_row(below));
        const float *rows[kRows];
        for (int i = 0; i < kRows; ++i) rows[i] = along_row(std::clamp(y - kBorder + i, 0, height - 1));
        smooth_across(rows, width, taps, plane + static_cast<std::size_t>(y) * width);
    }
}

}  // namespace

void smooth(const Image &image, float *planes) {
    const std::size_t width = image.width, count = width * image.height;
    const Taps taps = gaussian_taps();
    Buffer<float> padded(width + 2 * kBorder), along(kRows * width);
    for (int channel = 0; channel < 3; ++channel)
        smooth_channel(image, channel, taps, padded.get(), along.get(), planes + channel * count);
}

}  // namespace superpixel
