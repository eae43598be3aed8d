// Files and folders on disk: whole reads, atomic writes, one lock a folder.
#ifndef SUPERPIXEL_FILES_H
#define SUPERPIXEL_FILES_H

#include <functional>
#include <stdexcept>
#include <string>
#include <vector>

#include "system_errors.h"

using Bytes = std::vector<unsigned char>;

// Caused by user input or a full disk, reported in one line, "FILE: what is wrong: what to do". Ends the run.
struct UserError : std::runtime_error {
    using std::runtime_error::runtime_error;
};

// One image cannot be processed; the others can.
struct BadImage : std::runtime_error {
    using std::runtime_error::runtime_error;
};

// Opened file that closes itself.
struct File {
    File(const std::string &path, int flags);
    ~File() { close(); }
    File(const File &) = delete;
    File &operator=(const File &) = delete;
    void close();
    int descriptor;  // negative: not open, see errno
};

// All bytes of an opened file; 0 or an errno.
int read_bytes(const File &file, Bytes &bytes);

// The content of a file that may be missing. UserError: it cannot be read.
std::string content_of(const std::string &path);

// FOLDER/.FILE.part, as which a file is written.
std::string partial_of(const std::string &path);

// FOLDER/.FILE.part, which is written, synced, and renamed to FOLDER/FILE, each of which returns 0 or an errno. It is
// removed when it has not got that far.
class PartialFile {
public:
    explicit PartialFile(std::string path);
    ~PartialFile();

    // The system begins to put the bytes on the disk, and `sync` waits until they are there.
    int write(const Bytes &bytes);
    int sync();
    int publish();

    const std::string &path() const { return path_; }

private:
    std::string path_;
    File file_;
    int error_;
    bool is_left_ = false;
};

// All three; then nothing is left where there is an error.
int write_atomic(const std::string &path, const Bytes &bytes);

// Removes the .FILE.part of killed runs from a folder whose lock this run holds, where FILE ends in one of `endings`.
void remove_partial(const std::string &folder, const std::vector<std::string> &endings);

bool is_readable_folder(const std::string &path);

// Makes the folder and those above it. UserError: not possible, or not writable.
void make_folder(const std::string &path);

// Locks an open file or folder, `kind` as flock has it; false when another process has it. Where the file system has
// no locks, nothing is locked.
bool try_lock(const File &file, int kind);

// UserError, with `message`: it is not `ready`, and still is not a few seconds later. The children of a killed run need
// a moment to end.
void wait_until(const std::function<bool()> &ready, const std::string &message);

// Holds a folder that one run at a time may write to, or several that share it. Where the file system has no locks, nothing is held.
class FolderLock {
public:
    // UserError: another run holds it; see `wait_until`.
    FolderLock(const std::string &folder, bool shared);

private:
    File folder_;
};

#endif
