#include "files.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <filesystem>
#include <thread>

namespace fs = std::filesystem;

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

std::string content_of(const std::string &path) {
    const File file(path, O_RDONLY);
    Bytes bytes;
    const int error = file.descriptor < 0 ? errno : read_bytes(file, bytes);
    if (error && error != ENOENT) throw UserError(path + ": " + reason(error));
    return {bytes.begin(), bytes.end()};
}

namespace {

constexpr char kPartial[] = ".part";

}  // namespace

std::string partial_of(const std::string &path) {
    const fs::path whole = path;
    return (whole.parent_path() / ("." + whole.filename().string() + kPartial)).string();
}

PartialFile::PartialFile(std::string path)
    : path_(std::move(path)),
      file_(partial_of(path_), O_WRONLY | O_CREAT | O_EXCL),
      // EBUSY: it is another run's, where nothing locks folders.
      error_(file_.descriptor >= 0 ? 0 : errno == EEXIST ? EBUSY : errno),
      is_left_(file_.descriptor >= 0) {}

PartialFile::~PartialFile() {
    if (is_left_) ::unlink(partial_of(path_).c_str());
}

int PartialFile::write(const Bytes &bytes) {
    if (error_) return error_;
    for (std::size_t done = 0; done < bytes.size();) {
        const ssize_t put = ::write(file_.descriptor, bytes.data() + done, bytes.size() - done);
        if (put < 0 && errno != EINTR) return errno;
        if (put > 0) done += static_cast<std::size_t>(put);
    }
#if defined(__linux__)
    ::sync_file_range(file_.descriptor, 0, 0, SYNC_FILE_RANGE_WRITE);  // where it cannot, `sync` begins with it
#endif
    return 0;
}

int PartialFile::sync() { return ::fsync(file_.descriptor) == 0 || means_no_sync(errno) ? 0 : errno; }

int PartialFile::publish() {
    file_.close();  // some file systems do not rename an open file
    if (::rename(partial_of(path_).c_str(), path_.c_str()) != 0) return errno;
    is_left_ = false;
    return 0;
}

int write_atomic(const std::string &path, const Bytes &bytes) {
    PartialFile file(path);
    int error = file.write(bytes);
    if (!error) error = file.sync();
    return error ? error : file.publish();
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

bool try_lock(const File &file, int kind) {
    return ::flock(file.descriptor, kind | LOCK_NB) == 0 || errno != EWOULDBLOCK;
}

void wait_until(const std::function<bool()> &ready, const std::string &message) {
    using Clock = std::chrono::steady_clock;
    const auto deadline = Clock::now() + std::chrono::seconds(5);
    while (!ready()) {
        if (Clock::now() > deadline) throw UserError(message);
        std::this_thread::sleep_for(std::chrono::milliseconds(50));
    }
}

FolderLock::FolderLock(const std::string &folder, bool shared) : folder_(folder, O_RDONLY | O_DIRECTORY) {
    if (folder_.descriptor < 0) throw UserError(folder + ": " + reason(errno));
    wait_until([&] { return try_lock(folder_, shared ? LOCK_SH : LOCK_EX); },
               folder + ": another run is writing to this folder: wait for it, then run the same command again");
}
