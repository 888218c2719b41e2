/* wire.h: what the front end, the zygote and the workers say to each other. All ends use this one definition.
 *
 * Each worker has a SOCK_SEQPACKET Unix socket pair, see unix(7). A datagram holds 1..WIRE_MAX_FRAMES frames, one
 * behind the other. A frame is a header and `length` bytes inline, padded with zeros to a multiple of 8:
 *
 *     datagram   | header | inline bytes ..pad | header | inline bytes ..pad | ...      <= WIRE_MAX_DATAGRAM
 *     ancillary  | one descriptor, only if the single frame has WIRE_BULK |
 *
 *     OFFSET SIZE  FIELD       MEANING
 *        0     1   version     WIRE_VERSION; anything else, and the peer is dropped
 *        1     1   kind        enum wire_kind; one that the receiver does not take is an error, never skipped
 *        2     2   flags       WIRE_* bits; unknown ones are an error
 *        4     4   length      inline bytes behind this header, without padding
 *        8     8   ticket      the front end's number for this task on this worker, from 1 up; replies
 *                              repeat it, in the order in which the tasks were sent
 *       16     8   bulk_offset \ with WIRE_BULK: the part of the memfd that is meant;
 *       24     8   bulk_size   / without: both 0
 *       32     4   type        index of the handler (WIRE_PLAN without WIRE_RAW or with WIRE_PARAMS, WIRE_RUN,
 *                              WIRE_MERGE); WIRE_ATTACHMENT: which one of its job it is
 *       36     4   attempt     WIRE_RUN: how often this chunk was lost before
 *       40     4   count       WIRE_PLAN: chunks wanted (with WIRE_RAW: nesting allowed); WIRE_MERGE: parts to follow
 *       44     4   attachments WIRE_PLAN, WIRE_RUN, WIRE_MERGE, WIRE_PLANNED, WIRE_PARSED: how many attachments of this ticket
 *                              have come before
 *       48     8   budget_ns   WIRE_PLAN with WIRE_GO: run at once if the plan has one chunk that costs no more;
 *                              WIRE_RUN: what the plan says that the chunk costs
 *       56     8   deadline_ms WIRE_PLAN, WIRE_RUN, WIRE_MERGE: when the job will be stopped, in ms since 1970; 0: that is
 *                              not known
 *
 * A bulk payload is a memfd that is sealed against shrinking, growing and writing, so that a mapping of it can neither
 * fault nor change under the reader. A frame with a bulk payload travels alone in its datagram. Two flags of attachments
 * ask for less: one with WIRE_OWN is not sealed against writing, because the job may change it, and one with
 * WIRE_UNSEALED is a file, or memory of a client: to read it can raise SIGBUS, which a worker may die of.
 *
 *     front end -> worker                                       worker -> front end
 *     WIRE_PLAN   params (packed), or the whole body with       WIRE_READY    once, first; no ticket
 *                 WIRE_RAW; inline or bulk                     WIRE_PLANNED  struct wire_plan, inline or bulk
 *     WIRE_RUN    u32 n, n bytes of common, padded to 8;        WIRE_DONE     struct wire_times, inline; then the
 *                 then the chunk, inline or bulk.                             part or the result, inline or bulk. With
 *                 With WIRE_GO: merge the one part, too                       WIRE_BINARY struct wire_binary stands
 *                                                                             between them
 *                                                              WIRE_FAILED   a fault as JSON, inline
 *     WIRE_MERGE  common, as above; `count` WIRE_PARTs          WIRE_CANCELLED
 *     WIRE_PART   one part, inline or bulk; same ticket         WIRE_PONG     answers WIRE_PING
 *     WIRE_ATTACHMENT  u32 n, n bytes of media type, padded    WIRE_MADE     an attachment that the plan has made: a
 *                 to 8; then the data, inline or bulk. It has                 memfd with WIRE_OWN, or inline. It has
 *                 the ticket of the task that follows                         the ticket of the reply that follows
 *     WIRE_PING   asks for a sign of life                       WIRE_PARSED   to WIRE_RAW, of a job that must not be
 *                                                                             planned in this process: struct wire_plan
 *                                                                             without chunks, then the packed params
 *     WIRE_EXIT   finish what came before, then exit           WIRE_LOST    struct wire_loss, inline; then the last words
 *                                                              WIRE_LOG     1..WIRE_MAX_LOG bytes of text, inline: it
 *                                                                           answers nothing, and is for the log of a job
 *
 * A WIRE_LOST answers a task whose attempt is lost, though the worker lives (call_lost). A WIRE_LOG has the ticket of any
 * task that is not answered yet; it can come before the replies to the tasks in front of that. So has a WIRE_DIED, which
 * is as a WIRE_LOST, but answers nothing: a process has died that worked for several tasks (call_process_died).
 *
 * In a WIRE_RUN of a map, common is the list of the group's poison items, see host_run_items.
 *
 * WIRE_PLAN, WIRE_RUN and WIRE_MERGE have WIRE_ITEMS if the job is a map: its params are a list, its chunks groups of
 * items, and its parts struct item_entry (handlers/host/host.h). With WIRE_RAW the worker finds that out. What it has
 * found in the body travels as bytes that only the host writes and reads (host_parse_raw, host_read_submission).
 *
 * The front end and the zygote have a socket pair of their own: one struct per datagram, see below.
 *
 * To change the wire, change the table and raise WIRE_VERSION. Both ends are one binary, but the store has plans of
 * earlier versions: a plan of another version is made again from its request.
 */
