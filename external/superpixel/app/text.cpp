#include "text.h"

#include <algorithm>
#include <cstdlib>
#include <map>
#include <vector>

#include "unicode_tables.h"

// ------------------------------------------------------------------------------------------------------ UTF-8
namespace {

// Length of the sequence that begins at `at`, 0 when it is none.
std::size_t sequence_length(const std::string &text, std::size_t at, char32_t &code) {
    const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
    const unsigned char first = byte(at);
    const std::size_t length =
        first < 0x80 ? 1 : first < 0xc2 ? 0 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : first < 0xf5 ? 4 : 0;
    if (length == 0 || at + length > text.size()) return 0;
    static const unsigned char kFirstBits[] = {0, 0x7f, 0x1f, 0x0f, 0x07};
    code = first & kFirstBits[length];
    for (std::size_t i = 1; i < length; ++i) {
        if ((byte(at + i) & 0xc0) != 0x80) return 0;
        code = code << 6 | (byte(at + i) & 0x3f);
    }
    static const char32_t kLeast[] = {0, 0, 0x80, 0x800, 0x10000};
    return code < kLeast[length] || code > 0x10ffff || (code >= 0xd800 && code < 0xe000) ? 0 : length;
}

}  // namespace

std::size_t invalid_utf8_at(const std::string &text) {
    char32_t code;
    for (std::size_t at = 0, length; at < text.size(); at += length)
        if ((length = sequence_length(text, at, code)) == 0) return at;
    return std::string::npos;
}

std::u32string decoded(const std::string &text) {
    std::u32string codes;
    char32_t code = 0;
    for (std::size_t at = 0; at < text.size(); codes += code)
        at += std::max<std::size_t>(sequence_length(text, at, code), 1);
    return codes;
}

std::string encoded(const std::u32string &text) {
    std::string bytes;
    for (const char32_t code : text) {
        const int more = code < 0x80 ? 0 : code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
        static const unsigned char kFirst[] = {0, 0xc0, 0xe0, 0xf0};
        bytes += static_cast<char>(kFirst[more] | code >> 6 * more);
        for (int i = more - 1; i >= 0; --i) bytes += static_cast<char>(0x80 | (code >> 6 * i & 0x3f));
    }
    return bytes;
}

// ------------------------------------------------------------------------------------------------------ forms
namespace {

// The entries of a table: hexadecimal numbers with commas between them, and a space behind.
template <typename Visit>
void for_each_entry(const char *table, const Visit &visit) {
    std::vector<char32_t> numbers;
    for (const char *at = table; *at;) {
        char *end;
        numbers.push_back(static_cast<char32_t>(std::strtoul(at, &end, 16)));
        if (*end == ' ') {
            visit(numbers);
            numbers.clear();
        }
        at = *end ? end + 1 : end;
    }
}

const std::map<char32_t, std::u32string> &decompositions() {
    static const auto made = [] {
        std::map<char32_t, std::u32string> table;
        for_each_entry(kDecompositions, [&](const std::vector<char32_t> &entry) {
            table[entry[0]] = std::u32string(entry.begin() + 1, entry.end());
        });
        return table;
    }();
    return made;
}

int combining_class(char32_t code) {
    static const auto ranges = [] {
        std::map<char32_t, std::pair<char32_t, int>> table;  // by the last character
        for_each_entry(kCombiningClasses, [&](const std::vector<char32_t> &entry) {
            table[entry[1]] = {entry[0], static_cast<int>(entry[2])};
        });
        return table;
    }();
    const auto range = ranges.lower_bound(code);
    return range == ranges.end() || code < range->second.first ? 0 : range->second.second;
}

void decompose(char32_t code, std::u32string &parts) {
    constexpr char32_t kSyllables = 0xac00, kCount = 11172, kVowels = 21, kTails = 28;
    if (code >= kSyllables && code < kSyllables + kCount) {  // Hangul is composed by arithmetic
        const char32_t index = code - kSyllables;
        parts += 0x1100 + index / (kVowels * kTails);
        parts += 0x1161 + index / kTails % kVowels;
        if (index % kTails) parts += 0x11a7 + index % kTails;
        return;
    }
    const auto found = decompositions().find(code);
    if (found == decompositions().end()) {
        parts += code;
        return;
    }
    for (const char32_t part : found->second) decompose(part, parts);
}

}  // namespace

std::string normal(const std::string &name) {
    const auto is_ascii = [](char c) { return static_cast<unsigned char>(c) < 0x80; };
    if (std::all_of(name.begin(), name.end(), is_ascii) || invalid_utf8_at(name) != std::string::npos) return name;
    std::u32string parts;
    for (const char32_t code : decoded(name)) decompose(code, parts);
    // Marks that combine with the same character come in the order of their classes.
    for (auto begin = parts.begin(); begin != parts.end();) {
        if (combining_class(*begin) == 0) {
            ++begin;
            continue;
        }
        const auto end = std::find_if(begin, parts.end(), [](char32_t code) { return combining_class(code) == 0; });
        std::stable_sort(begin, end, [](char32_t a, char32_t b) { return combining_class(a) < combining_class(b); });
        begin = end;
    }
    return encoded(parts);
}

std::u32string stripped(const std::u32string &line) {
    static const char32_t kBlanks[] =
        U" \t\v\f\r\n\x1c\x1d\x1e\x1f\x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
        U"\u200b\u2028\u2029\u202f\u205f\u3000\ufeff";
    const std::size_t begin = line.find_first_not_of(kBlanks);
    return begin == std::u32string::npos ? U"" : line.substr(begin, line.find_last_not_of(kBlanks) - begin + 1);
}
