/* host.h: the handlers' side of the service, as the rest of offload sees it: which job types there
 * are, how a submission is checked, and how a task is done. Bytes in, bytes out; nothing of
 * HTTP, of sockets or of the pool.
 *
 * The front end uses it to check small submissions and to describe the types; a worker uses it to check
 * large submissions and to do the work. All functions may be called from one thread per process.
 */
#ifndef OFFLOAD_HOST_H
#define OFFLOAD_HOST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attributes.h"
#include "base/buf.h"
#include "handlers/handler.h"
#include "handlers/host/fault.h"
#include "handlers/host/options.h"

/* ---- registry: registry.c ---------------------------------------------------------------------- */

/* Makes the list of types for this process; test types only if asked for. Before anything else. */
void host_init(bool test_types);
size_t host_count(void);
const struct handler *host_handler(size_t type); /* NULL beyond host_count() */
int host_find(const char *name);                 /* index, or -1 */
/* Zygote: calls every load. 0, or -1 with the failing type's name in *failed. */
MUST_CHECK int host_load(const char **failed);
/* A process made for one type (HANDLER_SPAWN, which host_load leaves out): calls its load. 0 or -1. */
MUST_CHECK int host_load_type(size_t type);

/* ---- submissions: submission.c, options.c and raw.c -------------------------------- */

#define HOST_MAX_ITEMS 1000000 /* of one map */

struct submission {
    uint32_t type;
    bool map; /* one call for each item, instead of one */
    uint32_t items;
    struct submission_options options;
    struct buf params; /* packed: checked, with fallbacks filled in. For host_plan, or for host_plan_items if `map` */
};

/* Parses and checks the body of POST /v1/jobs: {"type","params" or "items","options"}, strict JSON (RFC 8259),
 * at most max_depth deep, unknown members are rejected by name. 0, or -1 with *fault filled (all faults at once). An
 * item that is wrong is no fault of the submission: it is packed as one that has failed. submission_deinit frees
 * in both cases. */
MUST_CHECK int submission_parse(const void *json, size_t size, unsigned max_depth, struct submission *s,
                                struct fault *fault);
void submission_deinit(struct submission *s);

/* A raw body that a worker parsed: what the worker needs for the plan, and what the front end wants to know of it. */
struct host_parsed {
    uint32_t type;
    bool map;               /* to be planned by host_plan_items */
    bool isolated;          /* it must not be planned in this process */
    unsigned wanted_chunks; /* for the plan */
    struct buf params;      /* packed: for the plan */
    struct buf submission;  /* for host_read_submission; at most HOST_MAX_SUBMISSION bytes, a multiple of 8 */
};
#define HOST_MAX_SUBMISSION 4096

/* As submission_parse, in a worker. With want_hash, host_request_hash of the body comes along. host_parsed_deinit frees in
 * both cases. */
MUST_CHECK int host_parse_raw(struct bytes body, unsigned max_depth, bool want_hash, struct host_parsed *p,
                              struct fault *fault);
void host_parsed_deinit(struct host_parsed *p);
/* Appends a submission without its params, with the hash of the request, as host_parse_raw does. */
void host_write_submission(const struct submission *s, const uint8_t hash[32], struct buf *out);
/* In the front end: reads such a submission, at an address that is a multiple of 8, into *s, whose params stay empty. The
 * hash is written to hash[32] if that is not NULL. False if no parser would have said so: a worker is not believed. Then
 * *s needs no submission_deinit. */
MUST_CHECK bool host_read_submission(struct bytes submission, struct submission *s, uint8_t *hash);

/* The SHA-256 of a JSON text in canonical form (host/canonical.c): two texts with the same members and values have the same,
 * however they are written. 0, or -1 with *fault filled: it is not JSON. */
MUST_CHECK int host_request_hash(const void *json, size_t size, unsigned max_depth, uint8_t hash[32],
                                 struct fault *fault);

/* ---- descriptions: schema.c --------------------------------------------------------------------- */

/* Appends {"name","summary","params":<JSON Schema 2020-12>,"flags":[...]} of one type. */
void host_describe(size_t type, struct buf *out);

