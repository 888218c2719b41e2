/* slot.c: see slot.h, which has the diagrams. Front end. */
#include "pool/slot.h"

#include <signal.h>

#include "base/state.h"

void slot_move(struct worker *w, enum worker_state to) {
    static const char *const names[WORKER_STATES] = {"empty", "starting", "ready", "retiring", "dying"};
    static const bool legal[WORKER_STATES][WORKER_STATES] = {
        [WORKER_EMPTY] = {[WORKER_STARTING] = true},
        [WORKER_STARTING] = {[WORKER_EMPTY] = true, [WORKER_READY] = true, [WORKER_DYING] = true},
        [WORKER_READY] = {[WORKER_RETIRING] = true, [WORKER_DYING] = true},
        [WORKER_RETIRING] = {[WORKER_DYING] = true},
        [WORKER_DYING] = {[WORKER_EMPTY] = true},
    };
    if (w->state != to && !legal[w->state][to])
        state_illegal_move("worker", names[w->state], names[to]);
    w->state = to;
}

void slot_set_owner(struct worker *w, enum ownership to, void *owner) {
    static const char *const names[OWNERSHIPS] = {"unowned", "isolated", "replacing"};
    static const bool legal[OWNERSHIPS][OWNERSHIPS] = {
        [UNOWNED] = {[ISOLATED] = true, [REPLACING] = true},
        [ISOLATED] = {[UNOWNED] = true},
        [REPLACING] = {[UNOWNED] = true, [ISOLATED] = true},
    };
    if (w->ownership != to && !legal[w->ownership][to])
        state_illegal_move("worker_owner", names[w->ownership], names[to]);
    w->ownership = to;
    w->owner = owner;
}

void slot_hand_over(struct worker *w, enum handover to) {
    static const char *const names[HANDOVERS] = {"none", "leaving", "succeeding"};
    static const bool legal[HANDOVERS][HANDOVERS] = {
        [HANDOVER_NONE] = {[HANDOVER_LEAVING] = true},
        [HANDOVER_LEAVING] = {[HANDOVER_NONE] = true, [HANDOVER_SUCCEEDING] = true},
        [HANDOVER_SUCCEEDING] = {[HANDOVER_NONE] = true, [HANDOVER_LEAVING] = true},
    };
    if (w->handover != to && !legal[w->handover][to])
        state_illegal_move("worker_handover", names[w->handover], names[to]);
    w->handover = to;
}

void slot_signal(struct worker *w, int signal) {
    if (w->pid > 0 && w->link != NULL)
        zygote_link_signal(w->link, w->pid, signal);
}

void slot_kill(struct worker *w, enum stop_reason reason) {
    if (w->killed == STOP_NONE)
        w->killed = reason;
    slot_move(w, WORKER_DYING);
    slot_signal(w, SIGKILL);
}
