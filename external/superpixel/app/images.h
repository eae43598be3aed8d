// Images in, label maps out.
#ifndef SUPERPIXEL_IMAGES_H
#define SUPERPIXEL_IMAGES_H

#include <cstdint>
#include <memory>
#include <opencv2/core.hpp>
#include <string>
#include <vector>

#include "files.h"
#include "record.h"

// The bytes of an image file and their identity. BadImage: missing, unreadable.
Identity read_image(const std::string &path, Bytes &bytes);

// The image as 8-bit BGR, turned upright by its EXIF orientation. BadImage: damaged, cut short.
cv::Mat decode_image(const std::string &path, const Bytes &bytes);

// The label maps of a folder, which name their settings in a tEXt chunk.
class LabelMaps {
public:
    LabelMaps(std::string folder, const std::string &settings);

    bool exists(const std::string &name) const;

    // True when NAME.png exists, is not empty, and does not name this program as its maker.
    bool is_foreign(const std::string &name) const;

    // True when NAME.png is the image itself.
    bool would_replace(const std::string &image, const std::string &name) const;

    // Writes label = B + 256 G + 65536 R to what becomes FOLDER/NAME.png.
    // BadImage: labels above 24 bits, a name that cannot be one of a file here. UserError: the disk is full, or the
    // like.
    std::unique_ptr<PartialFile> write(const std::string &name, const std::int32_t *labels, int width,
                                       int height) const;

    // Removes what killed runs left half-written where maps of these names go.
    void remove_partial(const std::vector<std::string> &names) const;

    // Removes these names' own half-written maps only: other files may be of runs that share the folder.
    void remove_own_partial(const std::vector<std::string> &names) const;

private:
    std::string path(const std::string &name) const;
    bool is_inside(const std::string &subfolder) const;

    std::string folder_;
    std::string chunk_;
};

#endif
