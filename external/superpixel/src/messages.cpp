#include "messages.h"

#include <fcntl.h>
#include <unistd.h>

#include <mutex>

namespace {

std::mutex mutex;
int quiet_ones = 0;

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
    if (quiet_ones++ == 0) send_standard_error_to(nowhere);
}

QuietLibraries::~QuietLibraries() {
    const std::lock_guard<std::mutex> lock(mutex);
    if (--quiet_ones == 0) send_standard_error_to(::fileno(messages()));
}
