// What the program says, on standard error.
#ifndef SUPERPIXEL_MESSAGES_H
#define SUPERPIXEL_MESSAGES_H

#include <cstdio>

// Standard error, also while a QuietLibraries lives. To be called once before the first of them.
std::FILE *messages();

// While one of these lives, on any thread, what libpng, libjpeg and the like print to standard error gets lost: it
// names no file, and what is wrong with a file is told in one line by who asked for it.
class QuietLibraries {
public:
    QuietLibraries();
    ~QuietLibraries();
    QuietLibraries(const QuietLibraries &) = delete;
    QuietLibraries &operator=(const QuietLibraries &) = delete;
};

#endif
