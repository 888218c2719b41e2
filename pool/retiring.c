/* retiring.c: see retiring.h. Front end. */
#include "pool/retiring.h"

#include "pool/sending.h"
#include "pool/worker_view.h"

static void send_exit_if_idle(struct worker *w) {
    struct wire_header h = {.kind = WIRE_EXIT};
    if (w->count > 0)
        return;
    sending_put(w, &h, NULL, 0, &no_payload);
    sending_flush(w);
}

void retiring_begin(struct worker *w) {
    if (w->state != WORKER_READY)
        return;
    slot_move(w, WORKER_RETIRING);
    slot_hand_over(w, HANDOVER_LEAVING);
    send_exit_if_idle(w);
}

void retiring_continue(struct worker *w) {
    const struct pool_config *c = &w->slots->config;
    if (w->state == WORKER_RETIRING) {
        send_exit_if_idle(w);
        return;
    }
    bool many = c->max_jobs_per_worker > 0 && w->answered >= c->max_jobs_per_worker;
    /* Only after it has answered a task: otherwise a limit that is too low would replace it for ever. */
    bool large = c->max_worker_rss > 0 && w->answered > 0 && worker_rss(w) > c->max_worker_rss;
    if (many || large)
        retiring_begin(w);
}

void retiring_abandon_start(struct worker *w) {
    slot_hand_over(w, HANDOVER_LEAVING);
    slot_kill(w, STOP_CANCEL);
}
