/* descriptors.c: see descriptors.h. Any process. */
#include "base/descriptors.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#define FIRST_OTHER (STDERR_FILENO + 1)

static int64_t first_reserved = INT64_MAX;

void descriptors_fill(bool fails) {
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
        if (fcntl(fd, F_GETFD) >= 0 || errno != EBADF)
            continue;
        int wrong_way = fd == STDIN_FILENO ? O_WRONLY : O_RDONLY;
        int got = open("/dev/null", fails ? wrong_way : O_RDWR); /* the lowest free number: this one */
        if (got >= 0 && got != fd)
            close(got);
    }
}

/* For kernels before 5.11, and for sandboxes that do not know the call. */
static void mark_each(void) {
    DIR *list = opendir("/proc/self/fd");
    if (list == NULL)
        return;
    for (const struct dirent *e = readdir(list); e != NULL; e = readdir(list)) {
        char *end;
        long fd = strtol(e->d_name, &end, 10);
        if (*end == '\0' && fd >= FIRST_OTHER && fd != dirfd(list))
            fcntl((int)fd, F_SETFD, FD_CLOEXEC);
    }
    closedir(list);
}

void descriptors_close_from(int first) {
    if (syscall(SYS_close_range, (unsigned)first, ~0U, 0) == 0)
        return;
    long end = sysconf(_SC_OPEN_MAX);
    for (int fd = first; fd < end; fd++)
        close(fd);
}

void descriptors_close_pair(int pair[2]) {
    for (int i = 0; i < 2; i++) {
        if (pair[i] >= 0)
            close(pair[i]);
        pair[i] = -1;
    }
}

void descriptors_keep_private(void) {
    if (syscall(SYS_close_range, (unsigned)FIRST_OTHER, ~0U, (unsigned)CLOSE_RANGE_CLOEXEC) != 0)
        mark_each();
}

void descriptors_reserve_from(int64_t number) {
    first_reserved = number;
}

int64_t descriptors_reserved_in_use(int fd) {
    return fd < first_reserved ? 0 : fd - first_reserved + 1;
}
