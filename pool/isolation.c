/* isolation.c: see isolation.h. Front end. */
#include "pool/isolation.h"

#include "pool/retiring.h"
#include "pool/worker_view.h"

bool pool_isolate_worker(struct worker *w, void *owner, uint32_t start_type) {
    if (worker_is_unused(w) && w->start_type == start_type) {
        slot_set_owner(w, ISOLATED, owner);
        return true;
    }
    slot_set_owner(w, REPLACING, owner);
    w->start_type = start_type;
    retiring_begin(w);
    return false;
}

void pool_release_worker(struct worker *w) {
    bool is_forked = w->start_type == START_FORKED;
    slot_set_owner(w, UNOWNED, NULL);
    if (w->state == WORKER_READY && !(is_forked && worker_is_unused(w)))
        retiring_begin(w);
    else if (w->state == WORKER_STARTING && !is_forked &&
             w->pid > 0) /* without a pid it is killed when it is adopted */
        retiring_abandon_start(w);
    else if (w->state == WORKER_EMPTY)
        w->start_type = START_FORKED;
}

void isolation_process_adopted(struct worker *w) {
    if (w->start_type != START_FORKED && w->ownership == UNOWNED)
        retiring_abandon_start(w);
}

void isolation_process_ended(struct worker *w, const struct death *d) {
    const struct pool_events *e = &w->slots->events;
    bool failed_start = w->start_type != START_FORKED && w->ready_ns == 0;
    void *owner = w->owner;
    if (w->ownership == REPLACING) {
        slot_set_owner(w, ISOLATED, owner);
        return;
    }
    slot_set_owner(w, UNOWNED, NULL);
    w->start_type = START_FORKED;
    if (owner != NULL)
        e->isolation_ended(e->arg, w, owner, failed_start ? d : NULL);
}
