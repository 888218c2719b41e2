/* files.c: keeps large payloads in files beside the database: <directory>/files/<job>-<role>-<number>. Store thread;
 * the front end while it opens or recovers the store, and where it makes slices of payloads.
 *
 *     a draft is written and synced ──► renamed ──┐
 *     a file without a name is synced ─► linked ──┴► the directory is synced ──► a row names the file: committed
 *     no row names the file any more: committed ──► the file is unlinked
 *
 * So a row never names a file that does not exist. A crash in between leaves files that no row names; the sweep at the
 * next start removes them. No file is ever written twice, so a transaction that is rolled back leaves the old files as
 * they were. A file can have several names: then a result is also an attachment of another job.
 */
#include "server/store/sqlite/files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/array.h"
#include "base/buf.h"
#include "base/clock.h"

#define NAME_SIZE  96
#define COPY_BYTES (1024 * 1024)

struct dropped_file {
    struct id job;
    enum file_role role;
    int64_t number;
};

_Static_assert(FILE_REQUEST == 0 && FILE_PLAN == 1 && FILE_PART == 2 && FILE_RESULT == 3 && FILE_WEBHOOK == 4 &&
                   FILE_ATTACHMENT == 5,
               "these numbers are in databases");

static const char *const roles[FILE_ROLES] = {"request", "plan", "part", "result", "webhook", "attachment"};

static void name_file(char name[NAME_SIZE], const struct id *job, enum file_role role, int64_t number) {
    char text[ID_TEXT_SIZE];
    id_format(job, text);
    snprintf(name, NAME_SIZE, "%s-%s-%llx", text, roles[role], (unsigned long long)number);
}

int files_open(struct files *f, const char *path) {
    struct buf name = {0};
    *f = (struct files){.directory = -1, .last_number = clock_wall_ms() * 1000};
    buf_printf(&name, "%s/files", path);
    if (!name.failed && (mkdir(name.data, 0700) == 0 || errno == EEXIST))
        f->directory = open(name.data, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (f->directory >= 0)
        f->path = buf_steal(&name, NULL);
    buf_deinit(&name);
    return f->directory < 0 ? -1 : 0;
}

void files_close(struct files *f) {
    if (f->directory >= 0)
        close(f->directory);
    free(f->path);
    free(f->dropped);
}

/* ---- writing ----------------------------------------------------------------------------------------------------- */

/* The kernel copies the pages of a memfd or a file, which takes half of the time of a write from mapped pages. */
static int write_slice(int fd, const struct slice *from) {
    if (!slice_is_bulk(from))
        return memfd_write(fd, slice_heap(from), from->size);
    off_t at = (off_t)from->offset, end = at + (off_t)from->size;
    while (at < end) {
        ssize_t n = sendfile(fd, from->blob->fd, &at, (size_t)(end - at));
        if (n < 0 && errno == EINTR)
            continue;
        if (n == 0)
            errno = FILES_CUT_OFF;
        if (n <= 0)
            return -1;
    }
    return 0;
}

/* True: the slice is a whole file of our directory, with or without a name. Nobody changes it any more, and nobody else
 * can open it. The kernel is asked for its directory, so a file of a client that shares memory is never taken. */
static bool is_ours(const struct files *f, const struct slice *s, const char *link) {
    char path[PATH_MAX];
    struct stat st;
    if (!slice_is_bulk(s) || s->blob->seals != BLOB_FILE || s->offset != 0 || fstat(s->blob->fd, &st) != 0 ||
        st.st_size != (off_t)s->size)
        return false;
    ssize_t n = readlink(link, path, sizeof path - 1);
    if (n <= 0)
        return false;
    path[n] = '\0';
    char *last = strrchr(path, '/');
    if (last != NULL)
        *last = '\0';
    return strcmp(path, f->path) == 0;
}

/* 1: the file that the payload is has that name now, and is synced. 0: it has to be copied. -1 with errno. */
static int link_file(struct files *f, const struct slice *s, const char *name) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", s->blob == NULL ? -1 : s->blob->fd);
    if (!is_ours(f, s, link))
        return 0;
    if (fdatasync(s->blob->fd) != 0)
        return -1;
    return linkat(AT_FDCWD, link, f->directory, name, AT_SYMLINK_FOLLOW) == 0; /* not if all its names are gone */
}

static int note_written(struct files *f, struct payload *p) {
    p->number = f->last_number;
    f->unsynced = true;
    return 0;
}

