/* tasks.c: see tasks.h. Front end. */
#include "pool/tasks.h"

#include <string.h>
#include <utlist.h>

#include "handlers/host/host.h"
#include "pool/held_back.h"
#include "pool/memory_limit.h"
#include "pool/sending.h"
#include "pool/stopping.h"
#include "pool/worker_view.h"

static void mark_unflushed(struct worker *w) {
    if (w->is_unflushed)
        return;
    w->is_unflushed = true;
    DL_APPEND2(w->slots->unflushed, w, prev_unflushed, next_unflushed);
}

static uint16_t attachment_flags(enum blob_seals seals, bool own) {
    switch (seals) {
    case BLOB_SEALED: break;
    case BLOB_SIZED: return own ? WIRE_OWN : WIRE_UNSEALED;
    case BLOB_FILE: return WIRE_UNSEALED;
    case BLOB_SHARED: return own ? WIRE_OWN | WIRE_UNSEALED | WIRE_SHARED : WIRE_UNSEALED | WIRE_SHARED;
    }
    return 0;
}

/* It travels in front of its task. */
static void send_attachment(struct worker *w, uint64_t ticket, const struct pool_attachment *a) {
    _Alignas(4) unsigned char front[8 + WIRE_PAD(HANDLER_MAX_MEDIA_TYPE)] = {0};
    const char *media_type = a->media_type == NULL ? "" : a->media_type;
    uint32_t size = (uint32_t)strnlen(media_type, HANDLER_MAX_MEDIA_TYPE);
    struct wire_header h = {.kind = WIRE_ATTACHMENT, .ticket = ticket, .type = a->index};
    memcpy(front, &size, sizeof size);
    memcpy(front + 8, media_type, size);
    if (slice_is_bulk(&a->bytes))
        h.flags = attachment_flags(a->bytes.blob->seals, a->own);
    sending_put(w, &h, front, 8 + WIRE_PAD(size), &a->bytes);
}

uint64_t pool_send_task(struct worker *w, const struct pool_task *t) {
    struct wire_header header = t->header;
    header.ticket = slot_push_task(w, t->owner, t->is_long)->ticket;
    w->type = header.type;
    mark_unflushed(w);
    header.attachments = t->attachment_count;
    for (uint32_t i = 0; i < t->attachment_count; i++)
        send_attachment(w, header.ticket, &t->attachments[i]);
    sending_put(w, &header, t->front, t->front_size, &t->payload);
    if (w->slots->config.max_job_memory > 0)
        memory_limit_watch(w->slots);
    if (!t->is_long)
        held_back_watch(w->slots);
    return header.ticket;
}

void pool_send_part(struct worker *w, uint64_t ticket, const struct slice *part) {
    struct wire_header h = {.kind = WIRE_PART, .ticket = ticket};
    mark_unflushed(w);
    sending_put(w, &h, NULL, 0, part);
}

void pool_flush(struct worker *w) {
    if (w->writer.frames > 0)
        sending_flush(w);
}

void tasks_flush_all(struct slots *s) {
    while (s->unflushed != NULL) {
        struct worker *w = s->unflushed;
        DL_DELETE2(s->unflushed, w, prev_unflushed, next_unflushed);
        w->is_unflushed = false;
        pool_flush(w);
    }
}

void pool_ping(struct worker *w) {
    struct wire_header h = {.kind = WIRE_PING};
    if (!worker_takes_tasks(w) || !worker_can_send(w)) /* nothing must come between the parts of a merge */
        return;
    h.ticket = slot_push_task(w, NULL, false)->ticket;
    sending_put(w, &h, NULL, 0, &no_payload);
    sending_flush(w);
}

bool pool_stop_task(struct worker *w, uint64_t ticket, enum stop_reason reason) {
    for (unsigned i = 0; i < w->count; i++) {
        struct in_flight *f = slot_task(w, i);
        if (f->ticket != ticket)
            continue;
        atomic_store(&w->board->cancelled[ticket % WIRE_MAX_IN_FLIGHT], ticket);
        slot_stop_task(w, f, reason);
        if (f != slot_front_task(w)) {
            f->task = NULL;
            return false;
        }
        stopping_press(w);
        return true;
    }
    return false;
}

bool pool_task_is_held_back(struct worker *w, uint64_t ticket) {
    const struct in_flight *front = slot_front_task(w);
    return front != NULL && ticket != front->ticket && ticket >= slot_task(w, 0)->ticket && ticket <= w->next_ticket;
}

double pool_progress(const struct worker *w, uint64_t ticket) {
    uint64_t total = atomic_load_explicit(&w->board->total, memory_order_relaxed);
    uint64_t done = atomic_load_explicit(&w->board->done, memory_order_relaxed);
    if (atomic_load_explicit(&w->board->current, memory_order_relaxed) != ticket || total == 0)
        return 0;
    return done >= total ? 1 : (double)done / (double)total;
}

uint64_t pool_steps(const struct worker *w, uint64_t ticket) {
    if (atomic_load_explicit(&w->board->current, memory_order_relaxed) != ticket)
        return 0;
    return atomic_load_explicit(&w->board->done, memory_order_relaxed);
}
