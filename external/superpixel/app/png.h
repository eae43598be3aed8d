// Label maps as PNG files.
#ifndef SUPERPIXEL_PNG_H
#define SUPERPIXEL_PNG_H

#include <cstdint>
#include <string>

#include "files.h"

// The PNG (8 bits, RGB) of `width * height` labels from 0 to 2^24 - 1, label = B + 256 G + 65536 R, whose first chunk
// after the header is `chunk`.
Bytes encode_labels(const std::int32_t *labels, int width, int height, const std::string &chunk);

// A whole chunk: length, four letters, content, checksum.
std::string png_chunk(const std::string &letters, const std::string &content);

#endif
