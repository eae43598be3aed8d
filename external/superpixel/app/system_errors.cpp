#include "system_errors.h"

#include <cerrno>
#include <cstring>
#include <initializer_list>

namespace {

struct Meaning {
    const char *text;
    std::initializer_list<int> codes;
};

// By meaning; POSIX has the codes outside of the conditions.
const Meaning kMeanings[] = {
    {"the disk is full: free some space and run the same command again", {ENOSPC}},
    {"the disk quota is used up: free some space and run the same command again", {EDQUOT}},
    {"the file system is read-only: choose a folder that can be written", {EROFS}},
    {"permission denied: choose another folder or change its permissions", {EACCES, EPERM}},
    {"the file is larger than files may be: raise the limit (ulimit -f) or choose another file system",
     {EFBIG, EOVERFLOW}},
    {"the device reports a read or write error: check the disk",
     {EIO, ENXIO, ENODEV,
#if defined(__linux__)
      ENOMEDIUM, EMEDIUMTYPE, ENODATA
#endif
     }},
    {"the network file system does not answer: check that it is mounted, then run the same command again",
     {ENOTCONN, ETIMEDOUT, EHOSTUNREACH, ENETDOWN, ENETUNREACH, ENETRESET, ECONNREFUSED, ECONNRESET, ECONNABORTED,
      EPROTO, EPIPE,
#if defined(__linux__)
      ETIME, EHOSTDOWN, ENOLINK, EREMOTEIO, ENONET, ESHUTDOWN, EREMCHG, ECOMM, EREMOTE, ENOTUNIQ
#endif
     }},
    {"the network file system has lost the file: mount it again and run the same command again", {ESTALE}},
    {"another program is using it: wait for it, then run the same command again",
     {EBUSY, ETXTBSY, EDEADLK, ENOLCK,
#if defined(__linux__)
      EUSERS
#endif
     }},
    {"the file is gone: restore it and run the same command again", {ENOENT}},
    {"a part of this path is a file, not a folder: choose another path", {ENOTDIR}},
    {"there is a file or folder of this name: choose another path", {EEXIST, ENOTEMPTY}},
    {"this is a folder, not a file: choose another path", {EISDIR}},
    {"a link that leads to itself: remove the link", {ELOOP}},
    {"the file name is too long: shorten it", {ENAMETOOLONG}},
    {"the file system does not take this name: use plain letters", {EILSEQ}},
    {"too many open files: raise the limit (ulimit -n)", {EMFILE}},
    {"too many open files on this machine: end other programs", {ENFILE}},
    {"no more processes or threads can be started: raise the limit (ulimit -u), or use a smaller --num-process and "
     "--num-workers",
     {EAGAIN}},
    {"out of memory: run the same command again where more is free", {ENOMEM, ENOBUFS}},
    {"the file system does not support this: choose a folder on another one",
     {ENOSYS, ENOTSUP, EOPNOTSUPP, EXDEV, ENOTTY, EPROTONOSUPPORT, ESPIPE, EMLINK}},
#if defined(__linux__)
    {"the ticket of the network file system has run out: renew it and run the same command again",
     {ENOKEY, EKEYEXPIRED, EKEYREVOKED, EKEYREJECTED}},
    {"the file system is damaged: check the disk", {EUCLEAN, EBADMSG, ELIBBAD, EBADFD}},
#endif
};

}  // namespace

std::string reason(int error) {
    for (const Meaning &meaning : kMeanings)
        for (const int code : meaning.codes)
            if (code == error) return meaning.text;
    return std::string(std::strerror(error)) + ": run the same command again, and if it stays, choose another folder";
}

bool means_no_sync(int error) {
    return error == EINVAL || error == ENOSYS || error == ENOTSUP || error == EOPNOTSUPP;
}
