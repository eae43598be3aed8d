// What the label maps of a folder were made from, so that a map is made again when, and only when, that changed.
#ifndef SUPERPIXEL_RECORD_H
#define SUPERPIXEL_RECORD_H

#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "files.h"
#include "runs.h"

// What shows whether an input is the same as before. Times are compared for equality only: copies and archives give
// files dates of the past, and clocks give them dates of the future.
struct Identity {
    std::uint64_t size = 0;
    std::string times;      // "MTIME,CTIME", nanoseconds since 1970; dates may exceed 64 bits
    std::uint32_t crc = 0;  // CRC-32 of the bytes, as zlib computes it

    bool same_stamp(const Identity &other) const { return size == other.size && times == other.times; }
    bool same_content(const Identity &other) const { return size == other.size && crc == other.crc; }
};

// In place of an errno: a pipe, a device or the like.
constexpr int kNoFile = -1;

// Size and times of a file, not its CRC-32; 0, an errno, or kNoFile.
int stamp_of(const std::string &path, Identity &identity);

// Reads a regular file once: its bytes, and the identity of these very bytes. 0, an errno, or kNoFile.
int read_with_identity(const std::string &path, Bytes &bytes, Identity &identity);

std::uint32_t crc32(const void *bytes, std::size_t count);

// FOLDER/settings.json holds what all maps of the folder were made with; FOLDER/inputs.tsv has a line for each of them,
// "NAME<TAB>SIZE,MTIME_NS,CTIME_NS,CRC32HEX", as icd/outputs.py has it. Lines are appended when a map is finished, the
// last one of a name counts, a name alone takes the line back, and lines that a killed run left torn are ignored.
//
// A shard touches neither of them, nor files of another shard: it appends to FOLDER/inputs-I-of-N.tsv. There each run
// begins with the line "<TAB>NUMBER<TAB>SETTINGS", one more than the largest number there was, and settings.json in one
// line. Lines count in the order of these numbers, behind those of inputs.tsv, and a line under other settings takes
// those before back. A run without a shard puts all of them together.
class Record {
public:
    // Reads the record of a folder whose lock this run holds. With other settings than `settings` (the text of
    // settings.json), no map of the folder counts any more. UserError: the folder is another program's, a shard that
    // this run does not belong with is being made, a full disk.
    Record(const std::string &folder, const std::string &settings, Shard shard);

    // Without a shard: inputs.tsv has a line a map, sorted. UserError: a full disk.
    void finish() const;

    bool settings_changed() const { return settings_changed_; }

    // What a name's map was made from, or null.
    const Identity *find(const std::string &name) const;

    // Both append a line, in one write: threads may do so at the same time, and `find` does not see it. `forget` comes
    // before a map is replaced, so that a run killed before it calls `add` leaves no line of the map before.
    // UserError: a full disk.
    void add(const std::string &name, const Identity &identity) const;
    void forget(const std::string &name) const;

private:
    using Entries = std::map<std::string, std::optional<Identity>>;     // empty: a name taken back

    void append(const std::string &line) const;
    void begin_alone();
    void begin_shard();
    void refuse_others() const;
    Entries read_entries(long *last_run = nullptr) const;
    void save(const Entries &entries) const;
    bool any_entry() const;

    std::string folder_, settings_, header_, path_;     // header_: the settings in one line
    Shard shard_;
    bool settings_changed_ = false;
    Entries entries_;
    std::optional<File> appended_;
};

#endif
