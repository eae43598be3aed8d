// makeSuperpixel: superpixels of every image of a list, as label maps in PNG files.
#include <omp.h>
#include <unistd.h>
#if defined(__linux__)
#include <link.h>
#include <sys/mman.h>
#endif

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <opencv2/core/utils/logger.hpp>
#include <string>
#include <vector>

#include "files.h"
#include "messages.h"
#include "superpixel.h"

namespace {

constexpr char kUsage[] =
    "usage: makeSuperpixel DATA_LIST IMAGE_DIR TARGET_DIR K [options]\n"
    "\n"
    "Cuts IMAGE_DIR/NAME.jpg (or NAME.png) into superpixels for every NAME in DATA_LIST, one a line, and\n"
    "writes TARGET_DIR/NAME.png: 8 bits, three channels, label = B + 256 G + 65536 R. K is the smallest\n"
    "superpixel, in pixels.\n"
    "\n"
    "  --method slic|graph  slic: compact superpixels of even size, about an image's pixels / 4K of them\n"
    "                       graph: Felzenszwalb and Huttenlocher's regions, as many as the image has\n"
    "                       (default: slic)\n"
    "  --compactness M      slic: higher makes rounder superpixels (default: %g)\n"
    "  --iterations N       slic: at most so many rounds (default: %d)\n"
    "  --threads N          images computed at a time (default: one a core)\n"
    "  --force              make label maps again that are already there\n"
    "  --help               print this\n"
    "\n"
    "A label map that is there is kept, unless it was made with another K, method or setting.\n"
    "Exit code: 0 all made; 1 some images could not be read or written, the others are made; 2 nothing can be\n"
    "made (a mistake in the command, a full disk); 130, 143 interrupted: run again to continue.\n";

struct Options {
    std::string list, image_dir, target_dir, method = "slic";
    int min_size = 0, threads = 0;
    superpixel::SlicSettings slic;
    bool force = false, help = false;
};

// ------------------------------------------------------------------------------------------------ command line
double number(const std::string &what, const std::string &text, double most) {
    char *end = nullptr;
    const double value = std::strtod(text.c_str(), &end);
    if (text.empty() || *end != '\0' || !(value > 0))
        throw UserError(what + " '" + text + "': not a number above 0: see makeSuperpixel --help");
    if (value > most) throw UserError(what + " '" + text + "': too large: see makeSuperpixel --help");
    return value;
}

int whole_number(const std::string &what, const std::string &text, int most = 0x7fffffff) {
    const double value = number(what, text, most);
    if (value != std::floor(value))
        throw UserError(what + " '" + text + "': not a whole number: see makeSuperpixel --help");
    return static_cast<int>(value);
}

Options parse(const std::vector<std::string> &arguments) {
    Options options;
    std::vector<std::string> positional;
    for (std::size_t i = 0; i < arguments.size(); ++i) {
        std::string flag = arguments[i], value;
        if (flag.compare(0, 2, "--") != 0) {
            positional.push_back(flag);
            continue;
        }
        const std::size_t equals = flag.find('=');
        const bool attached = equals != std::string::npos;
        if (attached) {
            value = flag.substr(equals + 1);
            flag.erase(equals);
        }
        if (!attached && (flag == "--force" || flag == "--help")) {
            (flag == "--force" ? options.force : options.help) = true;
            continue;
        }
        if (flag != "--method" && flag != "--compactness" && flag != "--iterations" && flag != "--threads")
            throw UserError(arguments[i] + ": no such option: see makeSuperpixel --help");
        if (!attached) {
            if (++i == arguments.size()) throw UserError(flag + ": its value is missing: see makeSuperpixel --help");
            value = arguments[i];
        }
        if (flag == "--compactness")
            options.slic.compactness = static_cast<float>(number(flag, value, 1e6));
        else if (flag == "--iterations")
            options.slic.iterations = whole_number(flag, value);
        else if (flag == "--threads")
            options.threads = whole_number(flag, value);
        else if (value == "slic" || value == "graph")
            options.method = value;
        else
            throw UserError("--method " + value + ": no such method: choose slic or graph");
    }
    if (options.help) return options;
    if (positional.size() != 4)
        throw UserError("DATA_LIST IMAGE_DIR TARGET_DIR K are needed, and " + std::to_string(positional.size()) +
                        " of them given: see makeSuperpixel --help");
    options.list = positional[0];
    options.image_dir = positional[1];
    options.target_dir = positional[2];
    options.min_size = whole_number("K", positional[3]);
    return options;
}

std::string settings_text(const Options &options) {
    char text[160];
    if (options.method == "graph")
        std::snprintf(text, sizeof text, "--method graph %d", options.min_size);
    else
        std::snprintf(text, sizeof text, "--method slic --compactness %.9g --iterations %d %d",
                      static_cast<double>(options.slic.compactness), options.slic.iterations, options.min_size);
    return text;
}

// ---------------------------------------------------------------------------------------------------- progress
// A line on standard error that is written over on a terminal, and one every half minute anywhere else.
class Progress {
public:
    explicit Progress(std::size_t total)
        : total_(total), terminal_(::isatty(STDERR_FILENO)), start_(Clock::now()), shown_(start_) {}

