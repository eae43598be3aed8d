// Lists, images and label maps on disk.
#ifndef SUPERPIXEL_FILES_H
#define SUPERPIXEL_FILES_H

#include <cstdint>
#include <opencv2/core.hpp>
#include <stdexcept>
#include <string>
#include <vector>

// What the user can mend, told in one line: "FILE: what is wrong: what to do".
struct UserError : std::runtime_error {
    using std::runtime_error::runtime_error;
};

// One image of many is no use; the others are not concerned.
struct BadImage : std::runtime_error {
    using std::runtime_error::runtime_error;
};

// Names, one a line; blank lines, spaces around names, CR at line ends and repetitions are passed over.
// UserError: no such file, no names, a name that is absolute, climbs out of its folder with "..", or has an ending.
std::vector<std::string> read_names(const std::string &path);

// FOLDER/NAME.jpg, or FOLDER/NAME.png where only that exists.
std::string image_path(const std::string &folder, const std::string &name);

// An image as 8-bit BGR, turned upright by its EXIF orientation. BadImage: missing, unreadable, cut short.
cv::Mat read_image(const std::string &path);

bool is_readable_folder(const std::string &path);

// Makes the folder and those above it. UserError: not possible, or not to be written to.
void make_folder(const std::string &path);

// Says how a label map was made. It is kept inside the PNG (a tEXt chunk), where it costs nothing and cannot get lost.
class LabelWriter {
public:
    LabelWriter(std::string folder, std::string made_by);

    // True when NAME.png is the image itself.
    bool would_replace(const std::string &image, const std::string &name) const;

    // True when NAME.png exists and does not say that it was made in another way.
    bool finished(const std::string &name) const;

    // Writes label = B + 256 G + 65536 R to FOLDER/NAME.png, whole or not at all.
    // BadImage: labels above 24 bits, no valid place for this name. UserError: the disk is full, or the like.
    void write(const std::string &name, const std::int32_t *labels, int width, int height) const;

    // Removes what a killed run may have left of NAME.png, not what another run is writing.
    void remove_partial(const std::string &name) const;

private:
    std::string path(const std::string &name) const;
    std::string partial(const std::string &name) const;

    std::string folder_;
    std::string chunk_;
};

#endif
