#include "runs.h"

#include <algorithm>
#include <cstring>

namespace superpixel {
namespace {

// A bit for each of `count` pixels, a multiple of kLanes, that equals its one of `others`.
template <int kBytes>
ALWAYS_INLINE std::uint64_t equal(const std::int32_t *pixels, const std::int32_t *others, int count) {
    using Integers = typename Register<kBytes>::Integers;
    constexpr int kCount = Register<kBytes>::kCount;
    Integers lane, halves[2] = {};
    for (int i = 0; i < kCount; ++i) lane[i] = i;
    for (int i = 0; i < count; i += kCount) {
        Integers here, there;
        std::memcpy(&here, pixels + i, kBytes);
        std::memcpy(&there, others + i, kBytes);
        halves[i / 32] |= (here == there) & ((Integers{} + 1) << (lane + i % 32));
    }
    std::uint64_t bits = 0;
    for (const int i : {1, 0}) {
        const auto pairs = reinterpret_cast<typename Register<kBytes>::Pairs>(halves[i]);
        std::uint64_t both = 0;
        for (int j = 0; j < kCount / 2; ++j) both |= pairs[j];
        bits = bits << 32 | static_cast<std::uint32_t>(both | both >> 32);
    }
    return bits;
}

// The first row has none above.
template <int kBytes>
ALWAYS_INLINE void compare_row_body(const std::int32_t *row, const std::int32_t *above, int width,
                                    std::uint64_t *starts, std::uint64_t *joins) {
    constexpr int kUsed = std::min(kBytes, 32);  // more lanes take longer to bring together than they save
    std::uint64_t last_like_above = 0;
    for (int x = 0; x < width; x += kWord, ++starts, ++joins) {
        const int count = std::min(width - x, kWord), padded = (count + kLanes - 1) / kLanes * kLanes;
        const std::uint64_t columns = ~std::uint64_t{0} >> (kWord - count);
        const std::int32_t *const at = row + x;
        // What is left of a row is padding, but nothing is left of the first row.
        const std::uint64_t like_left =
            above || x > 0 ? equal<kUsed>(at, at - 1, padded) : equal<kUsed>(at + 1, at, padded) << 1;
        const std::uint64_t like_above = above ? equal<kUsed>(at, above + x, padded) & columns : 0;
        *starts = (~like_left | (x == 0)) & columns;
        *joins = like_above & (*starts | ~(like_above << 1 | last_like_above));
        last_like_above = like_above >> (kWord - 1);
    }
}
BUILD_FOR_EACH(compare_row,
               (const std::int32_t *row, const std::int32_t *above, int width, std::uint64_t *starts,
                std::uint64_t *joins),
               (row, above, width, starts, joins))

}  // namespace

Runs::Runs(const LabPlanes &lab, const std::int32_t *clusters)
    : words_((lab.width() + kWord - 1) / kWord),
      starts_(static_cast<std::size_t>(lab.height()) * words_),
      joins_(static_cast<std::size_t>(lab.height()) * words_),
      before_(static_cast<std::size_t>(lab.height()) * words_ + 1) {
    std::size_t word = 0;
    for (int y = 0; y < lab.height(); ++y) {
        const std::int32_t *row = clusters + static_cast<std::size_t>(y) * lab.stride();
        compare_row(row, y > 0 ? row - lab.stride() : nullptr, lab.width(), &starts_[word], &joins_[word]);
        for (int i = 0; i < words_; ++i, ++word) {
            before_[word] = count_;
            count_ += count_bits(starts_[word]);
        }
    }
    before_[word] = count_;
}

}  // namespace superpixel
