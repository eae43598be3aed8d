#include "files.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <thread>
#include <unordered_set>

namespace fs = std::filesystem;

std::string reason(int error) {
    switch (error) {
        case ENOSPC: return "the disk is full: free some space and run the same command again";
        case EDQUOT: return "the disk quota is used up: free some space and run the same command again";
        case EROFS: return "the file system is read-only: choose another folder";
        case EACCES:
        case EPERM: return "permission denied: choose another folder or change its permissions";
        case ENOTDIR: return "a part of this path is a file, not a folder: choose another path";
        case EISDIR: return "this is a folder, not a file: choose another path";
        case EEXIST: return "another run is writing this file: wait for it, then run the same command again";
        case ENOENT: return "no such file or folder: check the path";
        case ENODEV: return "not a file: restore it or take the name off the list";
        case EIO: return "the device reports a read or write error: check the disk";
        default: return std::string(std::strerror(error)) + ": check the path";
    }
}

// ------------------------------------------------------------------------------------------------------ files
File::File(const std::string &path, int flags) : descriptor(::open(path.c_str(), flags | O_CLOEXEC, 0666)) {}

void File::close() {
    if (descriptor >= 0) ::close(descriptor);
    descriptor = -1;
}

int read_bytes(const File &file, Bytes &bytes) {
    constexpr std::size_t kBlock = 1 << 18;
    bytes.clear();
    for (ssize_t got = 1; got != 0;) {
        const std::size_t done = bytes.size();
        bytes.resize(done + kBlock);
        got = ::read(file.descriptor, bytes.data() + done, kBlock);
        const int error = got < 0 ? errno : 0;
        bytes.resize(done + static_cast<std::size_t>(std::max<ssize_t>(got, 0)));
        if (error != 0 && error != EINTR) return error;
    }
    return 0;
}

namespace {

constexpr char kPartial[] = ".part";

int write_bytes(const File &file, const Bytes &bytes) {
    for (std::size_t done = 0; done < bytes.size();) {
        const ssize_t put = ::write(file.descriptor, bytes.data() + done, bytes.size() - done);
        if (put < 0 && errno != EINTR) return errno;
        if (put > 0) done += static_cast<std::size_t>(put);
    }
    return ::fsync(file.descriptor) == 0 ? 0 : errno;
}

}  // namespace

int write_atomic(const std::string &path, const Bytes &bytes) {
    const fs::path whole = path;
    const std::string partial = (whole.parent_path() / ("." + whole.filename().string() + kPartial)).string();
    File file(partial, O_WRONLY | O_CREAT | O_EXCL);
    if (file.descriptor < 0) return errno;
    int error = write_bytes(file, bytes);
    file.close();  // some file systems do not rename an open file
    if (!error && ::rename(partial.c_str(), path.c_str()) != 0) error = errno;
    if (error) ::unlink(partial.c_str());
    return error;
}

void remove_partial(const std::string &folder, const std::vector<std::string> &endings) {
    std::vector<fs::path> found;
    std::error_code error;
    for (fs::directory_iterator entry(folder, error), end; !error && entry != end; entry.increment(error)) {
        const std::string name = entry->path().filename().string();
        for (const std::string &ending : endings) {
            const std::string tail = ending + kPartial;
            if (name[0] == '.' && name.size() > tail.size() &&
                name.compare(name.size() - tail.size(), tail.size(), tail) == 0)
                found.push_back(entry->path());
        }
    }
    for (const fs::path &path : found) ::unlink(path.c_str());
}

// ------------------------------------------------------------------------------------------------------ names
namespace {

// What keeps `name` from naming a file inside a folder, or nothing.
std::string problem_of(const std::string &name) {
    const fs::path path(name);
    if (path.is_absolute() || std::find(path.begin(), path.end(), "..") != path.end())
        return "it leads out of the folders: give names like 2007_000032 or folder/2007_000032";
    if (!path.has_filename() || path.filename() == "." || name.find('\0') != std::string::npos)
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
    Bytes bytes;
    const File file(path, O_RDONLY);
    if (const int error = file.descriptor < 0 ? errno : read_bytes(file, bytes))
        throw UserError(path + ": " + reason(error));
    std::string text(bytes.begin(), bytes.end());
    if (text.compare(0, 3, "\xef\xbb\xbf") == 0) text.erase(0, 3);  // the mark some editors put in front
    std::vector<std::string> names;
    std::unordered_set<std::string> seen;
    int number = 0;
    for (std::size_t begin = 0; begin < text.size();) {
        const std::size_t end = std::min(text.find('\n', begin), text.size());
        const std::string line = stripped(text.substr(begin, end - begin));
        begin = end + 1;
        ++number;
        if (line.empty()) continue;
        const std::string problem = problem_of(line);
        if (!problem.empty())
            throw UserError(path + ": line " + std::to_string(number) + ", '" + printable(line) + "': " + problem);
        const std::string name = fs::path(line).lexically_normal().string();
        if (seen.insert(name).second) names.push_back(name);
    }
    if (names.empty()) throw UserError(path + ": no names in it: write one a line");
    return names;
}

// ---------------------------------------------------------------------------------------------------- folders
bool is_readable_folder(const std::string &path) {
    std::error_code error;
    return fs::is_directory(path, error) && ::access(path.c_str(), R_OK | X_OK) == 0;
}

void make_folder(const std::string &path) {
    std::error_code error, ignored;
    fs::create_directories(path, error);
    if (!fs::is_directory(path, ignored)) {
        if (fs::exists(path, ignored)) throw UserError(path + ": this is a file, not a folder: choose another path");
        throw UserError(path + ": " + reason(error.value()));
    }
    if (::access(path.c_str(), W_OK | X_OK) != 0) throw UserError(path + ": " + reason(errno));
}

FolderLock::FolderLock(const std::string &folder) : folder_(folder, O_RDONLY | O_DIRECTORY) {
    if (folder_.descriptor < 0) throw UserError(folder + ": " + reason(errno));
    using Clock = std::chrono::steady_clock;
    const auto deadline = Clock::now() + std::chrono::seconds(5);  // a killed run needs a moment to end
    while (::flock(folder_.descriptor, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
        if (Clock::now() > deadline)
            throw UserError(folder + ": another run is writing to this folder: wait for it, then run the same command "
                                     "again");
        std::this_thread::sleep_for(std::chrono::milliseconds(50));
    }
}
