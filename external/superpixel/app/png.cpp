#include "png.h"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <queue>
#include <vector>

#include "flags.h"
#include "record.h"

// A general encoder passes over three bytes a pixel several times. Almost all of them are what PNG's Paeth filter
// predicts where superpixels are: here only the pixels at borders are looked at, and runs of zeros in between are
// counted, not written.
namespace {

// ------------------------------------------------------------------------------------- Huffman code (RFC 1951)
constexpr int kLiterals = 256, kEndOfBlock = 256, kFirstLength = 257, kSymbols = 286;
constexpr int kShortest = 3, kLongest = 258;  // of a match
constexpr int kMostBits = 15;                 // of a symbol

struct Code {
    std::array<std::uint8_t, kSymbols> bits{};
    std::array<std::uint16_t, kSymbols> value{};  // the first bit lowest
};

// Lengths of an optimal prefix code, without a limit.
std::array<int, kSymbols> code_lengths(const std::array<std::uint32_t, kSymbols> &counts) {
    using Node = std::pair<std::uint32_t, int>;  // how often, and which
    std::priority_queue<Node, std::vector<Node>, std::greater<Node>> lightest;
    for (int s = 0; s < kSymbols; ++s)
        if (counts[s] > 0) lightest.push({counts[s], s});
    std::array<int, 2 * kSymbols> above{};
    int next = kSymbols;
    for (; lightest.size() > 1; ++next) {
        const Node first = lightest.top();
        lightest.pop();
        const Node second = lightest.top();
        lightest.pop();
        above[first.second] = above[second.second] = next;
        lightest.push({first.first + second.first, next});
    }
    std::array<int, 2 * kSymbols> depth{};
    std::array<int, kSymbols> lengths{};
    for (int node = next - 2; node >= 0; --node)
        if (above[node] > 0) depth[node] = depth[above[node]] + 1;
    std::copy(depth.begin(), depth.begin() + kSymbols, lengths.begin());
    return lengths;
}

std::uint16_t reversed(std::uint32_t value, int bits) {
    std::uint32_t turned = 0;
    for (int i = 0; i < bits; ++i) turned |= (value >> i & 1) << (bits - 1 - i);
    return static_cast<std::uint16_t>(turned);
}

// At least two symbols have to be counted.
Code make_code(std::array<std::uint32_t, kSymbols> counts) {
    std::array<int, kSymbols> lengths = code_lengths(counts);
    while (*std::max_element(lengths.begin(), lengths.end()) > kMostBits) {  // flatter counts: a lower tree
        for (std::uint32_t &count : counts)
            if (count > 0) count = count / 2 + 1;
        lengths = code_lengths(counts);
    }
    Code code;
    std::uint32_t value = 0;
    for (int bits = 1; bits <= kMostBits; ++bits, value <<= 1)
        for (int s = 0; s < kSymbols; ++s)
            if (lengths[s] == bits) {
                code.bits[s] = static_cast<std::uint8_t>(bits);
                code.value[s] = reversed(value++, bits);
            }
    return code;
}

// The symbol of a match's length, and what follows it.
struct Length {
    std::uint16_t symbol;
    std::uint8_t extra_bits, extra;
};

std::array<Length, kLongest + 1> length_symbols() {
    std::array<Length, kLongest + 1> table{};
    int length = kShortest;
    for (int symbol = kFirstLength; symbol < kSymbols - 1; ++symbol) {
        const int extra_bits = std::max((symbol - kFirstLength) / 4 - 1, 0);
        for (int extra = 0; extra < 1 << extra_bits && length < kLongest; ++extra, ++length)
            table[length] = {static_cast<std::uint16_t>(symbol), static_cast<std::uint8_t>(extra_bits),
                             static_cast<std::uint8_t>(extra)};
    }
    table[kLongest] = {kSymbols - 1, 0, 0};
    return table;
}

// ------------------------------------------------------------------------------------------------- zlib stream
// Bytes come as literals and as matches of the byte before, which runs of zeros are.
class Deflate {
public:
    explicit Deflate(Bytes &out) : out_(out) {
        tokens_.reserve(kMostTokens);
        out_.insert(out_.end(), {0x78, 0x01});
    }

