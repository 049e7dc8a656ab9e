/* Faults of a disk, made to order: preloaded into a process, it watches calls that write below a path.
 *
 * fault_set(path, calls, action, error, after, once): from the moment that `after` bytes were written below
 * paths that contain `path` (other calls count as one byte each), the calls in the mask `calls` fail with
 * `error` (action 1), kill the process when the byte is reached (2), or write half of what they are given
 * (3); `once`: only the first time. fault_bytes() and fault_fired() say how much was counted, and how
 * often something failed.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum { WRITE = 1, FLUSH = 2, RENAME = 4, OPEN = 8 };
enum { FAIL = 1, KILL = 2, SHORT = 3 };

static char wanted[512];
static int calls, action, error, once;
static long after, counted, fired;

void fault_set(const char *path, int mask, int what, int code, long bytes, int first) {
    snprintf(wanted, sizeof wanted, "%s", path);
    calls = mask, action = what, error = code, after = bytes, once = first;
    counted = fired = 0;
}
long fault_bytes(void) { return counted; }
long fault_fired(void) { return fired; }

static void *real(const char *name) { return dlsym(RTLD_NEXT, name); }

static int below(const char *path) { return wanted[0] && path && strstr(path, wanted) != NULL; }

static int below_fd(int fd) {
    char link[64], path[4096];
    if (!wanted[0]) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof path - 1);
    if (n <= 0) return 0;
    path[n] = 0;
    return below(path);
}

/* Whether a call that is no write fails now. */
static int fails(int call) {
    counted += 1;
    if (!(calls & call) || counted <= after || (once && fired)) return 0;
    if (action == KILL) kill(getpid(), SIGKILL);
    if (action != FAIL) return 0;
    fired += 1, errno = error;
    return 1;
}

/* How many of `count` bytes may be written; -1: the call fails. */
static ssize_t allowed(size_t count, int *deadly) {
    long left = after - counted;
    *deadly = 0;
    if (!(calls & WRITE) || (long)count <= left || (once && fired)) {
        counted += (long)count;
        return (ssize_t)count;
    }
    if (action == KILL) {
        *deadly = 1;
        return left > 0 ? left : 0;
    }
    fired += 1;
    if (action == SHORT && count > 1) {
        counted += (long)(count / 2);
        return (ssize_t)(count / 2);
    }
    if (action == SHORT) return (ssize_t)count;
    errno = error;
    return -1;
}

ssize_t write(int fd, const void *data, size_t count) {
    static ssize_t (*next)(int, const void *, size_t);
    int deadly;
    if (!next) next = real("write");
    if (!below_fd(fd)) return next(fd, data, count);
    ssize_t n = allowed(count, &deadly);
    if (n < 0) return -1;
    if (n > 0 || !deadly) n = next(fd, data, (size_t)n);
    if (deadly) kill(getpid(), SIGKILL);
    return n;
}

ssize_t writev(int fd, const struct iovec *parts, int n) {
    static ssize_t (*next)(int, const struct iovec *, int);
    if (!next) next = real("writev");
    if (!below_fd(fd) || n < 1) return next(fd, parts, n);
    return write(fd, parts[0].iov_base, parts[0].iov_len);
}

#define ON_FD(name)                                     \
    int name(int fd) {                                  \
        static int (*next)(int);                        \
        if (!next) next = real(#name);                  \
        if (below_fd(fd) && fails(FLUSH)) return -1;    \
        return next(fd);                                \
    }
ON_FD(fsync)
ON_FD(fdatasync)

int rename(const char *from, const char *to) {
    static int (*next)(const char *, const char *);
    if (!next) next = real("rename");
    if ((below(from) || below(to)) && fails(RENAME)) return -1;
    return next(from, to);
}

int renameat(int a, const char *from, int b, const char *to) {
    static int (*next)(int, const char *, int, const char *);
    if (!next) next = real("renameat");
    if ((below(from) || below(to)) && fails(RENAME)) return -1;
    return next(a, from, b, to);
}

#define OPENS(name)                                                                          \
    int name(const char *path, int flags, ...) {                                             \
        static int (*next)(const char *, int, mode_t);                                       \
        va_list rest;                                                                        \
        va_start(rest, flags);                                                               \
        mode_t mode = flags & O_CREAT ? va_arg(rest, mode_t) : 0;                            \
        va_end(rest);                                                                        \
        if (!next) next = real(#name);                                                       \
        if ((flags & (O_WRONLY | O_RDWR)) && below(path) && fails(OPEN)) return -1;          \
        return next(path, flags, mode);                                                      \
    }
OPENS(open)
OPENS(open64)

#define OPENS_AT(name)                                                                       \
    int name(int at, const char *path, int flags, ...) {                                     \
        static int (*next)(int, const char *, int, mode_t);                                  \
        va_list rest;                                                                        \
        va_start(rest, flags);                                                               \
        mode_t mode = flags & O_CREAT ? va_arg(rest, mode_t) : 0;                            \
        va_end(rest);                                                                        \
        if (!next) next = real(#name);                                                       \
        if ((flags & (O_WRONLY | O_RDWR)) && below(path) && fails(OPEN)) return -1;          \
        return next(at, path, flags, mode);                                                  \
    }
OPENS_AT(openat)
OPENS_AT(openat64)
