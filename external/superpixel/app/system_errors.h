// What an error of the operating system means for the user.
#ifndef SUPERPIXEL_SYSTEM_ERRORS_H
#define SUPERPIXEL_SYSTEM_ERRORS_H

#include <string>

// What is wrong and what to do, for an errno: the words of icd/system_errors.py. Of one that nobody foresaw, the
// system's own words.
std::string reason(int error);

// True for the codes by which a file system says that it cannot make sure that a file has arrived on the disk.
bool means_no_sync(int error);

#endif
