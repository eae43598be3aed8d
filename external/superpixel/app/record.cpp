#include "record.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cinttypes>
#include <cstdio>
#include <cstring>

// --------------------------------------------------------------------------------------------------- identity
namespace {

std::string nanoseconds(const struct timespec &time) {
    __int128 value = static_cast<__int128>(time.tv_sec) * 1000000000 + time.tv_nsec;
    const bool negative = value < 0;
    if (negative) value = -value;
    std::string digits;
    do digits += static_cast<char>('0' + static_cast<int>(value % 10));
    while ((value /= 10) > 0);
    if (negative) digits += '-';
    return {digits.rbegin(), digits.rend()};
}

int stamp_of(const struct stat &status, Identity &identity) {
    if (S_ISDIR(status.st_mode)) return EISDIR;
    if (!S_ISREG(status.st_mode)) return kNoFile;  // reading a pipe or a device might wait for ever
    identity.size = static_cast<std::uint64_t>(status.st_size);
#if defined(__APPLE__)
    identity.times = nanoseconds(status.st_mtimespec) + ',' + nanoseconds(status.st_ctimespec);
#else
    identity.times = nanoseconds(status.st_mtim) + ',' + nanoseconds(status.st_ctim);
#endif
    return 0;
}

// CRC-32 of eight zero bytes after each value of a byte, and so on down to none: eight bytes take one step.
using CrcTables = std::array<std::array<std::uint32_t, 256>, 8>;

CrcTables crc_tables() {
    CrcTables tables;
    for (std::uint32_t byte = 0; byte < 256; ++byte) {
        std::uint32_t crc = byte;
        for (int bit = 0; bit < 8; ++bit) crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
        tables[0][byte] = crc;
    }
    for (int zeros = 1; zeros < 8; ++zeros)
        for (int byte = 0; byte < 256; ++byte) {
            const std::uint32_t crc = tables[zeros - 1][byte];
            tables[zeros][byte] = crc >> 8 ^ tables[0][crc & 255];
        }
    return tables;
}

}  // namespace

std::uint32_t crc32(const void *bytes, std::size_t count) {
    static const CrcTables tables = crc_tables();
    const unsigned char *byte = static_cast<const unsigned char *>(bytes);
    std::uint32_t crc = ~0u;
    for (; count >= 8; count -= 8, byte += 8) {
        crc ^= byte[0] | byte[1] << 8 | byte[2] << 16 | static_cast<std::uint32_t>(byte[3]) << 24;
        crc = tables[7][crc & 255] ^ tables[6][crc >> 8 & 255] ^ tables[5][crc >> 16 & 255] ^ tables[4][crc >> 24] ^
              tables[3][byte[4]] ^ tables[2][byte[5]] ^ tables[1][byte[6]] ^ tables[0][byte[7]];
    }
    for (; count > 0; --count, ++byte) crc = crc >> 8 ^ tables[0][(crc ^ *byte) & 255];
    return ~crc;
}

int stamp_of(const std::string &path, Identity &identity) {
    struct stat status;
    return ::stat(path.c_str(), &status) == 0 ? stamp_of(status, identity) : errno;
}

int read_with_identity(const std::string &path, Bytes &bytes, Identity &identity) {
    const File file(path, O_RDONLY | O_NONBLOCK);  // a pipe is opened, too, and found out
    if (file.descriptor < 0) return errno;
    // Stamped before it is read: what is written to it meanwhile gives it another time, and it is looked at again.
    struct stat status;
    if (::fstat(file.descriptor, &status) != 0) return errno;
    if (const int error = stamp_of(status, identity)) return error;
    if (const int error = read_bytes(file, bytes)) return error;
    identity.size = bytes.size();
    identity.crc = crc32(bytes.data(), bytes.size());
    return 0;
}

// ----------------------------------------------------------------------------------------------------- record
namespace {

constexpr char kMadeBy[] = "{\n  \"made_by\": \"makeSuperpixel\",\n";

// The bytes of a file that may be missing.
std::string read_text(const std::string &path) {
    const File file(path, O_RDONLY);
    Bytes bytes;
    const int error = file.descriptor < 0 ? errno : read_bytes(file, bytes);
    if (error && error != ENOENT) throw UserError(path + ": " + reason(error));
    return {bytes.begin(), bytes.end()};
}

void write_text(const std::string &path, const std::string &text) {
    if (const int error = write_atomic(path, {text.begin(), text.end()})) throw UserError(path + ": " + reason(error));
}

std::string line_of(const std::string &name, const Identity &identity) {
    char crc[9];
    std::snprintf(crc, sizeof crc, "%08" PRIx32, identity.crc);
    return name + '\t' + std::to_string(identity.size) + ',' + identity.times + ',' + crc + '\n';
}

// Name and identity of a line without its end; false when it is none.
bool parse_line(const std::string &line, std::string &name, Identity &identity) {
    const std::size_t tab = line.rfind('\t');
    if (tab == std::string::npos || tab == 0) return false;
    name = line.substr(0, tab);
    char modified[64], changed[64];
    if (std::sscanf(line.c_str() + tab + 1, "%" SCNu64 ",%63[-0-9],%63[-0-9],%8" SCNx32, &identity.size, modified,
                    changed, &identity.crc) != 4)
        return false;
    identity.times = std::string(modified) + ',' + changed;
    return line_of(name, identity) == line + '\n';  // and nothing in another form
}

}  // namespace

Record::Record(const std::string &folder, const std::string &settings) : path_(folder + "/inputs.tsv") {
    const std::string settings_path = folder + "/settings.json", before = read_text(settings_path);
    if (!before.empty() && before.compare(0, std::strlen(kMadeBy), kMadeBy) != 0)
        throw UserError(settings_path + ": not written by makeSuperpixel: choose another TARGET_DIR");
    if (before == settings) {
        if (!read_lines()) {
            std::string lines;
            for (const auto &entry : entries_) lines += line_of(entry.first, entry.second);
            write_text(path_, lines);
        }
    } else {
        // In this order: a run killed in between leaves no line that belongs to other settings.
        settings_changed_ = !before.empty();
        ::unlink(path_.c_str());
        write_text(settings_path, settings);
    }
    appended_.emplace(path_, O_WRONLY | O_CREAT | O_APPEND);
    if (appended_->descriptor < 0) throw UserError(path_ + ": " + reason(errno));
}

bool Record::read_lines() {
    const std::string text = read_text(path_);
    std::size_t begin = 0, lines = 0;
    for (std::size_t end; (end = text.find('\n', begin)) != std::string::npos; begin = end + 1, ++lines) {
        const std::string line = text.substr(begin, end - begin);
        std::string name;
        Identity identity;
        if (parse_line(line, name, identity))
            entries_[name] = identity;
        else
            entries_.erase(line);
    }
    return begin == text.size() && lines == entries_.size();
}

const Identity *Record::find(const std::string &name) const {
    const auto entry = entries_.find(name);
    return entry == entries_.end() ? nullptr : &entry->second;
}

void Record::add(const std::string &name, const Identity &identity) const {
    append(line_of(name, identity));
}

void Record::forget(const std::string &name) const {
    if (find(name)) append(name + '\n');
}

void Record::append(const std::string &line) const {
    const ssize_t put = ::write(appended_->descriptor, line.data(), line.size());
    if (put != static_cast<ssize_t>(line.size())) throw UserError(path_ + ": " + reason(put < 0 ? errno : ENOSPC));
}
