// Drawn images for the tests.
#ifndef SUPERPIXEL_TESTS_IMAGES_H
#define SUPERPIXEL_TESTS_IMAGES_H

#include <cstddef>
#include <cstdint>
#include <random>
#include <vector>

#include "superpixel.h"

struct TestImage {
    int width, height;
    std::vector<std::uint8_t> bgr;
    superpixel::Image image() const { return {bgr.data(), width, height, 3 * static_cast<std::ptrdiff_t>(width)}; }
};

// Noise, flat colour, patches, a ramp, or two halves: what is easy, what is hard, what ties.
inline TestImage draw(int width, int height, int kind, std::mt19937 &random) {
    TestImage drawn{width, height, std::vector<std::uint8_t>(3u * width * height)};
    std::vector<std::uint8_t> colours(3 * 64);
    for (std::uint8_t &value : colours) value = static_cast<std::uint8_t>(random());
    for (int y = 0; y < height; ++y)
        for (int x = 0; x < width; ++x)
            for (int c = 0; c < 3; ++c) {
                std::uint8_t &value = drawn.bgr[3 * (static_cast<std::size_t>(y) * width + x) + c];
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
    return drawn;
}
constexpr int kKinds = 5;

#endif
