#include "publisher.h"

#include <chrono>
#include <utility>

namespace {

constexpr std::size_t kMost = 64;  // files that wait, all of them open
constexpr std::chrono::milliseconds kPatience(50);  // for others to come, once there is one

}  // namespace

Publisher::Publisher(const Record &record, std::function<void(const std::string &error)> published)
    : record_(record), published_(std::move(published)), thread_([this] { run(); }) {}

void Publisher::add(WrittenMap map) {
    std::unique_lock<std::mutex> lock(mutex_);
    changed_.wait(lock, [this] { return waiting_.size() < kMost; });
    waiting_.push_back(std::move(map));
    if (waiting_.size() == 1 || waiting_.size() == kMost) changed_.notify_all();
}

void Publisher::finish() {
    {
        const std::lock_guard<std::mutex> lock(mutex_);
        ends_ = true;
    }
    changed_.notify_all();
    if (thread_.joinable()) thread_.join();
}

Publisher::Maps Publisher::next() {
    std::unique_lock<std::mutex> lock(mutex_);
    changed_.wait(lock, [this] { return ends_ || !waiting_.empty(); });
    changed_.wait_for(lock, kPatience, [this] { return ends_ || waiting_.size() == kMost; });
    Maps maps;
    maps.swap(waiting_);
    changed_.notify_all();
    return maps;
}

void Publisher::run() {
    for (Maps maps = next(); !maps.empty(); maps = next()) publish(maps);
}

void Publisher::publish(const Maps &maps) const {
    std::vector<int> errors;
    for (const WrittenMap &map : maps) errors.push_back(map.file->sync());
    for (std::size_t i = 0; i < maps.size(); ++i) {
        const WrittenMap &map = maps[i];
        std::string error;
        try {
            if (!errors[i]) record_.forget(map.name);
            if (!errors[i]) errors[i] = map.file->publish();
            if (errors[i]) throw UserError(map.file->path() + ": " + reason(errors[i]));
            record_.add(map.name, map.identity);
        } catch (const std::exception &failure) {
            error = failure.what();
        }
        published_(error);
    }
}
