// What the program reports, on standard error.
#ifndef SUPERPIXEL_MESSAGES_H
#define SUPERPIXEL_MESSAGES_H

#include <chrono>
#include <cstddef>
#include <cstdio>
#include <string>

// Standard error, also while a QuietLibraries lives. To be called once before the first of them.
std::FILE *messages();

// Discards what libpng, libjpeg and the like print to standard error while an instance lives, on all threads: their
// lines name no file. The caller reports what is wrong with a file.
class QuietLibraries {
public:
    QuietLibraries();
    ~QuietLibraries();
    QuietLibraries(const QuietLibraries &) = delete;
    QuietLibraries &operator=(const QuietLibraries &) = delete;
};

// A line on standard error that is overwritten on a terminal, and one every half minute anywhere else.
class Progress {
public:
    explicit Progress(std::size_t total);

    // Of the images so far, `kept` were already there; they do not count for the rate.
    void show(std::size_t done, std::size_t kept);

    void report(const std::string &text);

private:
    using Clock = std::chrono::steady_clock;
    std::size_t total_;
    bool terminal_, open_line_ = false;
    Clock::time_point start_, shown_;
};

#endif