    // Of the images so far, `kept` were already there, which says nothing about the rate.
    void show(std::size_t done, std::size_t kept) {
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

    void say(const std::string &text) {
        std::fprintf(messages(), "%smakeSuperpixel: %s\n", open_line_ ? "\r\x1b[K" : "", text.c_str());
        open_line_ = false;
    }

private:
    using Clock = std::chrono::steady_clock;
    std::size_t total_;
    bool terminal_, open_line_ = false;
    Clock::time_point start_, shown_;
};

// ---------------------------------------------------------------------------------------------------- the run
constexpr std::size_t kMostThreads = 256;
std::atomic<int> caught_signal{0};
std::atomic<int> stop{0};  // images that are not begun stay so

void on_signal(int signal) {
    caught_signal = signal;
    stop = 1;
    std::signal(signal, SIG_DFL);  // a second one ends the program at once
}

void make_one(const Options &options, const LabelWriter &writer, const std::string &name, const std::string &path) {
    const cv::Mat image = read_image(path);
    const superpixel::Image pixels = {image.data, image.cols, image.rows, static_cast<std::ptrdiff_t>(image.step)};
    std::vector<std::int32_t> labels(image.total());
    if (options.method == "graph")
        superpixel::graph_segment(pixels, options.min_size, labels.data());
    else
        superpixel::slic(pixels, options.min_size, options.slic, labels.data());
    writer.write(name, labels.data(), image.cols, image.rows);
}

// What became of the images so far.
struct Tally {
    std::size_t made = 0, kept = 0, bad = 0;
    std::string fatal;  // why no image can be made any more
    std::size_t done() const { return made + kept + bad; }
};

// Makes the label map of one image, or finds it made. Never throws: exceptions may not leave a parallel loop.
void attend_to(const Options &options, const LabelWriter &writer, const std::string &name, Tally &tally,
               Progress &progress) {
    std::string bad, fatal;
    bool kept = false;
    try {
        writer.remove_partial(name);
        const std::string path = image_path(options.image_dir, name);
        if (writer.would_replace(path, name))
            throw BadImage(path + ": its label map would replace it: choose another TARGET_DIR");
        kept = !options.force && writer.finished(name);
        if (!kept) make_one(options, writer, name, path);
    } catch (const BadImage &error) {
        bad = error.what();
    } catch (const std::bad_alloc &) {
        bad = name + ": not enough memory: try again with --threads 1";
    } catch (const std::exception &error) {
        fatal = error.what();
    }
#pragma omp critical
    {
        if (!fatal.empty()) {
            tally.fatal = fatal;
            stop = 1;
        } else if (!bad.empty()) {
            ++tally.bad;
            progress.say(bad);
        } else {
            ++(kept ? tally.kept : tally.made);
        }
        progress.show(tally.done(), tally.kept);
    }
}

int run(const Options &options) {
    const std::vector<std::string> names = read_names(options.list);
    if (!is_readable_folder(options.image_dir))
        throw UserError(options.image_dir + ": not a folder that can be read: give the folder of the images");
    const LabelWriter writer(options.target_dir, settings_text(options));

    Progress progress(names.size());
    Tally tally;
    const int wanted = options.threads > 0 ? options.threads : omp_get_num_procs();
    const int threads = static_cast<int>(std::min({static_cast<std::size_t>(wanted), names.size(), kMostThreads}));
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads)
    for (std::size_t i = 0; i < names.size(); ++i)
        if (!stop) attend_to(options, writer, names[i], tally, progress);

    if (!tally.fatal.empty()) {
        progress.say(tally.fatal);
        return 2;
    }
    const bool interrupted = tally.done() < names.size();
    progress.say(std::to_string(tally.made) + " made, " + std::to_string(tally.kept) + " already there, " +
                 std::to_string(tally.bad) + " bad" +
                 (interrupted ? ", interrupted: run the same command again to continue" : ""));
    return interrupted ? 128 + caught_signal : tally.bad > 0 ? 1 : 0;
}

// Where OpenCV is built with everything, it brings more than a hundred libraries, and starting the program touches tens
// of megabytes of them that reading images never needs again. This hands those pages back; the system loads what is
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

}  // namespace

int main(int count, char **arguments) {
    messages();
    cv::setNumThreads(1);                                                   // images are the parallelism
    cv::utils::logging::setLogLevel(cv::utils::logging::LOG_LEVEL_SILENT);  // the messages here name the file
    std::signal(SIGINT, on_signal);
    std::signal(SIGTERM, on_signal);
    try {
        const Options options = parse({arguments + 1, arguments + count});
        if (options.help) {
            const superpixel::SlicSettings defaults;
            std::printf(kUsage, static_cast<double>(defaults.compactness), defaults.iterations);
            return 0;
        }
        give_back_library_pages();
        return run(options);
    } catch (const std::exception &error) {
        std::fprintf(messages(), "makeSuperpixel: %s\n", error.what());
        return 2;
    }
}