    void literal(std::uint8_t byte) {
        add(byte);
        ++counts_[byte];
        low_ += byte;
        high_ += low_;
    }

    void zeros(std::size_t count) {
        if (count == 0) return;
        high_ += low_ * count;
        add(0);
        ++counts_[0];
        for (--count; count >= kShortest;) {
            const std::size_t length = std::min<std::size_t>(count, kLongest);
            add(static_cast<std::uint16_t>(kLiterals + length));
            ++counts_[symbols()[length].symbol];
            count -= length;
        }
        for (; count > 0; --count) {
            add(0);
            ++counts_[0];
        }
    }

    void finish() {
        write_block(true);
        for (; filled_ > 0; filled_ -= 8, pending_ >>= 8) out_.push_back(static_cast<unsigned char>(pending_));
        const std::uint32_t sum = static_cast<std::uint32_t>(high_ << 16 | low_);
        for (int shift = 24; shift >= 0; shift -= 8) out_.push_back(static_cast<unsigned char>(sum >> shift));
    }

private:
    static constexpr std::size_t kMostTokens = 1 << 15;
    static constexpr std::size_t kHeader = 160, kMostOfToken = 3;  // bytes of a block
    static constexpr std::uint64_t kAdler = 65521;

    static const std::array<Length, kLongest + 1> &symbols() {
        static const std::array<Length, kLongest + 1> table = length_symbols();
        return table;
    }

    void add(std::uint16_t token) {
        if (tokens_.size() == kMostTokens) write_block(false);
        tokens_.push_back(token);
    }

    // At most 32 bits, the lowest first.
    void put(std::uint64_t value, int bits) {
        pending_ |= value << filled_;
        filled_ += bits;
        if (filled_ < 32) return;
        for (int i = 0; i < 4; ++i) next_[i] = static_cast<unsigned char>(pending_ >> 8 * i);
        next_ += 4;
        pending_ >>= 32;
        filled_ -= 32;
    }

    // A block with its own code for bytes and lengths, and one distance, of one byte.
    void write_block(bool is_last) {
        counts_[kEndOfBlock] = 1;
        const Code code = make_code(counts_);
        const std::size_t before = out_.size();
        out_.resize(before + kHeader + kMostOfToken * (tokens_.size() + 1));
        next_ = out_.data() + before;
        put(is_last | 2 << 1, 3);
        put(kSymbols - 257, 5);
        put(0, 5);
        put(19 - 4, 4);
        // Lengths of codes are written as they are, in 4 bits each: nothing for the three symbols of repetition.
        for (int i = 0; i < 19; ++i) put(i < 3 ? 0 : 4, 3);
        for (int s = 0; s < kSymbols; ++s) put(reversed(code.bits[s], 4), 4);
        put(reversed(1, 4), 4);
        for (const std::uint16_t token : tokens_) {
            if (token < kLiterals) {
                put(code.value[token], code.bits[token]);
                continue;
            }
            const Length length = symbols()[token - kLiterals];
            const int bits = code.bits[length.symbol];
            // The distance's one bit is 0.
            put(code.value[length.symbol] | static_cast<std::uint64_t>(length.extra) << bits,
                bits + length.extra_bits + 1);
        }
        put(code.value[kEndOfBlock], code.bits[kEndOfBlock]);
        out_.resize(next_ - out_.data());
        tokens_.clear();
        counts_ = {};
        low_ %= kAdler;
        high_ %= kAdler;
    }