#ifndef OFFLOAD_WIRE_H
#define OFFLOAD_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/attributes.h"
#include "pool/blob.h"

#define WIRE_VERSION       11
#define WIRE_MAX_FRAMES    16
#define WIRE_MAX_DATAGRAM  (256 * 1024)
#define WIRE_MAX_INLINE    (64 * 1024) /* a larger payload goes as bulk */
#define WIRE_MAX_LOG       (16 * 1024) /* text of one WIRE_LOG */
#define WIRE_MAX_IN_FLIGHT 64          /* tasks sent to a worker and not answered */
#define WIRE_MAX_SUMMARY   (32 * 1024) /* bytes of the summary of a result that is not JSON */

enum wire_kind {
    WIRE_PLAN = 1,
    WIRE_RUN,
    WIRE_MERGE,
    WIRE_PART,
    WIRE_PING,
    WIRE_EXIT,
    WIRE_ATTACHMENT,
    WIRE_READY = 32,
    WIRE_PLANNED,
    WIRE_DONE,
    WIRE_FAILED,
    WIRE_CANCELLED,
    WIRE_PONG,
    WIRE_PARSED,
    WIRE_LOG,
    WIRE_LOST,
    WIRE_MADE,
    WIRE_DIED
};

enum {                     /* flags */
       WIRE_BULK = 1,      /* with a descriptor */
       WIRE_RAW = 2,       /* WIRE_PLAN: the body of the request, not yet parsed */
       WIRE_GO = 4,        /* WIRE_PLAN: run and merge at once if cheap; WIRE_RUN: merge, too */
       WIRE_ITEMS = 8,     /* WIRE_PLAN, WIRE_RUN, WIRE_MERGE: of a map */
       WIRE_HASH = 16,     /* with WIRE_RAW: hash the request, too */
       WIRE_OWN = 32,      /* WIRE_ATTACHMENT, WIRE_MADE: the job can write to it */
       WIRE_UNSEALED = 64, /* WIRE_ATTACHMENT: its size can change */
       WIRE_BINARY = 128,  /* WIRE_DONE: the result is not JSON */
       WIRE_SHARED = 256,  /* with WIRE_UNSEALED: it is memory of a client, so a result is never a piece of it */
       WIRE_PARAMS = 512,  /* with WIRE_RAW: the body is the params of a call of `type` */
       WIRE_ACCEPTS = 1024 /* with WIRE_RAW: the common bytes are the client's media ranges (struct host_range) */
};

struct wire_header {
    uint8_t version, kind;
    uint16_t flags;
    uint32_t length;
    uint64_t ticket;
    uint64_t bulk_offset, bulk_size;
    uint32_t type, attempt, count, attachments;
    uint64_t budget_ns;
    int64_t deadline_ms;
};
_Static_assert(sizeof(struct wire_header) == 64 && offsetof(struct wire_header, ticket) == 8 &&
                   offsetof(struct wire_header, type) == 32 && offsetof(struct wire_header, deadline_ms) == 56,
               "the header has no padding");

