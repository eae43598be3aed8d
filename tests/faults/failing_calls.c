/* Preloaded (LD_PRELOAD), lets the n-th call of one function of the C library fail with any errno. Only calls that
   concern files below the current folder count: those that are named by a relative path. */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

#define MOST_FILES 1024
static _Atomic char ours[MOST_FILES];
static const char *const kNames[] = {"open", "read", "write", "fsync", "rename", "mkdir", "fork"};
enum { kFunctions = sizeof kNames / sizeof *kNames };
static atomic_int counts[kFunctions];
static int function = -1, wanted, error_code;

static int index_of(const char *name) {
    for (int i = 0; i < kFunctions; i++)
        if (!strcmp(name, kNames[i])) return i;
    return -1;
}

/* The calls count from 1 again; that of `name` with this number fails with `code`. */
void fail_call(const char *name, int number, int code) {
    for (int i = 0; i < kFunctions; i++) counts[i] = 0;
    function = index_of(name);
    wanted = number;
    error_code = code;
}

int calls_of(const char *name) { return counts[index_of(name)]; }

/* For programs that do not ask by themselves: FAIL_CALL=open:3:28, and a file that gets the counts at the end. */
__attribute__((constructor)) static void from_environment(void) {
    char name[16];
    int number, code;
    const char *text = getenv("FAIL_CALL");
    if (text && sscanf(text, "%15[a-z]:%d:%d", name, &number, &code) == 3) fail_call(name, number, code);
}

__attribute__((destructor)) static void report(void) {
    const char *path = getenv("COUNT_CALLS");
    FILE *file = path ? fopen(path, "w") : NULL;
    if (!file) return;
    for (int i = 0; i < kFunctions; i++) fprintf(file, "%s %d\n", kNames[i], counts[i]);
    fclose(file);
}

static int fails(const char *name) {
    const int i = index_of(name), number = atomic_fetch_add(&counts[i], 1) + 1;
    if (i != function || number != wanted) return 0;
    errno = error_code;
    return 1;
}

static int is_relative(const char *path) { return path && path[0] && path[0] != '/'; }
static int is_ours(int file) { return file >= 0 && file < MOST_FILES && ours[file]; }

#define REAL(type, name, ...)                             \
    static type (*real)(__VA_ARGS__);                     \
    if (!real) real = (type (*)(__VA_ARGS__))dlsym(RTLD_NEXT, name)

static int note(int file, const char *path) {
    if (file >= 0 && file < MOST_FILES) ours[file] = is_relative(path);
    return file;
}

static int mode_of(int flags, va_list list) { return flags & (O_CREAT | O_TMPFILE) ? va_arg(list, int) : 0; }

#define OPEN(name)                                                     \
    int name(const char *path, int flags, ...) {                       \
        REAL(int, #name, const char *, int, ...);                      \
        va_list list;                                                  \
        va_start(list, flags);                                         \
        const int mode = mode_of(flags, list);                         \
        va_end(list);                                                  \
        if (is_relative(path) && fails("open")) return -1;             \
        return note(real(path, flags, mode), path);                    \
    }
OPEN(open)
OPEN(open64)

int close(int file) {
    REAL(int, "close", int);
    if (file >= 0 && file < MOST_FILES) ours[file] = 0;
    return real(file);
}

ssize_t read(int file, void *to, size_t size) {
    REAL(ssize_t, "read", int, void *, size_t);
    return is_ours(file) && fails("read") ? -1 : real(file, to, size);
}

ssize_t write(int file, const void *from, size_t size) {
    REAL(ssize_t, "write", int, const void *, size_t);
    return is_ours(file) && fails("write") ? -1 : real(file, from, size);
}

int fsync(int file) {
    REAL(int, "fsync", int);
    return is_ours(file) && fails("fsync") ? -1 : real(file);
}

/* Whether this process has a file open. */
static int is_open(const char *path) {
    struct stat wanted, found;
    int open_too = 0;
    DIR *folder = stat(path, &wanted) == 0 ? opendir("/proc/self/fd") : NULL;
    for (struct dirent *entry; folder && (entry = readdir(folder));)
        open_too |= fstat(atoi(entry->d_name), &found) == 0 && entry->d_name[0] != '.' && S_ISREG(found.st_mode) &&
                    found.st_dev == wanted.st_dev && found.st_ino == wanted.st_ino;
    if (folder) closedir(folder);
    return open_too;
}

/* Folders that virtual machines share do not rename what is open. */
int rename(const char *from, const char *to) {
    REAL(int, "rename", const char *, const char *);
    if (is_relative(from) && is_open(from)) {
        errno = ETXTBSY;
        return -1;
    }
    return is_relative(from) && fails("rename") ? -1 : real(from, to);
}

int mkdir(const char *path, mode_t mode) {
    REAL(int, "mkdir", const char *, mode_t);
    return is_relative(path) && fails("mkdir") ? -1 : real(path, mode);
}

pid_t fork(void) {
    REAL(pid_t, "fork", void);
    return fails("fork") ? -1 : real();
}
