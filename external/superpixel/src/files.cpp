#include "files.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <opencv2/imgcodecs.hpp>
#include <unordered_set>

#include "messages.h"

namespace fs = std::filesystem;

namespace {

std::string reason(int error) {
    switch (error) {
        case ENOSPC: return "the disk is full: free some space and run the same command again";
        case EDQUOT: return "the disk quota is used up: free some space and run the same command again";
        case EROFS: return "the file system is read-only: choose another folder";
        case EACCES:
        case EPERM: return "permission denied: choose another folder or change its permissions";
        case ENOTDIR: return "a part of this path is a file, not a folder: choose another path";
        case EISDIR: return "this is a folder, not a file: choose another path";
        case EEXIST: return "this is a file, not a folder: choose another path";
        case ENOENT: return "no such file or folder: check the path";
        case ENODEV: return "not a file: restore it or take the name off the list";
        case EWOULDBLOCK: return "another run is writing this file: wait for it, then run the same command again";
        case EIO: return "the device reports a read or write error: check the disk";
        default: return std::string(std::strerror(error)) + ": check the path";
    }
}

// Opened file that closes itself.
struct File {
    File(const std::string &path, int flags) : descriptor(::open(path.c_str(), flags | O_CLOEXEC, 0666)) {}
    ~File() {
        if (descriptor >= 0) ::close(descriptor);
    }
    File(const File &) = delete;
    File &operator=(const File &) = delete;
    int descriptor;
};

// All bytes of a file, or an errno.
int read_bytes(const std::string &path, std::vector<uchar> &bytes) {
    const File file(path, O_RDONLY);
    if (file.descriptor < 0) return errno;
    constexpr std::size_t kPortion = 1 << 18;
    bytes.clear();
    for (ssize_t got = 1; got != 0;) {
        const std::size_t done = bytes.size();
        bytes.resize(done + kPortion);
        got = ::read(file.descriptor, bytes.data() + done, kPortion);
        const int error = got < 0 ? errno : 0;
        bytes.resize(done + static_cast<std::size_t>(std::max<ssize_t>(got, 0)));
        if (error != 0 && error != EINTR) return error;
    }
    return 0;
}

// The same of an image, which may not be a pipe or a device, where reading might wait for ever.
int read_image_bytes(const std::string &path, std::vector<uchar> &bytes) {
    struct stat status;
    if (::stat(path.c_str(), &status) != 0) return errno;
    if (S_ISDIR(status.st_mode)) return EISDIR;
    return S_ISREG(status.st_mode) ? read_bytes(path, bytes) : ENODEV;
}

int write_bytes(const File &file, const std::vector<uchar> &bytes) {
    if (::ftruncate(file.descriptor, 0) != 0) return errno;
    for (std::size_t done = 0; done < bytes.size();) {
        const ssize_t put = ::write(file.descriptor, bytes.data() + done, bytes.size() - done);
        if (put < 0 && errno != EINTR) return errno;
        if (put > 0) done += static_cast<std::size_t>(put);
    }
    return ::fsync(file.descriptor) == 0 ? 0 : errno;
}

// Locks a file to be written; false when another process has it. What a killed process leaves has no lock.
bool lock(const File &file) { return ::flock(file.descriptor, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK; }

// Whether the opened file is the one that `path` names: its last owner may have moved or removed it meanwhile.
bool is_at(const File &file, const std::string &path) {
    struct stat opened, named;
    return ::fstat(file.descriptor, &opened) == 0 && ::stat(path.c_str(), &named) == 0 &&
           opened.st_dev == named.st_dev && opened.st_ino == named.st_ino;
}

// Writes `target` by way of the file `beside` it, whole or not at all; 0 or an errno.
int write_whole(const std::string &beside, const std::string &target, const std::vector<uchar> &bytes) {
    for (;;) {
        const File file(beside, O_WRONLY | O_CREAT);
        if (file.descriptor < 0) return errno;
        if (!lock(file)) return EWOULDBLOCK;
        if (!is_at(file, beside)) continue;
        int error = write_bytes(file, bytes);
        if (!error && ::rename(beside.c_str(), target.c_str()) != 0) error = errno;
        if (error) ::unlink(beside.c_str());
        return error;
    }
}

// OpenCV fills what a JPEG that ends too early leaves open with grey and says nothing. Behind the header, whose
// segments tell their length, FF D9 can be nothing but the end of the image.
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

// What keeps `name` from being one of a file below a folder, or nothing.
std::string problem_of(const std::string &name) {
    const fs::path path(name);
    if (path.is_absolute() || std::find(path.begin(), path.end(), "..") != path.end())
        return "it leads out of the folders: give names like 2007_000032 or folder/2007_000032";
    if (!path.has_filename() || name.find('\0') != std::string::npos)
        return "not the name of a file: give names like 2007_000032";
    std::string ending = path.extension().string();
    std::transform(ending.begin(), ending.end(), ending.begin(), [](unsigned char c) { return std::tolower(c); });
    if (ending == ".jpg" || ending == ".jpeg" || ending == ".png") return "write names without " + ending;
    return "";
}

// For a line on the terminal: not too long, and no control characters.
std::string printable(const std::string &name) {
    std::string shown = name.substr(0, 80);
    std::replace_if(shown.begin(), shown.end(), [](unsigned char c) { return std::iscntrl(c); }, '?');
    return shown;
}

std::string stripped(const std::string &line) {
    static const char kSpace[] = " \t\r\n\v\f";
    const std::size_t begin = line.find_first_not_of(kSpace);
    return begin == std::string::npos ? "" : line.substr(begin, line.find_last_not_of(kSpace) - begin + 1);
}

}  // namespace

std::vector<std::string> read_names(const std::string &path) {
    std::vector<uchar> bytes;
    if (const int error = read_bytes(path, bytes)) throw UserError(path + ": " + reason(error));
    std::string text(bytes.begin(), bytes.end());
    if (text.compare(0, 3, "\xef\xbb\xbf") == 0) text.erase(0, 3);  // the mark some editors put in front
    std::vector<std::string> names;
    std::unordered_set<std::string> seen;
    int number = 0;
    for (std::size_t begin = 0; begin < text.size();) {
        const std::size_t end = std::min(text.find('\n', begin), text.size());
        const std::string name = stripped(text.substr(begin, end - begin));
        begin = end + 1;
        ++number;
        if (name.empty()) continue;
        const std::string problem = problem_of(name);
        if (!problem.empty())
            throw UserError(path + ": line " + std::to_string(number) + ", '" + printable(name) + "': " + problem);
        if (seen.insert(name).second) names.push_back(name);
    }
    if (names.empty()) throw UserError(path + ": no names in it: write one a line");
    return names;
}

std::string image_path(const std::string &folder, const std::string &name) {
    const std::string path = folder + "/" + name;
    struct stat status;
    const bool is_png = ::stat((path + ".jpg").c_str(), &status) != 0 && ::stat((path + ".png").c_str(), &status) == 0;
    return path + (is_png ? ".png" : ".jpg");
}

cv::Mat read_image(const std::string &path) {
    std::vector<uchar> bytes;
    const int error = read_image_bytes(path, bytes);
    if (error == ENOENT) throw BadImage(path + ": no such file, nor .png: restore it or take the name off the list");
    if (error) throw BadImage(path + ": " + reason(error));
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

bool is_readable_folder(const std::string &path) {
    std::error_code error;
    return fs::is_directory(path, error) && ::access(path.c_str(), R_OK | X_OK) == 0;
}

void make_folder(const std::string &path) {
    std::error_code error;
    fs::create_directories(path, error);
    std::error_code ignored;
    if (!fs::is_directory(path, ignored))
        throw UserError(path + ": " + reason(fs::exists(path, ignored) ? EEXIST : error.value()));
    if (::access(path.c_str(), W_OK | X_OK) != 0) throw UserError(path + ": " + reason(errno));
}

// ------------------------------------------------------------------------------------------------ label maps
namespace {

constexpr std::size_t kAfterHeader = 8 + 25;  // a PNG's signature and its first chunk
constexpr char kKeyword[] = "Software";

void put_number(std::string &bytes, std::uint32_t value) {
    for (int shift = 24; shift >= 0; shift -= 8) bytes += static_cast<char>(value >> shift & 255);
}

std::uint32_t crc32(const std::string &bytes) {
    std::uint32_t crc = ~0u;
    for (const unsigned char byte : bytes) {
        crc ^= byte;
        for (int bit = 0; bit < 8; ++bit) crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
    }
    return ~crc;
}

std::string text_chunk(const std::string &text) {
    const std::string body = "tEXt" + std::string(kKeyword, sizeof kKeyword) + text;
    std::string chunk;
    put_number(chunk, static_cast<std::uint32_t>(body.size() - 4));
    chunk += body;
    put_number(chunk, crc32(body));
    return chunk;
}

}  // namespace

LabelWriter::LabelWriter(std::string folder, std::string made_by)
    : folder_(std::move(folder)), chunk_(text_chunk("makeSuperpixel " + made_by)) {
    make_folder(folder_);
}

std::string LabelWriter::path(const std::string &name) const { return folder_ + "/" + name + ".png"; }

std::string LabelWriter::partial(const std::string &name) const {
    const fs::path whole = path(name);
    return (whole.parent_path() / ("." + whole.filename().string() + ".part")).string();
}

bool LabelWriter::finished(const std::string &name) const {
    std::ifstream file(path(name), std::ios::binary);
    std::string head(kAfterHeader + chunk_.size(), '\0');
    file.read(&head[0], static_cast<std::streamsize>(head.size()));
    if (file.gcount() == 0) return false;
    static const std::string kOurs = "tEXt" + std::string(kKeyword, sizeof kKeyword) + "makeSuperpixel ";
    return head.compare(kAfterHeader + 4, kOurs.size(), kOurs) != 0 ||
           head.compare(kAfterHeader, chunk_.size(), chunk_) == 0;
}

bool LabelWriter::would_replace(const std::string &image, const std::string &name) const {
    std::error_code error;
    return fs::equivalent(image, path(name), error) && !error;
}

void LabelWriter::remove_partial(const std::string &name) const {
    const std::string left = partial(name);
    const File file(left, O_WRONLY);
    if (file.descriptor >= 0 && lock(file) && is_at(file, left)) ::unlink(left.c_str());
}

void LabelWriter::write(const std::string &name, const std::int32_t *labels, int width, int height) const {
    cv::Mat image(height, width, CV_8UC3);
    for (int y = 0; y < height; ++y) {
        uchar *pixel = image.ptr(y);
        for (int x = 0; x < width; ++x, ++labels, pixel += 3) {
            if (*labels > 0xffffff)
                throw BadImage(path(name) + ": more superpixels than a PNG's 24 bits can number: choose a larger K");
            pixel[0] = static_cast<uchar>(*labels);
            pixel[1] = static_cast<uchar>(*labels >> 8);
            pixel[2] = static_cast<uchar>(*labels >> 16);
        }
    }
    std::vector<uchar> bytes;
    cv::imencode(".png", image, bytes);
    bytes.insert(bytes.begin() + kAfterHeader, chunk_.begin(), chunk_.end());

    const fs::path target = path(name);
    if (target.parent_path() != fs::path(folder_)) {
        make_folder(target.parent_path().string());
        const std::string inside = fs::canonical(target.parent_path()).string() + "/";
        if (inside.compare(0, fs::canonical(folder_).string().size() + 1, fs::canonical(folder_).string() + "/") != 0)
            throw BadImage(target.string() +
                           ": a link leads out of the folder: remove it or take the name off the list");
    }
    if (const int error = write_whole(partial(name), target.string(), bytes)) {
        if (error == ENAMETOOLONG) throw BadImage(target.string() + ": " + reason(error));
        throw UserError(target.string() + ": " + reason(error));
    }
}
