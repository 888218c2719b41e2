/* file_watch.c: see file_watch.h. Front end. It watches the directories, because editors and compilers make a new file
 * and rename it. */
#include "server/file_watch.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "base/array.h"
#include "base/clock.h"
#include "base/container.h"

#define QUIET_NS (200 * NS_PER_MS) /* a series of changes is over when there was none for so long */

struct watched {
    int directory; /* the descriptor of inotify_add_watch */
    char *name;    /* in it */
};

struct file_watch {
    struct loop *loop;
    struct watch watch;
    struct timer timer;
    void (*changed)(void *arg);
    void *arg;
    struct watched *files;
    size_t count, room;
};

static bool is_watched(const struct file_watch *f, const struct inotify_event *e) {
    for (size_t i = 0; i < f->count; i++)
        if (f->files[i].directory == e->wd && e->len > 0 && strcmp(f->files[i].name, e->name) == 0)
            return true;
    return false;
}

static void on_events(struct watch *w, uint32_t events) {
    struct file_watch *f = container_of(w, struct file_watch, watch);
    _Alignas(struct inotify_event) char buffer[4096];
    ssize_t size;
    (void)events;
    while ((size = read(w->fd, buffer, sizeof buffer)) > 0) {
        for (char *at = buffer; at < buffer + size;) {
            const struct inotify_event *e = (const void *)at;
            if ((e->mask & IN_Q_OVERFLOW) != 0 || is_watched(f, e))
                loop_set_timer(f->loop, &f->timer, clock_monotonic_ns() + QUIET_NS);
            at += sizeof *e + e->len;
        }
    }
}

static void on_quiet(struct timer *t) {
    struct file_watch *f = container_of(t, struct file_watch, timer);
    f->changed(f->arg);
}

struct file_watch *file_watch_new(struct loop *loop, void (*changed)(void *arg), void *arg) {
    struct file_watch *f = calloc(1, sizeof *f);
    int fd = f == NULL ? -1 : inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    if (fd < 0) {
        free(f);
        return NULL;
    }
    *f = (struct file_watch){
        .loop = loop, .watch = {fd, on_events}, .timer = {.fire = on_quiet}, .changed = changed, .arg = arg};
    if (loop_watch(loop, &f->watch, EPOLLIN) == 0)
        return f;
    int error = errno;
    close(fd);
    free(f);
    errno = error;
    return NULL;
}

int file_watch_add(struct file_watch *f, const char *path) {
    const char *slash = strrchr(path, '/');
    char directory[PATH_MAX] = ".";
    size_t size = slash == NULL ? 0 : slash == path ? 1 : (size_t)(slash - path);
    if (size >= sizeof directory) {
        errno = ENAMETOOLONG;
        return -1;
    }
    if (size > 0) {
        memcpy(directory, path, size);
        directory[size] = '\0';
    }
    if (GROW_ARRAY(&f->files, f->count, &f->room) != 0)
        return -1;
    int wd = inotify_add_watch(f->watch.fd, directory, IN_CLOSE_WRITE | IN_MOVED_TO);
    char *name = wd < 0 ? NULL : strdup(slash == NULL ? path : slash + 1);
    if (name == NULL)
        return -1;
    f->files[f->count++] = (struct watched){wd, name};
    return 0;
}

void file_watch_free(struct file_watch *f) {
    if (f == NULL)
        return;
    loop_clear_timer(f->loop, &f->timer);
    loop_unwatch(f->loop, &f->watch);
    close(f->watch.fd);
    for (size_t i = 0; i < f->count; i++)
        free(f->files[i].name);
    free(f->files);
    free(f);
}
