// Processors that the limits of a container leave to this process, which the system does not count among those it has.
#ifndef SUPERPIXEL_CPU_QUOTA_H
#define SUPERPIXEL_CPU_QUOTA_H

#include <string>

// Processors that the CPU time of this process's control groups amounts to, rounded up: the tightest limit between its
// group and the topmost that can be seen, of versions 1 and 2, as icd/cpu_quota.py finds it. 0 without a limit; files
// that are missing or make no sense limit nothing. `root`: the folder below which proc and the control groups are.
long long cpu_quota(const std::string &root = "/");

#endif
