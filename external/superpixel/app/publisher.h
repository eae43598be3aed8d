// Label maps that are written become files of the folder, several at a time.
#ifndef SUPERPIXEL_PUBLISHER_H
#define SUPERPIXEL_PUBLISHER_H

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "files.h"
#include "record.h"

// A map that is written, of the image `name`, and what it was made from.
struct WrittenMap {
    std::string name;
    Identity identity;
    std::unique_ptr<PartialFile> file;
};

// Waits for the disk in a thread of its own, so that no other does, and for several maps at once: one that is synced
// brings the folder's changes for all of them to the disk, which costs most. A map gets its name, and then its line in
// the record, when it is on the disk.
class Publisher {
public:
    // `published(error)` is called in that thread for each map, with what ends the run, or "".
    Publisher(const Record &record, std::function<void(const std::string &error)> published);
    ~Publisher() { finish(); }

    // Waits while too many maps are on their way.
    void add(WrittenMap map);

    // Waits until all are published.
    void finish();

private:
    using Maps = std::vector<WrittenMap>;

    void run();
    Maps next();
    void publish(const Maps &maps) const;

    const Record &record_;
    std::function<void(const std::string &error)> published_;
    std::mutex mutex_;
    std::condition_variable changed_;
    Maps waiting_;
    bool ends_ = false;
    std::thread thread_;
};

#endif
