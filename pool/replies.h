/* replies.h: what a worker sends: the replies to its tasks, gathered into datagrams, and what the tasks log. Worker.
 *
 * Replies leave when the datagram is full, with replies_flush, and with the first one that comes after FLUSH_NS from
 * the arrival of the tasks. So tiny tasks share a system call. */
#ifndef OFFLOAD_REPLIES_H
#define OFFLOAD_REPLIES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "handlers/host/host.h"
#include "pool/scoreboard.h"
#include "pool/wire.h"

/* The result of a task: times and a body, or a fault. */
struct outcome {
    uint8_t kind;
    struct wire_times times;
    struct buf body;           /* WIRE_PLANNED: struct wire_plan and so on; WIRE_DONE: part or result */
    struct buf rest;           /* what follows the body; it is apart, because a copy of it could be large */
    struct host_output output; /* attachments, a part or a result that is not JSON */
    struct fault fault;
};

/* Ends the process, without memory or because the front end broke the protocol. The front end reports the task as lost,
 * and starts another worker. The replies to the tasks before it are lost with it: the scoreboard says that these are
 * done, so that they do not count as the cause. */
_Noreturn void worker_die(void);

/* Comes first. Both are borrowed. */
void replies_open(int socket, const struct scoreboard_slot *board);
/* A datagram with tasks has arrived. */
void replies_tasks_arrived(void);
/* A task, or a batch of them, begins. tiny: it does not wait for the replies before it to leave, and what it logs leaves
 * with its reply. Otherwise those replies leave now, and each log at once. */
void replies_begin(bool tiny);
/* The task of that ticket logs a text. */
void replies_log(uint64_t ticket, const char *text, size_t size);
/* A process that worked for the task of that ticket, and for others, has died. */
void replies_died(uint64_t ticket, const struct host_loss *how);
/* Puts a reply into the datagram, and frees the outcome. wall_ns: how long the task took. Returns the bytes of a reply
 * that is so large that it travels as a memfd, which is sent with the next replies_flush; otherwise 0. */
size_t replies_add(uint64_t ticket, struct outcome *o, int64_t wall_ns);
/* A reply without anything: WIRE_READY, WIRE_PONG. */
void replies_sign(uint64_t ticket, uint8_t kind);
void replies_flush(void);
/* The same, if the first of them has waited for FLUSH_NS, or if it is large. */
void replies_flush_due(int64_t now_ns, bool large);

#endif
