// makeSuperpixel: superpixels of every image of a list, as label maps in PNG files.
#include <omp.h>
#include <unistd.h>
#if defined(__linux__)
#include <link.h>
#include <sys/mman.h>
#endif
#if defined(__GLIBC__)
#include <malloc.h>
#endif

#include <algorithm>
#include <atomic>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <mutex>
#include <new>
#include <opencv2/core/utils/logger.hpp>
#include <string>
#include <vector>

#include "cpu_quota.h"
#include "files.h"
#include "images.h"
#include "messages.h"
#include "names.h"
#include "options.h"
#include "publisher.h"
#include "record.h"
#include "superpixel.h"

namespace {

constexpr std::size_t kMostThreads = 256;

// What this process may use: threads beyond a container's limit of CPU time would wait for each other.
long long processors() {
    const long long there = omp_get_num_procs(), quota = cpu_quota();
    return quota > 0 ? std::min(there, quota) : there;
}
std::atomic<int> caught_signal{0};
std::atomic<int> stop{0};  // no further image is started

void on_signal(int signal) {
    caught_signal = signal;
    stop = 1;
    std::signal(signal, SIG_DFL);  // a second one ends the program at once
}

std::unique_ptr<PartialFile> make_map(const Options &options, const LabelMaps &maps, const std::string &name,
                                      const cv::Mat &image) {
    const superpixel::Image pixels = {image.data, image.cols, image.rows, static_cast<std::ptrdiff_t>(image.step)};
    std::vector<std::int32_t> labels(image.total());
    if (options.method == "graph")
        superpixel::graph_segment(pixels, options.min_size, labels.data());
    else
        superpixel::slic(pixels, options.min_size, options.slic, labels.data());
    return maps.write(name, labels.data(), image.cols, image.rows);
}

enum class Outcome { kWritten, kKept, kForeign };

// Brings the label map of one image up to date, as far as the publisher does not.
Outcome update_map(const Options &options, const ImageFolder &images, const LabelMaps &maps, const Record &record,
                   const std::string &name, Publisher &publisher) {
    const std::string path = images.path(name);
    if (maps.would_replace(path, name))
        throw BadImage(path + ": its label map would replace it: choose another TARGET_DIR");
    const Identity *recorded = nullptr;
    if (!options.force && maps.exists(name)) {
        recorded = record.find(name);
        Identity stamp;
        // An image that is gone is taken to be as it was.
        if (recorded && (stamp_of(path, stamp) == ENOENT || stamp.same_stamp(*recorded))) return Outcome::kKept;
        if (maps.is_foreign(name)) return Outcome::kForeign;
    }
    Bytes bytes;
    const Identity identity = read_image(path, bytes);
    if (recorded && identity.same_content(*recorded)) {
        record.add(name, identity);
        return Outcome::kKept;
    }
    publisher.add({name, identity, make_map(options, maps, name, decode_image(path, bytes))});
    return Outcome::kWritten;
}

// Counts the images and reports them; threads may do so at the same time.
class Tally {
public:
    explicit Tally(std::size_t total) : progress_(total) {}

    void report(const std::string &text) {
        const std::lock_guard<std::mutex> lock(mutex_);
        progress_.report(text);
    }

    void bad(const std::string &text) {
        report(text);
        count(bad_);
    }

    void kept(bool is_foreign) {
        if (is_foreign) ++foreign_;
        count(kept_);
    }

    // A map that is published, or why no image can be made any more.
    void made(const std::string &fatal) {
        if (fatal.empty()) count(made_);
        else end(fatal);
    }

    void end(const std::string &fatal) {
        const std::lock_guard<std::mutex> lock(mutex_);
        if (fatal_.empty()) fatal_ = fatal;
        stop = 1;
    }

    std::size_t done() const { return made_ + kept_ + bad_; }
    std::size_t num_bad() const { return bad_; }
    std::size_t num_foreign() const { return foreign_; }
    const std::string &fatal() const { return fatal_; }
    std::string summary() const {
        return std::to_string(made_) + " made, " + std::to_string(kept_) + " already there, " + std::to_string(bad_) +
               " bad";
    }

private:
    void count(std::atomic<std::size_t> &which) {
        const std::lock_guard<std::mutex> lock(mutex_);
        ++which;
        progress_.show(done(), kept_);
    }