    Bytes &out_;
    std::vector<std::uint16_t> tokens_;  // bytes, or kLiterals and the length of a match
    std::array<std::uint32_t, kSymbols> counts_{};
    std::uint64_t low_ = 1, high_ = 0;  // Adler-32; its remainders are taken after each block, far from 2^64
    unsigned char *next_ = nullptr;  // where the next bits go, while a block is written
    std::uint64_t pending_ = 0;
    int filled_ = 0;
};

// ------------------------------------------------------------------------------------------------------ filter
// PNG's Paeth predictor: what of left, above, and left of above is nearest to left + above - left of above.
std::uint8_t predicted(int left, int above, int corner) {
    const int to_left = std::abs(above - corner), to_above = std::abs(left - corner),
              to_corner = std::abs(left + above - 2 * corner);
    return static_cast<std::uint8_t>(to_left <= to_above && to_left <= to_corner ? left
                                     : to_above <= to_corner                     ? above
                                                                                 : corner);
}

// Whether pixels may differ from what is predicted, which they do not where a border keeps its direction. `row` and
// `above` have a pixel more in front.
void find_unpredicted(const std::int32_t *row, const std::int32_t *above, int width, std::uint8_t *found) {
    for (int x = 0; x < width; ++x) {
        const std::int32_t as_left = (row[x] ^ row[x - 1]) | (above[x] ^ above[x - 1]),
                           as_above = (row[x] ^ above[x]) | (row[x - 1] ^ above[x - 1]);
        found[x] = (as_left != 0) & (as_above != 0);
    }
}

constexpr std::uint8_t kPaeth = 4;

// Rows of labels with a 0 in front, the one above the image as well.
class Filter {
public:
    Filter(int width, Deflate &out)
        : width_(width),
          out_(out),
          found_(static_cast<std::size_t>(width) + superpixel::kFlagsRead),
          row_(width + 1),
          above_(width + 1) {}

    void add_row(const std::int32_t *labels) {
        std::copy(labels, labels + width_, &row_[1]);
        find_unpredicted(&row_[1], &above_[1], width_, found_.data());
        out_.zeros(zeros_);
        out_.literal(kPaeth);
        zeros_ = 0;
        int done = 0;
        superpixel::for_each_flag(found_.data(), width_, [&](int flag) {
            const int at = flag / 8;
            zeros_ += 3 * static_cast<std::size_t>(at - done);
            add_pixel(at + 1);
            done = at + 1;
        });
        zeros_ += 3 * static_cast<std::size_t>(width_ - done);
        row_.swap(above_);
    }

    void finish() { out_.zeros(zeros_); }

private:
    void add_pixel(int at) {
        for (int shift = 16; shift >= 0; shift -= 8) {
            const auto byte = [shift](std::int32_t label) { return label >> shift & 255; };
            const std::uint8_t rest = static_cast<std::uint8_t>(
                byte(row_[at]) - predicted(byte(row_[at - 1]), byte(above_[at]), byte(above_[at - 1])));
            if (rest == 0) {
                ++zeros_;
                continue;
            }
            out_.zeros(zeros_);
            out_.literal(rest);
            zeros_ = 0;
        }
    }

    int width_;
    Deflate &out_;
    std::vector<std::uint8_t> found_;
    std::vector<std::int32_t> row_, above_;
    std::size_t zeros_ = 0;
};

std::string big_endian(std::uint32_t value) {
    std::string bytes;
    for (int shift = 24; shift >= 0; shift -= 8) bytes += static_cast<char>(value >> shift & 255);
    return bytes;
}

void append(Bytes &to, const std::string &bytes) { to.insert(to.end(), bytes.begin(), bytes.end()); }

}  // namespace

std::string png_chunk(const std::string &letters, const std::string &content) {
    const std::string body = letters + content;
    return big_endian(static_cast<std::uint32_t>(content.size())) + body + big_endian(crc32(body.data(), body.size()));
}

Bytes encode_labels(const std::int32_t *labels, int width, int height, const std::string &chunk) {
    Bytes bytes;
    append(bytes, "\x89PNG\r\n\x1a\n");
    append(bytes, png_chunk("IHDR", big_endian(width) + big_endian(height) + std::string("\x08\x02\0\0\0", 5)));
    append(bytes, chunk);
    const std::size_t start = bytes.size();
    append(bytes, "....IDAT");
    Deflate deflate(bytes);
    Filter filter(width, deflate);
    for (int y = 0; y < height; ++y) filter.add_row(labels + static_cast<std::size_t>(y) * width);
    filter.finish();
    deflate.finish();
    const std::string size = big_endian(static_cast<std::uint32_t>(bytes.size() - start - 8));
    std::copy(size.begin(), size.end(), bytes.begin() + static_cast<std::ptrdiff_t>(start));
    append(bytes, big_endian(crc32(&bytes[start + 4], bytes.size() - start - 4)));
    append(bytes, png_chunk("IEND", ""));
    return bytes;
}