/* The longest time that is believed, of one task or of a whole job: some 36 years. A few of them can be added. */
#define WIRE_MAX_TIME_NS (INT64_MAX / 8)

/* Front of a WIRE_DONE. */
struct wire_times {
    uint64_t plan_ns, run_ns, merge_ns, cpu_ns;
};

/* Behind the times of a WIRE_DONE with WIRE_BINARY. It is followed by the media type and the summary, each padded to 8,
 * and by the bytes of a WIRE_FROM_BODY that are inline. */
struct wire_binary {
    uint32_t source;                   /* enum wire_source: where the bytes are */
    uint32_t index;                    /* of the part or the attachment */
    uint64_t offset, size;             /* which piece of it */
    uint32_t media_size, summary_size; /* bytes; at most HANDLER_MAX_MEDIA_TYPE, and WIRE_MAX_SUMMARY */
};
_Static_assert(sizeof(struct wire_binary) == 4 * 4 + 2 * 8, "there is no padding");
enum wire_source { WIRE_FROM_BODY = 1, WIRE_FROM_PART, WIRE_FROM_ATTACHMENT };

/* Front of a WIRE_PARSED and of a WIRE_PLANNED. It is followed by: `chunks` times struct wire_chunk; common_size bytes,
 * padded to 8; submission_size bytes, padded to 8; and the chunks' bytes, from which the chunks' offsets count. A
 * WIRE_PARSED has no chunks, and the packed params in the place of their bytes. */
struct wire_plan {
    uint32_t type, chunks, common_size;
    uint32_t submission_size; /* WIRE_RAW: what was found in the body, for host_read_submission; else 0 */
    uint64_t plan_ns, cpu_ns;
};
_Static_assert(sizeof(struct wire_plan) == 4 * 4 + 2 * 8, "what follows is aligned to 8");
struct wire_chunk {
    uint64_t cost_ns, offset, size;
    uint32_t attachment_first, attachment_count; /* which attachments go with it; UINT32_MAX: all from there on */
};

/* Front of a WIRE_LOST or WIRE_DIED. It is followed by at most HANDLER_MAX_LAST_WORDS bytes of text. */
struct wire_loss {
    uint32_t cause;            /* enum host_cause, but not HOST_NOT_LOST */
    int32_t signal, exit_code; /* as in struct call_loss */
    uint32_t reserved;         /* 0 */
    uint64_t max_rss_bytes, cpu_ms;
    uint64_t steps; /* that the task had reported as done, see call_progress; of a map: at which item it was */
};
_Static_assert(sizeof(struct wire_loss) == 4 * 4 + 3 * 8, "there is no padding");

/* ---- zygote ------------------------------------------------------------------------------------------------------ */

#define START_FORKED UINT32_MAX /* a start type: forked by the zygote after it has loaded */

enum zygote_request_kind { ZYGOTE_SPAWN = 1, ZYGOTE_SIGNAL };
struct zygote_request {
    uint32_t version, kind;
    uint32_t slot, nice; /* ZYGOTE_SPAWN: what is added to the nice value of the service */
    uint32_t start_type; /* ZYGOTE_SPAWN: START_FORKED, or the handler that the process is to load by itself */
    int32_t pid, signal; /* ZYGOTE_SIGNAL */
};

enum zygote_report_kind {
    ZYGOTE_LOADED = 1,  /* the types are loaded; it forks workers from now on. If some are not built in, twice the
                           descriptor of a sealed memfd that describes them (host_take_described) */
    ZYGOTE_LOAD_FAILED, /* `text` says in one line what could not be loaded, and why */
    ZYGOTE_SPAWNED,     /* with two descriptors: the worker's socket, and the reading end of its stderr */
    ZYGOTE_NOT_SPAWNED, /* fork failed: status is errno */
    ZYGOTE_EXITED,      /* a worker is reaped */
    ZYGOTE_STDERR,      /* with two descriptors: both ends of a pipe, which is its stdout and stderr from now on */
    ZYGOTE_LOADING      /* it begins to load what `text` names: the source of some types */
};
struct zygote_report {
    uint32_t version, kind;
    uint32_t slot;
    int32_t pid;
    int32_t status; /* ZYGOTE_EXITED: as waitpid(2) gives it; ZYGOTE_NOT_SPAWNED: an errno */
    uint32_t oom;   /* the kernel's OOM killer was at work in our cgroup since the last report */
    uint64_t max_rss_bytes, cpu_ms;
    char text[1024];
};