    std::mutex mutex_;
    Progress progress_;
    std::atomic<std::size_t> made_{0}, kept_{0}, foreign_{0}, bad_{0};
    std::string fatal_;
};

// `update_map` that counts and reports. Never throws: exceptions may not leave a parallel loop.
void process(const Options &options, const ImageFolder &images, const LabelMaps &maps, const Record &record,
             const std::string &name, Publisher &publisher, Tally &tally) {
    try {
        const Outcome outcome = update_map(options, images, maps, record, name, publisher);
        if (outcome != Outcome::kWritten) tally.kept(outcome == Outcome::kForeign);
    } catch (const BadImage &error) {
        tally.bad(error.what());
    } catch (const std::bad_alloc &) {
        tally.bad(name + ": not enough memory: try again with --threads 1");
    } catch (const std::exception &error) {
        tally.end(error.what());
    }
}

// Every N-th name, from the I-th on; all without --shard.
std::vector<std::string> own_names(std::vector<std::string> names, const Options &options) {
    if (options.shards == 0) return names;
    std::vector<std::string> own;
    for (std::size_t i = options.shard - 1; i < names.size(); i += options.shards) own.push_back(std::move(names[i]));
    return own;
}

int run(const Options &options) {
    const Shard shard(options.shard, options.shards);
    const bool alone = options.shards == 0;
    const std::vector<std::string> names = own_names(read_names(options.list), options);
    if (!is_readable_folder(options.image_dir))
        throw UserError(options.image_dir + ": not a folder that can be read: give the folder of the images");
    const ImageFolder images(options.image_dir, names);
    make_folder(options.target_dir);
    const FolderLock lock(options.target_dir, !alone);
    std::signal(SIGINT, on_signal);
    std::signal(SIGTERM, on_signal);

    Tally tally(names.size());
    const LabelMaps maps(options.target_dir, settings_text(options));
    if (alone) maps.remove_partial(names);
    const Record record(options.target_dir, settings_json(options), shard);
    if (!alone) maps.remove_own_partial(names);     // now nobody else makes these
    if (record.settings_changed())
        tally.report(options.target_dir + ": made with other settings before: all maps are made again");

    const long long wanted = options.threads > 0 ? options.threads : processors();
    const std::size_t most = std::max<std::size_t>(std::min(names.size(), kMostThreads), 1);
    const int threads = static_cast<int>(std::min(static_cast<std::size_t>(wanted), most));
    Publisher publisher(record, [&](const std::string &fatal) { tally.made(fatal); });
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads)
    for (std::size_t i = 0; i < names.size(); ++i)
        if (!stop) process(options, images, maps, record, names[i], publisher, tally);
    publisher.finish();

    if (!tally.fatal().empty()) {
        tally.report(tally.fatal());
        return 2;
    }
    record.finish();
    if (tally.num_foreign() > 0)
        tally.report(options.target_dir + ": maps of other programs are kept (" + std::to_string(tally.num_foreign()) +
                     "): --force replaces them");
    const bool interrupted = tally.done() < names.size();
    tally.report(tally.summary() + (interrupted ? ", interrupted: run the same command again to continue" : ""));
    return interrupted ? 128 + caught_signal : tally.num_bad() > 0 ? 1 : 0;
}

// Where OpenCV is built with everything, it brings more than a hundred libraries, and starting the program touches tens
// of megabytes of them that reading images never needs again. This gives those pages back; the system loads what is
// used after all from its cache. Only code and constants go, which are as they are in the files.
void give_back_library_pages() {
#if defined(__linux__)
    dl_iterate_phdr(
        [](dl_phdr_info *library, std::size_t, void *) {
            const std::uintptr_t page = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
            for (int i = 0; i < library->dlpi_phnum; ++i) {
                const auto &part = library->dlpi_phdr[i];
                if (part.p_type != PT_LOAD || (part.p_flags & PF_W)) continue;
                const std::uintptr_t begin = (library->dlpi_addr + part.p_vaddr + page - 1) / page * page;
                const std::uintptr_t end = (library->dlpi_addr + part.p_vaddr + part.p_memsz) / page * page;
                if (begin < end) ::madvise(reinterpret_cast<void *>(begin), end - begin, MADV_DONTNEED);
            }
            return 0;
        },
        nullptr);
#endif
}

// Images need megabytes for a moment each. What glibc gives back in between, the system clears for the next one again,
// which takes a sixth of the time; blocks that are larger than those of usual images it still gives back.
void keep_memory() {
#if defined(__GLIBC__)
    constexpr int kMegabyte = 1 << 20;
    ::mallopt(M_MMAP_THRESHOLD, 16 * kMegabyte);
    ::mallopt(M_TRIM_THRESHOLD, 32 * kMegabyte);
#endif
}

}  // namespace

int main(int count, char **arguments) {
    messages();
    std::signal(SIGXFSZ, SIG_IGN);                                          // writing reports EFBIG then
    cv::setNumThreads(1);                                                   // images are the parallelism
    cv::utils::logging::setLogLevel(cv::utils::logging::LOG_LEVEL_SILENT);  // the messages here name the file
    try {
        const Options options = parse({arguments + 1, arguments + count});
        if (options.help) {
            std::fputs(usage().c_str(), stdout);
            return 0;
        }
        give_back_library_pages();
        keep_memory();
        return run(options);
    } catch (const std::exception &error) {
        std::fprintf(messages(), "makeSuperpixel: %s\n", error.what());
        return 2;
    }
}
