// Flags in bytes, of which most are 0.
#ifndef SUPERPIXEL_FLAGS_H
#define SUPERPIXEL_FLAGS_H

#include <cstdint>
#include <cstring>

namespace superpixel {

constexpr int kFlagsRead = 8;  // bytes that are read together: there is room for so many behind the last

// Calls visit(8 * byte + bit) for every bit that is set in the bytes, in this order.
template <class Visit>
inline void for_each_flag(const std::uint8_t *bytes, int count, Visit visit) {
    for (int first = 0; first < count; first += kFlagsRead) {
        std::uint64_t flags;
        static_assert(sizeof flags == kFlagsRead, "a number of so many bytes");
        std::memcpy(&flags, bytes + first, sizeof flags);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
        flags = __builtin_bswap64(flags);
#endif
        for (; flags != 0; flags &= flags - 1) visit(8 * first + __builtin_ctzll(flags));
    }
}

}  // namespace superpixel

#endif
