#include "messages.h"

#include <fcntl.h>
#include <unistd.h>

#include <mutex>

namespace {

std::mutex mutex;
int num_quiet = 0;

void send_standard_error_to(int descriptor) {
    if (descriptor >= 0) ::dup2(descriptor, STDERR_FILENO);
}

}  // namespace

std::FILE *messages() {
    static std::FILE *const stream = [] {
        const int copy = ::fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
        std::FILE *opened = copy < 0 ? nullptr : ::fdopen(copy, "w");
        if (opened) std::setvbuf(opened, nullptr, _IONBF, 0);
        return opened ? opened : stderr;
    }();
    return stream;
}

QuietLibraries::QuietLibraries() {
    static const int nowhere = ::open("/dev/null", O_WRONLY | O_CLOEXEC);
    const std::lock_guard<std::mutex> lock(mutex);
    if (num_quiet++ == 0) send_standard_error_to(nowhere);
}

QuietLibraries::~QuietLibraries() {
    const std::lock_guard<std::mutex> lock(mutex);
    if (--num_quiet == 0) send_standard_error_to(::fileno(messages()));
}

Progress::Progress(std::size_t total)
    : total_(total), terminal_(::isatty(STDERR_FILENO)), start_(Clock::now()), shown_(start_) {}

void Progress::show(std::size_t done, std::size_t kept) {
    const auto now = Clock::now();
    if (now - shown_ < (terminal_ ? std::chrono::milliseconds(200) : std::chrono::milliseconds(30000))) return;
    shown_ = now;
    const double seconds = std::chrono::duration<double>(now - start_).count();
    const double rate = static_cast<double>(done - kept) / seconds;
    const double left = rate > 0 ? static_cast<double>(total_ - done) / rate : 0;
    std::fprintf(messages(), "%s%zu of %zu images, %.1f images/s, %d:%02d:%02d left%s", terminal_ ? "\r" : "", done,
                 total_, rate, static_cast<int>(left / 3600), static_cast<int>(left / 60) % 60,
                 static_cast<int>(left) % 60, terminal_ ? "\x1b[K" : "\n");
    open_line_ = terminal_;
}

void Progress::report(const std::string &text) {
    std::fprintf(messages(), "%smakeSuperpixel: %s\n", open_line_ ? "\r\x1b[K" : "", text.c_str());
    open_line_ = false;
}
