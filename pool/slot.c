/* slot.c: see slot.h, which has the diagrams. Front end. */
#include "pool/slot.h"

#include <signal.h>

#include "base/state.h"

void slot_move(struct worker *w, enum worker_state to) {
    static const struct state_row states[WORKER_STATES] = {
        [WORKER_EMPTY] = {"empty", TO(WORKER_STARTING)},
        [WORKER_STARTING] = {"starting", TO(WORKER_EMPTY) | TO(WORKER_READY) | TO(WORKER_DYING)},
        [WORKER_READY] = {"ready", TO(WORKER_RETIRING) | TO(WORKER_DYING)},
        [WORKER_RETIRING] = {"retiring", TO(WORKER_DYING)},
        [WORKER_DYING] = {"dying", TO(WORKER_EMPTY)},
    };
    if (w->state != to)
        state_check_move("worker", states, w->state, to);
    w->state = to;
}

void slot_set_owner(struct worker *w, enum ownership to, void *owner) {
    static const struct state_row states[OWNERSHIPS] = {
        [UNOWNED] = {"unowned", TO(ISOLATED) | TO(REPLACING)},
        [ISOLATED] = {"isolated", TO(UNOWNED)},
        [REPLACING] = {"replacing", TO(UNOWNED) | TO(ISOLATED)},
    };
    if (w->ownership != to)
        state_check_move("worker_owner", states, w->ownership, to);
    w->slots->owned += (size_t)(to != UNOWNED) - (size_t)(w->ownership != UNOWNED);
    w->ownership = to;
    w->owner = owner;
}

void slot_hand_over(struct worker *w, enum handover to) {
    static const struct state_row states[HANDOVERS] = {
        [HANDOVER_NONE] = {"none", TO(HANDOVER_LEAVING)},
        [HANDOVER_LEAVING] = {"leaving", TO(HANDOVER_NONE) | TO(HANDOVER_SUCCEEDING)},
        [HANDOVER_SUCCEEDING] = {"succeeding", TO(HANDOVER_NONE) | TO(HANDOVER_LEAVING)},
    };
    if (w->handover != to)
        state_check_move("worker_handover", states, w->handover, to);
    w->handover = to;
}

bool slot_signal(struct worker *w, int signal) {
    return w->pid <= 0 || w->link == NULL || zygote_link_signal(w->link, w->pid, signal) == 0;
}

void slot_kill(struct worker *w, enum stop_reason reason) {
    if (w->killed == STOP_NONE)
        w->killed = reason;
    slot_move(w, WORKER_DYING);
    if (!slot_signal(w, SIGKILL))
        loop_set_timer(w->slots->loop, &w->spawn_timer, clock_monotonic_ns() + SLOT_RETRY_NS);
}