/* On the supply socket from a worker to its zygote: asks for a process of a program. The answers are struct program_news
 * (handlers/program/programs.h). */
struct program_request {
    uint32_t version, program;
};

/* ---- both ends --------------------------------------------------------------------------------------------------- */

#define WIRE_PAD(n) (((size_t)(n) + 7) & ~(size_t)7)

/* Walks the frames of a received datagram. */
struct wire_reader {
    const unsigned char *data;
    size_t size, offset;
    unsigned frames;
    int fd; /* came with the datagram, or -1; the reader's until wire_take_bulk takes it */
};

/* One frame of it; `inlined` points into the datagram. */
struct wire_frame {
    struct wire_header header;
    const unsigned char *inlined;
};

/* Receives one datagram into `buffer` of WIRE_MAX_DATAGRAM bytes, which the reader borrows. 1: there is one; call
 * wire_close_reader at the end. 0: the peer has closed its end. -1 with errno: EAGAIN if there is none, or EPROTO if it
 * is too long or has more than one descriptor (they are closed). */
MUST_CHECK int wire_receive(int socket, unsigned char *buffer, struct wire_reader *r);
/* 1 and the next frame; 0 at the end; -1 if the bytes break the rules above. */
MUST_CHECK int wire_next(struct wire_reader *r, struct wire_frame *f);
/* The bulk payload of a frame that has one. Checks the seals that its flags ask for, and that offset and size lie within. 0, and the caller
 * deinits the slice; or -1. */
MUST_CHECK int wire_take_bulk(struct wire_reader *r, const struct wire_frame *f, struct slice *bulk);
/* What a frame carries: a reference to its bulk payload, if it has one; else a copy of its inline bytes from `front`
 * on, which must not be beyond their end. Empty if memory ran out. */
MUST_CHECK struct slice wire_payload(const struct wire_frame *f, const struct slice *bulk, size_t front);
void wire_close_reader(struct wire_reader *r); /* closes a descriptor that was not taken */

bool wire_is_request(uint8_t kind); /* a kind that the front end sends */
bool wire_is_reply(uint8_t kind);   /* a kind that a worker sends */

/* Builds a datagram. It is empty again after wire_flush. */
struct wire_writer {
    unsigned char *data; /* WIRE_MAX_DATAGRAM bytes */
    size_t size;
    unsigned frames;
    struct slice bulk; /* of the single frame that has one */
};
MUST_CHECK int wire_open_writer(struct wire_writer *w); /* 0, or -1: out of memory */
void wire_close_writer(struct wire_writer *w);
/* True if a frame with this many inline bytes (and a bulk payload) still fits in. An empty writer takes any frame
 * within the limits. */
MUST_CHECK bool wire_fits(const struct wire_writer *w, size_t inline_size, bool bulk);
/* Adds a frame; version and length are filled in. Its inline bytes are `first` and then `second`, which are copied.
 * bulk: NULL, or a memfd slice, of which a reference is taken. 0; or -1 if wire_fits says no: then nothing is added. */
MUST_CHECK int wire_put(struct wire_writer *w, const struct wire_header *h, const void *first, size_t first_size,
                        const void *second, size_t second_size, const struct slice *bulk);
void wire_drop(struct wire_writer *w); /* empties it; what it had is not sent */
/* Sends and empties. 0, or -1 with errno (EAGAIN: nothing was sent, try again later). */
MUST_CHECK int wire_flush(struct wire_writer *w, int socket);

/* Control messages of a fixed size, with two descriptors or none (fds NULL to send none; both -1 if none came). The
 * sender keeps its descriptors; the receiver closes what it gets. If it has no room for them (EMFILE), it gets the
 * message with both -1. wire_send_control: 0, or -1 with errno.
 * wire_receive_control: 1, 0 or -1 as wire_receive. */
MUST_CHECK int wire_send_control(int socket, const void *message, size_t size, const int fds[2]);
MUST_CHECK int wire_receive_control(int socket, void *message, size_t size, int fds[2]);

#endif
