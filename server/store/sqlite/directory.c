/* directory.c: makes and locks the data directory, and sets a corrupt database aside. Front end, when the store is
 * opened or recovered.
 *
 *     <directory>/lock       locked as long as a service uses the directory; contains its pid
 *                 jobs.db    and jobs.db-wal, jobs.db-shm: SQLite's
 *                 files/     large payloads
 */
#include "server/store/sqlite/directory.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"

/* Like mkdir -p, for the owner alone. */
static int make_directory(const char *path) {
    struct buf b = {0};
    int status = -1;
    buf_puts(&b, path);
    if (b.failed)
        goto out;
    for (char *slash = strchr(b.data + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        int made = mkdir(b.data, 0700);
        *slash = '/';
        if (made != 0 && errno != EEXIST)
            goto out;
    }
    if (mkdir(b.data, 0700) == 0 || errno == EEXIST)
        status = 0;
out:
    buf_deinit(&b);
    return status;
}

static void say_in_use(const char *path, int fd, struct buf *error) {
    char text[16];
    ssize_t n = pread(fd, text, sizeof text - 1, 0);
    text[n < 0 ? 0 : n] = '\0';
    long pid = strtol(text, NULL, 10);
    buf_printf(error, "the data directory %s is in use by another offloadd", path);
    if (pid > 0)
        buf_printf(error, " (pid %ld)", pid);
}

static int write_pid(int fd) {
    char text[16];
    int size = snprintf(text, sizeof text, "%ld\n", (long)getpid());
    return ftruncate(fd, 0) == 0 && pwrite(fd, text, (size_t)size, 0) == size ? 0 : -1;
}

/* The nearest directory that exists must let us make the next one, or the files. */
static int check_access(char *path) {
    struct stat st;
    while (stat(path, &st) != 0) {
        char *slash = strrchr(path, '/');
        if (errno != ENOENT)
            return -1;
        if (slash == NULL || slash == path)
            return access(slash == path ? "/" : ".", W_OK | X_OK);
        *slash = '\0';
    }
    if (!S_ISDIR(st.st_mode)) {
        errno = ENOTDIR;
        return -1;
    }
    return access(path, R_OK | W_OK | X_OK);
}

int directory_check(const char *path, struct buf *error) {
    static const char *const files[] = {"lock", "jobs.db"};
    struct stat st;
    struct buf name = {0};
    buf_puts(&name, path);
    int rc = name.failed ? -1 : check_access(name.data);
    for (size_t i = 0; rc == 0 && i < sizeof files / sizeof files[0]; i++) {
        buf_clear(&name);
        buf_printf(&name, "%s/%s", path, files[i]);
        if (name.failed || stat(name.data, &st) != 0)
            continue;
        errno = EISDIR;
        rc = S_ISDIR(st.st_mode) ? -1 : access(name.data, R_OK | W_OK);
    }
    if (rc != 0)
        buf_printf(error, "cannot use the data directory %s: %s", path, strerror(errno));
    buf_deinit(&name);
    return rc;
}

int directory_lock(const char *path, struct buf *error) {
    struct buf name = {0};
    int fd = -1;
    buf_printf(&name, "%s/lock", path);
    if (!name.failed && make_directory(path) == 0)
        fd = open(name.data, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0) {
        buf_printf(error, "cannot use the data directory %s: %s", path, strerror(errno));
    } else if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        if (errno == EWOULDBLOCK)
            say_in_use(path, fd, error);
        else
            buf_printf(error, "cannot lock %s: %s", name.data, strerror(errno));
        close(fd);
        fd = -1;
    } else if (write_pid(fd) != 0) {
        LOG(LOG_WARN, "lock_not_signed", LOG_STR("path", name.data), LOG_STR("error", strerror(errno)));
    }
    buf_deinit(&name);
    return fd;
}

/* The time for the new names, in ms. It is moved on until no file has that name already. */
static int64_t free_suffix(const char *path) {
    for (int64_t at = clock_wall_ms();; at++) {
        struct buf b = {0};
        buf_printf(&b, "%s/jobs.db.corrupt-%lld", path, (long long)at);
        bool taken = !b.failed && access(b.data, F_OK) == 0;
        buf_deinit(&b);
        if (!taken)
            return at;
    }
}

int directory_set_aside(const char *path, const char *why) {
    static const char *const names[] = {"jobs.db", "jobs.db-wal", "jobs.db-shm", "files"};
    int64_t at = free_suffix(path);
    int status = 0;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        const char *tail = i == 0 || i == 3 ? "" : names[i] + sizeof "jobs.db" - 1;
        struct buf from = {0}, to = {0};
        buf_printf(&from, "%s/%s", path, names[i]);
        buf_printf(&to, "%s/%s.corrupt-%lld%s", path, i == 3 ? "files" : "jobs.db", (long long)at, tail);
        bool moved = !from.failed && !to.failed && rename(from.data, to.data) == 0;
        if (!moved && errno != ENOENT)
            status = -1;
        if (i == 0)
            LOG(LOG_ERROR, "store_set_aside", LOG_STR("path", moved ? to.data : from.data), LOG_STR("reason", why),
                LOG_STR("error", moved ? NULL : strerror(errno)));
        buf_deinit(&from);
        buf_deinit(&to);
    }
    return status;
}
