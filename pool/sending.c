/* sending.c: see sending.h. Front end. */
#include "pool/sending.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/log.h"

int sending_open(struct worker *w) {
    w->wants_write = false;
    return wire_open_writer(&w->writer);
}

void sending_close(struct worker *w) {
    for (size_t i = 0; i < w->backlog_count; i++)
        wire_close_writer(&w->backlog[i]);
    free(w->backlog);
    w->backlog = NULL;
    w->backlog_count = w->backlog_room = 0;
    wire_close_writer(&w->writer);
}

static void want_write(struct worker *w, bool want) {
    if (w->wants_write == want)
        return;
    w->wants_write = want;
    loop_rewatch(w->slots->loop, &w->watch, want ? EPOLLIN | EPOLLOUT : EPOLLIN);
}

/* Puts the datagram behind the backlog, and begins another one. */
static void queue_datagram(struct worker *w) {
    struct wire_writer next;
    if (GROW_ARRAY(&w->backlog, w->backlog_count, &w->backlog_room) != 0 || wire_open_writer(&next) != 0) {
        wire_drop(&w->writer);
        slot_kill(w, STOP_MEMORY);
        return;
    }
    w->backlog[w->backlog_count++] = w->writer;
    w->writer = next;
    want_write(w, true);
}

void sending_flush(struct worker *w) {
    if (w->watch.fd < 0)
        return;
    if (w->backlog_count == 0 && wire_flush(&w->writer, w->watch.fd) == 0)
        return;
    if (w->backlog_count > 0 || errno == EAGAIN) {
        queue_datagram(w);
        return;
    }
    /* The worker cannot get it: drop it. EPIPE and ECONNRESET: the process is gone, and the zygote will report that.
     * With any other error (no memory, too many descriptors in flight) it lives, and would never answer these tasks. */
    if (errno != EPIPE && errno != ECONNRESET) {
        LOG(LOG_ERROR, "send_failed", LOG_INT("worker", w->slot), LOG_STR("error", strerror(errno)));
        slot_kill(w, STOP_NONE);
    }
    wire_drop(&w->writer);
}

void sending_put_after_flush(struct worker *w, const struct wire_header *h, const void *front, size_t front_size,
                             const struct slice *payload) {
    struct slice large = {NULL, 0, 0};
    if (w->writer.frames > 0)
        sending_flush(w);
    if (!slice_is_bulk(payload) && payload->size > WIRE_MAX_INLINE) {
        struct blob *b = blob_copy_sealed("offload-task", slice_heap(payload), payload->size);
        if (b != NULL)
            large = slice_all(b);
        payload = &large;
    }
    bool bulk = slice_is_bulk(payload);
    int rc = payload == &large && !bulk ? -1
             : bulk                     ? wire_put(&w->writer, h, front, front_size, NULL, 0, payload)
                    : wire_put(&w->writer, h, front, front_size, slice_heap(payload), payload->size, NULL);
    slice_deinit(&large);
    if (rc == 0)
        return;
    LOG(LOG_ERROR, "send_failed", LOG_INT("worker", w->slot), LOG_STR("error", "there is no memory for the task"));
    slot_kill(w, STOP_MEMORY);
}

void sending_resume(struct worker *w) {
    size_t sent = 0;
    while (sent < w->backlog_count && wire_flush(&w->backlog[sent], w->watch.fd) == 0)
        wire_close_writer(&w->backlog[sent++]);
    if (sent > 0)
        memmove(w->backlog, w->backlog + sent, (w->backlog_count - sent) * sizeof *w->backlog);
    w->backlog_count -= sent;
    if (w->backlog_count > 0)
        return;
    want_write(w, false);
    w->slots->events.can_send(w->slots->events.arg, w);
}