/* ---- work: execute.c ------------------------------------------------------------------------------ */

/* How a call meets the world; given by the worker loop. */
struct host_hooks {
    void *arg;
    void (*progress)(void *arg, uint64_t done, uint64_t total);
    bool (*cancelled)(void *arg);
};

struct host_plan_chunk {
    uint64_t cost_ns;
    uint64_t offset, size; /* in host_plan.bytes; offset is a multiple of 8 */
};
struct host_plan {
    struct host_plan_chunk *chunks;
    size_t count;
    struct buf common, bytes;
};
void host_plan_deinit(struct host_plan *p);

/* Each returns 0, or -1 with *fault filled, or HOST_CANCELLED when the handler returned because
 * call_cancelled said so. `type` and all bytes may be hostile: sizes are checked, a wrong one is a fault. */
enum { HOST_CANCELLED = -2 };
MUST_CHECK int host_plan(size_t type, const void *params, size_t size, unsigned wanted_chunks,
                         const struct host_hooks *hooks, struct host_plan *plan, struct fault *fault);
MUST_CHECK int host_run(size_t type, unsigned attempt, struct bytes common, struct bytes chunk,
                        const struct host_hooks *hooks, struct buf *part, struct fault *fault);
MUST_CHECK int host_merge(size_t type, struct bytes common, const struct bytes *parts, size_t count,
                          const struct host_hooks *hooks, struct buf *json, struct fault *fault);

/* ---- maps: items_*.c ------------------------------------------------------------------------------------
 *
 * A map calls its type once for each item. Its plan plans every item and makes chunks of consecutive ones (groups),
 * which cost about HANDLER_CHUNK_NS each; an item is never divided. A group's part has an entry for each of
 * its items, in order; the merge strings them together: {"items":[<entry's JSON>,...]}. What goes wrong with an item
 * (bad parameters, a failing handler, no memory) fails that item and nothing else.
 *
 * As host_plan, host_run and host_merge, with the `params` of a submission that is a map. While a group runs, progress is
 * told in HOST_ITEM_STEPS for each of its items, so that it shows at which one a worker died. host_run_items: `poison` is
 * an array of uint32_t: the poison items, by their place in the group. Workers died at them; they are not run, and fail. */
#define HOST_ITEM_STEPS 1000
#define HOST_MAX_POISON (HANDLER_MAX_COMMON / 4)
MUST_CHECK int host_plan_items(size_t type, const void *list, size_t size, unsigned wanted_chunks,
                               const struct host_hooks *hooks, struct host_plan *plan, struct fault *fault);
MUST_CHECK int host_run_items(size_t type, unsigned attempt, struct bytes poison, struct bytes group,
                              const struct host_hooks *hooks, struct buf *part, struct fault *fault);
MUST_CHECK int host_merge_items(size_t type, struct bytes common, const struct bytes *parts, size_t count,
                                const struct host_hooks *hooks, struct buf *json, struct fault *fault);

/* Front of an entry in a group's part. Behind it `size` bytes of JSON, then zeros up to a multiple of 8. The JSON is
 *     {"status":"succeeded","result":<value>}
 *     {"status":"failed","error":{"type":"/problems/invalid_params","title","status","code","detail","errors":[...]}} */
struct item_entry {
    uint32_t index; /* of the item in the map */
    uint32_t size;
    uint32_t ok; /* 1: succeeded; 0: failed */
    uint32_t reserved;
};

/* The entry at *offset of a part: fills *entry, points *json at its JSON within the part, and moves *offset behind it.
 * 1, 0 at the end, or -1 if the bytes are no entries: a part comes from a worker, which is not believed. */
MUST_CHECK int host_next_item(struct bytes part, size_t *offset, struct item_entry *entry, const char **json);
/* The number of entries in a part; -1 if they are not as they should be, or one has an index that is not below `items`. To
 * be asked of each part of a map before anything else is done with it. */
MUST_CHECK int64_t host_count_items(struct bytes part, uint32_t items);

#endif
