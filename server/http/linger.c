/* linger.c: see linger.h. Front end. */
#include "server/http/linger.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>
#include <utlist.h>

#include "base/clock.h"
#include "base/container.h"

#define MAX_LINGERS   1024
#define LINGER_NS     NS_PER_S
#define MAX_DROPPED   (16 * 1024 * 1024) /* more than the buffers of both sockets hold */
#define MAX_READS     16                 /* before the loop goes on */
#define DROP_PER_READ 16384

struct lingering {
    struct lingers *all;
    struct watch watch;
    struct timer timer;
    size_t dropped;
    struct lingering *prev, *next;
};

static void end(struct lingering *l) {
    DL_DELETE(l->all->all, l);
    l->all->count--;
    loop_unwatch(l->all->loop, &l->watch);
    loop_clear_timer(l->all->loop, &l->timer);
    close(l->watch.fd);
    free(l);
}

static void on_timer(struct timer *t) {
    end(container_of(t, struct lingering, timer));
}

static void on_ready(struct watch *w, uint32_t events) {
    struct lingering *l = container_of(w, struct lingering, watch);
    char dropped[DROP_PER_READ];
    ssize_t n = 1;
    (void)events;
    for (int i = 0; i < MAX_READS && n > 0; i++) {
        n = recvfrom(w->fd, dropped, sizeof dropped, MSG_DONTWAIT, NULL, NULL);
        l->dropped += n > 0 ? (size_t)n : 0;
    }
    if (n == 0 || l->dropped > MAX_DROPPED)
        end(l);
    else if ((events & (EPOLLERR | EPOLLHUP)) != 0)
        end(l);
}

void linger_begin(struct lingers *all, int fd) {
    struct lingering *l = NULL;
    shutdown(fd, SHUT_WR);
    int copy = all->count < MAX_LINGERS ? fcntl(fd, F_DUPFD_CLOEXEC, 3) : -1;
    if (copy >= 0)
        l = calloc(1, sizeof *l);
    if (l == NULL) {
        if (copy >= 0)
            close(copy);
        return;
    }
    l->all = all;
    l->watch = (struct watch){copy, on_ready};
    l->timer.fire = on_timer;
    DL_APPEND(all->all, l);
    all->count++;
    loop_set_timer(all->loop, &l->timer, clock_monotonic_ns() + LINGER_NS);
    if (loop_watch(all->loop, &l->watch, EPOLLIN | EPOLLRDHUP) != 0)
        end(l);
}

void linger_end_all(struct lingers *all) {
    while (all->all != NULL)
        end(all->all);
}
