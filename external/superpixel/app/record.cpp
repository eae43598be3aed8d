#include "record.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cinttypes>
#include <cstdio>
#include <cstring>
#include <vector>

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

// ------------------------------------------------------------------------------------------------------ lines
namespace {

constexpr char kSettings[] = "/settings.json";
constexpr char kMadeBy[] = "{\n  \"made_by\": \"makeSuperpixel\",\n";

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

// ----------------------------------------------------------------------------------------------------- record
namespace {

// UserError: settings.json, or a shard's record, is another program's.
void check_owner(const std::string &folder) {
    const auto refuse = [](const std::string &path) {
        throw UserError(path + ": not written by makeSuperpixel: choose another TARGET_DIR");
    };
    const std::string before = content_of(folder + kSettings), made_by = in_one_line(kMadeBy);
    if (!before.empty() && before.compare(0, std::strlen(kMadeBy), kMadeBy) != 0) refuse(folder + kSettings);
    for (const auto &record : records_of_shards(folder))
        for (const Run &run : runs_of(record.second))
            if (run.header.compare(0, made_by.size() - 1, made_by, 0, made_by.size() - 1) != 0) refuse(record.second);
}

}  // namespace

Record::Record(const std::string &folder, const std::string &settings, Shard shard)
    : folder_(folder), settings_(settings), header_(in_one_line(settings)), path_(record_of(folder, shard)),
      shard_(shard) {
    check_owner(folder);
    refuse_others();
    if (shard_ == Shard())
        begin_alone();
    else
        begin_shard();
}

void Record::begin_alone() {
    entries_ = read_entries();
    const std::string settings_path = folder_ + kSettings, before = content_of(settings_path);
    if (before != settings_) {
        // In this order: a run killed in between leaves no line that belongs to other settings.
        settings_changed_ = !before.empty() && !any_entry();
        ::unlink(path_.c_str());
        write_text(settings_path, settings_);
    }
    save(entries_);
    for (const auto &record : records_of_shards(folder_)) ::unlink(record.second.c_str());
    appended_.emplace(path_, O_WRONLY | O_CREAT | O_APPEND);
    if (appended_->descriptor < 0) throw UserError(path_ + ": " + reason(errno));
}

void Record::begin_shard() {
    appended_.emplace(path_, O_RDWR | O_CREAT | O_APPEND);
    if (appended_->descriptor < 0) throw UserError(path_ + ": " + reason(errno));
    wait_until([&] { return try_lock(*appended_, LOCK_EX); },
               folder_ + ": another run makes the same shard: wait for it, or give another --shard");
    long last_run;
    entries_ = read_entries(&last_run);
    const std::string before = content_of(folder_ + kSettings), begun = content_of(path_);
    settings_changed_ = !before.empty() && before != settings_ && !any_entry();
    // A line that was torn gets a field too many: it is none.
    append((begun.empty() || begun.back() == '\n' ? "\t" : "\t\n\t") + std::to_string(last_run + 1) + '\t' + header_ +
           '\n');
}

void Record::refuse_others() const {
    for (const auto &record : records_of_shards(folder_)) {
        if (record.second == path_) continue;
        const bool may_join = shard_ != Shard() && record.first.second == shard_.second;
        const File file(record.second, O_RDONLY);
        const auto is_of_this_work = [&] {
            const std::vector<Run> runs = runs_of(record.second);
            return may_join && (runs.empty() || runs.back().header == header_);
        };
        wait_until([&] { return is_of_this_work() || try_lock(file, LOCK_SH); },
                   folder_ + ": shard " + std::to_string(record.first.first) + " of " +
                       std::to_string(record.first.second) + " is being made here: wait for it, then run the same "
                       "command again");
    }
}

Record::Entries Record::read_entries(long *last_run) const {
    std::vector<Run> runs = {{0, content_of(folder_ + kSettings) == settings_ ? header_ : "",
                              whole_lines(content_of(record_of(folder_, {})))}};
    for (const auto &record : records_of_shards(folder_))
        for (Run &run : runs_of(record.second)) runs.push_back(std::move(run));
    std::stable_sort(runs.begin(), runs.end(), [](const Run &a, const Run &b) { return a.number < b.number; });
    if (last_run) *last_run = runs.back().number;
    Entries entries;
    for (const Run &run : runs)
        for (const std::string &line : run.lines) {
            std::string name;
            Identity identity;
            const bool parsed = parse_line(line, name, identity);
            if (parsed && run.header == header_)
                entries[name] = identity;
            else
                entries[parsed ? name : line] = std::nullopt;
        }
    return entries;
}

bool Record::any_entry() const {
    return std::any_of(entries_.begin(), entries_.end(), [](const auto &entry) { return entry.second.has_value(); });
}

void Record::save(const Entries &entries) const {
    std::string lines;
    for (const auto &entry : entries)
        if (entry.second) lines += line_of(entry.first, *entry.second);
    if (lines != content_of(path_)) write_text(path_, lines);
}

void Record::finish() const {
    if (shard_ == Shard()) save(read_entries());
}

const Identity *Record::find(const std::string &name) const {
    const auto entry = entries_.find(name);
    return entry == entries_.end() || !entry->second ? nullptr : &*entry->second;
}

void Record::add(const std::string &name, const Identity &identity) const {
    append(line_of(name, identity));
}

void Record::forget(const std::string &name) const {
    if (entries_.count(name)) append(name + '\n');
}

void Record::append(const std::string &line) const {
    const ssize_t put = ::write(appended_->descriptor, line.data(), line.size());
    if (put != static_cast<ssize_t>(line.size())) throw UserError(path_ + ": " + reason(put < 0 ? errno : ENOSPC));
}
