/* presence.c: see presence.h. Store thread; the front end while it opens the store, or when that thread has ended. */
#include "server/store/sqlite/presence.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/clock.h"

#define SETTLED_MS 100 /* many ticks of the kernel's clock */

static const struct {
    const char *name, *missing;
} names[PRESENCE_COUNT] = {
    [PRESENCE_LOCK] = {"lock", "the lock file is gone or another one is in its place"},
    [PRESENCE_DATABASE] = {"jobs.db", "jobs.db is gone or another file is in its place"},
    [PRESENCE_LOG] = {"jobs.db-wal", "jobs.db-wal is gone or another file is in its place"},
    [PRESENCE_SHARED] = {"jobs.db-shm", "jobs.db-shm is gone or another file is in its place"},
    [PRESENCE_FILES] = {"files", "the directory files is gone or another one is in its place"},
};

int presence_note(struct presence *p, const char *directory, int files_fd) {
    struct stat st;
    *p = (struct presence){.files_fd = files_fd, .path = strdup(directory)};
    if (p->path == NULL)
        return -1;
    for (int i = 0; i < PRESENCE_COUNT; i++) {
        struct buf path = {0};
        buf_printf(&path, "%s/%s", directory, names[i].name);
        if (path.failed) {
            buf_deinit(&path);
            errno = ENOMEM;
            return -1;
        }
        p->files[i].path = buf_steal(&path, NULL);
        if (stat(p->files[i].path, &st) != 0)
            return -1;
        p->files[i].device = st.st_dev;
        p->files[i].inode = st.st_ino;
    }
    return 0;
}

void presence_deinit(struct presence *p) {
    for (int i = 0; i < PRESENCE_COUNT; i++)
        free(p->files[i].path);
    free(p->path);
    *p = (struct presence){0};
}

static bool is_same(const struct stat *a, dev_t device, ino_t inode) {
    return a->st_dev == device && a->st_ino == inode;
}

/* An overlay file system can give a directory another inode when the first file is made in it, so our open directory is
 * asked, too. */
static bool is_our_directory(const struct presence *p, const struct stat *there) {
    struct stat ours;
    return fstat(p->files_fd, &ours) == 0 && is_same(there, ours.st_dev, ours.st_ino);
}

static const char *look_for_each(const struct presence *p) {
    struct stat st;
    for (int i = 0; i < PRESENCE_COUNT; i++) {
        if (stat(p->files[i].path, &st) != 0)
            return names[i].missing;
        if (!is_same(&st, p->files[i].device, p->files[i].inode) && (i != PRESENCE_FILES || !is_our_directory(p, &st)))
            return names[i].missing;
    }
    return NULL;
}

/* No file of the directory was removed, renamed or replaced since: its time of change would be another one. Two changes
 * within one tick of the kernel's clock can have the same time, so a directory that had just changed does not count. */
static bool is_unchanged(const struct presence *p, const struct stat *now) {
    return p->settled && is_same(now, p->directory.st_dev, p->directory.st_ino) &&
           now->st_ctim.tv_sec == p->directory.st_ctim.tv_sec && now->st_ctim.tv_nsec == p->directory.st_ctim.tv_nsec;
}

const char *presence_missing(struct presence *p) {
    struct stat directory = {0};
    bool there = stat(p->path, &directory) == 0;
    if (there && p->missing == NULL && is_unchanged(p, &directory))
        return NULL;
    p->missing = look_for_each(p);
    p->directory = directory;
    p->settled =
        there && clock_wall_ms() - (directory.st_ctim.tv_sec * 1000 + directory.st_ctim.tv_nsec / 1000000) > SETTLED_MS;
    return p->missing;
}
