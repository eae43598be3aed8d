#include "images.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <opencv2/imgcodecs.hpp>
#include <set>

#include "messages.h"
#include "png.h"

namespace fs = std::filesystem;

// ----------------------------------------------------------------------------------------------------- images
namespace {

// OpenCV fills what a JPEG that ends too early leaves open with grey and reports nothing. Behind the header, whose
// segments hold their length, FF D9 can be nothing but the end of the image.
bool jpeg_is_cut_short(const std::vector<uchar> &bytes) {
    if (bytes.size() < 4 || bytes[0] != 0xff || bytes[1] != 0xd8) return false;
    std::size_t at = 2;
    while (at + 4 <= bytes.size() && bytes[at] == 0xff && bytes[at + 1] != 0xda) {
        if (bytes[at + 1] == 0xff)
            ++at;
        else
            at += 2 + (bytes[at + 2] << 8 | bytes[at + 3]);
    }
    static const uchar kEnd[] = {0xff, 0xd9};
    at = std::min(at, bytes.size());
    return std::search(bytes.begin() + static_cast<std::ptrdiff_t>(at), bytes.end(), kEnd, kEnd + 2) == bytes.end();
}

}  // namespace

Identity read_image(const std::string &path, Bytes &bytes) {
    Identity identity;
    const int error = read_with_identity(path, bytes, identity);
    if (error == ENOENT)
        throw BadImage(path +
                       ": no such file, nor one with another ending: restore it or take the name off the list");
    if (error == kNoFile) throw BadImage(path + ": not a file: restore it or take the name off the list");
    if (error) throw BadImage(path + ": " + reason(error));
    return identity;
}

cv::Mat decode_image(const std::string &path, const Bytes &bytes) {
    if (bytes.empty()) throw BadImage(path + ": the file is empty: restore it or take the name off the list");
    if (jpeg_is_cut_short(bytes))
        throw BadImage(path + ": the file ends before the image does: restore it or take the name off the list");
    cv::Mat image;
    try {
        const QuietLibraries quiet;
        image = cv::imdecode(bytes, cv::IMREAD_COLOR);
    } catch (const cv::Exception &) {  // damaged, or larger than OpenCV's limit
    }
    if (image.empty())
        throw BadImage(path + ": not an image that OpenCV can read: restore it or take the name off the list");
    return image;
}

// ------------------------------------------------------------------------------------------------- label maps
namespace {

constexpr std::size_t kAfterHeader = 8 + 25;  // a PNG's signature and its first chunk
constexpr char kKeyword[] = "Software";
constexpr char kMaker[] = "makeSuperpixel ";

}  // namespace

LabelMaps::LabelMaps(std::string folder, const std::string &settings)
    : folder_(std::move(folder)),
      chunk_(png_chunk("tEXt", std::string(kKeyword, sizeof kKeyword) + kMaker + settings)) {}

std::string LabelMaps::path(const std::string &name) const { return folder_ + "/" + name + ".png"; }

bool LabelMaps::exists(const std::string &name) const {
    struct stat status;
    return ::stat(path(name).c_str(), &status) == 0 && status.st_size > 0;
}

bool LabelMaps::is_foreign(const std::string &name) const {
    const std::string ours = "tEXt" + std::string(kKeyword, sizeof kKeyword) + kMaker;
    std::ifstream file(path(name), std::ios::binary);
    std::string head(kAfterHeader + 4 + ours.size(), '\0');  // 4: the chunk's length
    file.read(&head[0], static_cast<std::streamsize>(head.size()));
    return file.gcount() > 0 && head.compare(kAfterHeader + 4, ours.size(), ours) != 0;
}

bool LabelMaps::would_replace(const std::string &image, const std::string &name) const {
    std::error_code error;
    return fs::equivalent(image, path(name), error) && !error;
}

bool LabelMaps::is_inside(const std::string &subfolder) const {
    const std::string inside = fs::canonical(subfolder).string() + "/", root = fs::canonical(folder_).string() + "/";
    return inside.compare(0, root.size(), root) == 0;
}

void LabelMaps::remove_partial(const std::vector<std::string> &names) const {
    std::set<std::string> subfolders;
    for (const std::string &name : names) subfolders.insert(fs::path(path(name)).parent_path().string());
    ::remove_partial(folder_, {".png", ".tsv", ".json"});
    for (const std::string &subfolder : subfolders) {
        std::error_code error;
        if (fs::is_directory(subfolder, error) && is_inside(subfolder)) ::remove_partial(subfolder, {".png"});
    }
}

void LabelMaps::remove_own_partial(const std::vector<std::string> &names) const {
    for (const std::string &name : names) {
        const fs::path target = path(name), subfolder = target.parent_path();
        std::error_code error;
        if (subfolder == fs::path(folder_) || (fs::is_directory(subfolder, error) && is_inside(subfolder.string())))
            ::unlink(partial_of(target.string()).c_str());
    }
}

std::unique_ptr<PartialFile> LabelMaps::write(const std::string &name, const std::int32_t *labels, int width,
                                              int height) const {
    const std::int32_t *const end = labels + static_cast<std::size_t>(width) * height;
    if (std::any_of(labels, end, [](std::int32_t label) { return label > 0xffffff; }))
        throw BadImage(path(name) + ": more superpixels than a PNG's 24 bits can number: choose a larger K");
    const Bytes bytes = encode_labels(labels, width, height, chunk_);

    const fs::path target = path(name);
    if (target.parent_path() != fs::path(folder_)) {
        make_folder(target.parent_path().string());
        if (!is_inside(target.parent_path().string()))
            throw BadImage(target.string() +
                           ": a link leads out of the folder: remove it or take the name off the list");
    }
    std::unique_ptr<PartialFile> file(new PartialFile(target.string()));
    if (const int error = file->write(bytes)) {
        if (error == ENAMETOOLONG) throw BadImage(target.string() + ": " + reason(error));
        throw UserError(target.string() + ": " + reason(error));
    }
    return file;
}
