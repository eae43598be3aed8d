// Runs: pixels of one cluster next to each other in a row.
#ifndef SUPERPIXEL_RUNS_H
#define SUPERPIXEL_RUNS_H

#include <cstddef>
#include <cstdint>

#include "buffer.h"
#include "lab.h"
#include "simd.h"

namespace superpixel {

// Compilers make this the one instruction that most processors have for it.
ALWAYS_INLINE int count_bits(std::uint64_t bits) {
    bits -= bits >> 1 & 0x5555555555555555;
    bits = (bits & 0x3333333333333333) + (bits >> 2 & 0x3333333333333333);
    bits = (bits + (bits >> 4)) & 0x0f0f0f0f0f0f0f0f;
    return static_cast<int>(bits * 0x0101010101010101 >> 56);
}

ALWAYS_INLINE int lowest_bit(std::uint64_t bits) { return __builtin_ctzll(bits); }

constexpr int kWord = 64;  // columns in a word of bits

// All runs of an image, numbered in raster order, as a bit for every pixel. Every row begins with a word of its own.
class Runs {
public:
    // `clusters` has the stride and the padding of `lab`.
    Runs(const LabPlanes &lab, const std::int32_t *clusters);

    std::int32_t count() const { return count_; }
    std::int32_t first(int y) const { return before(y)[0]; }  // of a row; of the one after the last, count()
    ALWAYS_INLINE std::int32_t at(unsigned x, int y) const {
        return before(y)[x / kWord] + count_bits(starts(y)[x / kWord] << (~x % kWord)) - 1;
    }

    // Of a row's words: where runs start; the first column that a run shares with one of its cluster in the row above;
    // how many runs start in words before this one.
    int words() const { return words_; }
    const std::uint64_t *starts(int y) const { return starts_.get() + static_cast<std::size_t>(y) * words_; }
    const std::uint64_t *joins(int y) const { return joins_.get() + static_cast<std::size_t>(y) * words_; }
    const std::int32_t *before(int y) const { return before_.get() + static_cast<std::size_t>(y) * words_; }

private:
    int words_;
    std::int32_t count_ = 0;
    Buffer<std::uint64_t> starts_, joins_;
    Buffer<std::int32_t> before_;
};

}  // namespace superpixel

#endif