int files_write(struct files *f, const struct id *job, struct payload *p) {
    char name[NAME_SIZE], draft[NAME_SIZE + 8];
    name_file(name, job, p->role, ++f->last_number);
    int linked = link_file(f, &p->slice, name);
    if (linked != 0)
        return linked < 0 ? -1 : note_written(f, p);
    snprintf(draft, sizeof draft, "%s.draft", name);
    int fd = openat(f->directory, draft, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return -1;
    bool ok = write_slice(fd, &p->slice) == 0 && fsync(fd) == 0;
    int error = errno;
    close(fd);
    if (ok && renameat(f->directory, draft, f->directory, name) == 0)
        return note_written(f, p);
    error = ok ? errno : error;
    unlinkat(f->directory, draft, 0);
    errno = error;
    return -1;
}

int files_sync(struct files *f) {
    if (f->unsynced && fsync(f->directory) != 0)
        return -1;
    f->unsynced = false;
    return 0;
}

/* ---- removing ---------------------------------------------------------------------------------------------------- */

void files_remove(struct files *f, const struct id *job, enum file_role role, int64_t number) {
    char name[NAME_SIZE];
    name_file(name, job, role, number);
    unlinkat(f->directory, name, 0);
}

void files_drop(struct files *f, const struct id *job, enum file_role role, int64_t number) {
    if (GROW_ARRAY(&f->dropped, f->dropped_count, &f->dropped_room) == 0)
        f->dropped[f->dropped_count++] = (struct dropped_file){*job, role, number};
}

void files_committed(struct files *f) {
    for (size_t i = 0; i < f->dropped_count; i++)
        files_remove(f, &f->dropped[i].job, f->dropped[i].role, f->dropped[i].number);
    f->dropped_count = 0;
}

void files_rolled_back(struct files *f) {
    f->dropped_count = 0;
}

static int by_number(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

/* The number at the end of a file's name; -1: it has none, so the file is not ours. */
static int64_t number_of(const char *name) {
    const char *last = strrchr(name, '-');
    char *end = NULL;
    if (last == NULL || last[1] == '\0')
        return -1;
    unsigned long long n = strtoull(last + 1, &end, 16);
    return *end == '\0' && n <= INT64_MAX ? (int64_t)n : -1;
}

int files_sweep(struct files *f, const int64_t *numbers, bool *there, size_t count) {
    int fd = openat(f->directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    if (d == NULL) {
        if (fd >= 0)
            close(fd);
        return -1;
    }
    for (struct dirent *e = readdir(d); e != NULL; e = readdir(d)) {
        int64_t number = number_of(e->d_name);
        const int64_t *known = count == 0 ? NULL : bsearch(&number, numbers, count, sizeof number, by_number);
        if (known != NULL)
            there[known - numbers] = true;
        else if (e->d_name[0] != '.')
            unlinkat(f->directory, e->d_name, 0);
        if (number > f->last_number) /* somebody has set the clock back since */
            f->last_number = number;
    }
    closedir(d);
    return 0;
}

/* ---- reading ----------------------------------------------------------------------------------------------------- */

int files_read(const struct files *f, const struct id *job, enum file_role role, int64_t number, struct stored *out) {
    char name[NAME_SIZE];
    struct stat st;
    name_file(name, job, role, number);
    int fd = openat(f->directory, name, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    if (fstat(fd, &st) != 0 || st.st_size <= FILES_INLINE_BYTES) { /* cut off */
        close(fd);
        errno = ENOENT;
        return -1;
    }
    *out = (struct stored){NULL, fd, (size_t)st.st_size};
    return 0;
}

void stored_deinit(struct stored *s) {
    if (s->size > 0 && s->bytes == NULL && s->fd >= 0)
        close(s->fd);
    free(s->bytes);
    *s = (struct stored){NULL, -1, 0};
}

struct slice stored_slice(struct stored *s) {
    struct blob *b = NULL;
    if (s->size > 0 && s->bytes != NULL) {
        b = blob_copy(s->bytes, s->size);
    } else if (s->size > 0) {
        b = blob_file(s->fd, s->size);
        s->fd = b == NULL ? s->fd : -1;
    }
    stored_deinit(s);
    return b == NULL ? (struct slice){NULL, 0, 0} : slice_all(b);
}

static struct blob *copy_to_memfd(const struct stored *s, const void *front, size_t front_size) {
    struct blob *copy = NULL;
    char *bytes = malloc(COPY_BYTES);
    int fd = memfd_new("stored");
    if (bytes == NULL || fd < 0)
        goto out;
    for (size_t at = 0; at < s->size;) {
        ssize_t n = pread(s->fd, bytes, COPY_BYTES, (off_t)at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0 || memfd_write(fd, bytes, (size_t)n) != 0)
            goto out;
        at += (size_t)n;
    }
    if (pwrite(fd, front, front_size, 0) == (ssize_t)front_size) {
        copy = blob_seal(fd, s->size);
        fd = -1; /* blob_seal has it, or has closed it */
    }
out:
    if (fd >= 0)
        close(fd);
    free(bytes);
    return copy;
}

int stored_copy(const struct stored *s, const void *front, size_t front_size, struct slice *out) {
    *out = (struct slice){NULL, 0, 0};
    if (s->size == 0)
        return 0;
    struct blob *b = s->bytes == NULL ? copy_to_memfd(s, front, front_size) : blob_copy(s->bytes, s->size);
    if (b == NULL)
        return -1;
    if (b->fd < 0 && front_size > 0)
        memcpy(b->data, front, front_size);
    *out = slice_all(b);
    return 0;
}
