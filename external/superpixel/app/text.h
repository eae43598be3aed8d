// UTF-8, and the forms in which Unicode writes one name.
#ifndef SUPERPIXEL_TEXT_H
#define SUPERPIXEL_TEXT_H

#include <cstddef>
#include <string>

// Where the first bytes are that are not UTF-8, or npos.
std::size_t invalid_utf8_at(const std::string &text);

// Code points of valid UTF-8, and back.
std::u32string decoded(const std::string &text);
std::string encoded(const std::u32string &text);

// A name as names are compared: canonically decomposed (NFD). What is not UTF-8 stays as it is.
std::string normal(const std::string &name);

// Without blanks at both ends: Unicode's white space, the byte-order mark and the zero-width space.
std::u32string stripped(const std::u32string &line);

#endif
