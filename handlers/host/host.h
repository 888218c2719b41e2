/* host.h: the handlers, as the other rooms see them: which job types there are, how a submission is checked, and how a
 * task is done. Bytes go in and bytes come out. This room knows nothing of HTTP, of sockets or of the pool.
 *
 * The front end checks small submissions and describes the types with it. A worker checks large submissions with it,
 * and does its tasks. Only one thread of a process may call these functions; but any thread may call those of options.h,
 * and host_count, host_name, host_known and host_number.
 */
#ifndef OFFLOAD_HOST_H
#define OFFLOAD_HOST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/attributes.h"
#include "base/buf.h"
#include "handlers/handler.h"
#include "handlers/host/fault.h"
#include "handlers/host/options.h"

/* ---- registry: registry.c ---------------------------------------------------------------------------------------- */

/* A type is its number. The types that are built in come first. Each name has one number as long as the process lives,
 * and a zygote is told the numbers of the front end when it starts, so that a number means the same type in all
 * processes. A number whose type is not there (its plugin is gone since a reload; the store has jobs of it) is a hole:
 * it has a name and no handler. */
#define HOST_MAX_TYPES 256 /* numbers, holes included */
#define HOST_MAX_NAME  64  /* bytes of a name */

/* What a process knows of a type beside its handler. */
struct host_type {
    const struct handler *handler;
    const char *source;       /* "builtin", "plugin:./thumb.so", "program:node tasks.mjs", "python:tasks.py" */
    const char *schema;       /* the JSON Schema of its parameters, as text; NULL: it is made from the table */
    const char *marks;        /* words that GET /v1/types adds to "flags", with blanks between; NULL: none */
    const char *const *files; /* ends with NULL: a change of one of them changes the type; NULL: none is known */
    int64_t timeout_ms;       /* options.timeout_ms of jobs that have none; 0: the service's default */
    unsigned max_attempts;    /* options.max_attempts of jobs that have none; 0: the service's default */
};

/* Makes the list of types for this process, with the test types if they are wanted. It is called before all others. */
void host_init(bool test_types);
size_t host_count(void);                         /* all numbers are below it */
const char *host_name(size_t type);              /* also of a hole; lives as long as the process; NULL beyond */
const struct host_type *host_type(size_t type);  /* NULL: a hole, or beyond host_count() */
const struct handler *host_handler(size_t type); /* likewise */
bool host_is_hidden(size_t type);                /* HANDLER_HIDDEN */
int host_find(const char *name);                 /* the number; -1: there is none, it is a hole, or it is hidden */
int host_known(const char *name);                /* the number, also of a hole; -1: there is no such name */
/* It has a parameter that is PARAM_IN_PLACE. */
static inline bool host_works_in_place(size_t type) {
    const struct handler *h = host_handler(type);
    for (const struct param_spec *p = h == NULL ? NULL : h->params; p != NULL && p->name != NULL; p++)
        if (p->kind == PARAM_BYTES && (p->flags & PARAM_IN_PLACE) != 0)
            return true;
    return false;
}
/* The number of a name, which becomes a hole if it is new. -1: it cannot be the name of a type, or no number is left. */
int host_number(const char *name);

/* Adds a type to those that are built in. The handler is borrowed as long as the process lives; the rest is copied. 0;
 * or -1 with one line in `error`, which says what is wrong with the handler, or which type has that name already. */
MUST_CHECK int host_add(const struct host_type *t, struct buf *error);
/* In the zygote: calls the load of every type, but for those with HANDLER_SPAWN. `loading` is called before, with the
 * source of the type; it may be NULL. 0, or -1 with one line in `error`. */
MUST_CHECK int host_load(void (*loading)(const char *source), struct buf *error);
/* In a process that is made for one type with HANDLER_SPAWN: calls its load. 0 or -1. */
MUST_CHECK int host_load_type(size_t type);

/* ---- embedding models: models.c ---------------------------------------------------------------------------------- */

struct host_model {
    const char *name;
    int64_t created_s; /* seconds since 1970 */
    const char *owner;
};
/* Looks for them anew: when a zygote has loaded them. */
void host_find_models(void);
/* The models that the job types for embeddings know; the default comes first. False: there are only i of them. */
MUST_CHECK bool host_model(size_t i, struct host_model *out);
/* In the zygote, once it has loaded all types: a line of the log for each model, but for hash-384, and for each
 * folder that is none. */
void host_log_models(void);

/* ---- types from elsewhere: plugins.c, table_schema.c, described.c ------------------------------------------------ */

/* Opens a shared object and adds the handlers of its offload_handlers. It stays open as long as the process lives. 0, or
 * -1 with one line in `error`, which names the file. */
MUST_CHECK int plugin_load(const char *path, struct buf *error);
/* plugin_load for each. `loading` is called before, with its source; it may be NULL. */
MUST_CHECK int plugins_load(const char *const *paths, size_t count, void (*loading)(const char *source),
                            struct buf *error);

/* The parameter table that says as much as it can of a JSON Schema. */
struct host_table {
    struct param_spec *specs; /* owned, as all that they point to; ends with a row without a name */
    unsigned flags;           /* HANDLER_WHOLE_PARAMS, and perhaps HANDLER_OPEN_PARAMS */
    struct arena memory;      /* private */
};
/* Reads the schema of an object (docs/programs.md says what of it). 0; or -1 with one line in `error`, for example if it
 * has more than PARAMS_MAX properties. In both cases the caller frees with host_table_deinit. */
/* binary: a string with "contentEncoding": "base64" is a PARAM_BYTES; else it is text. */
MUST_CHECK int host_table_from_schema(const char *json, size_t size, bool binary, struct host_table *out,
                                      struct buf *error);
void host_table_deinit(struct host_table *t);

/* In the zygote: appends all types that are not built in, as JSON. */
void host_describe_added(struct buf *out);
/* In the front end: takes that JSON, of which nothing is trusted. The types that it describes have handlers without
 * functions. The types of the JSON before that are not in this one become holes. 0; or HOST_RENUMBERED: meanwhile another
 * name has got a number in it, so the zygote is of no use; or -1 with one line in `error`. Nothing has changed then. */
enum { HOST_RENUMBERED = -3 };
MUST_CHECK int host_take_described(const char *json, size_t size, struct buf *error);

/* ---- submissions: submission.c, options.c and raw.c -------------------------------------------------------------- */

#define HOST_MAX_ITEMS 1000000 /* in one map */

/* An attachment that the JSON of a submission names or has in itself. The attachments of a job are the data parts of
 * its request, in their order, and then these. */
struct host_extra {
    enum {
        HOST_EXTRA_BYTES, /* decoded from base64: in memory; or in a memfd, if they are many */
        HOST_EXTRA_JOB,   /* {"job": ID}: the result of that job */
        HOST_EXTRA_SHM    /* {"shm": {"name", "offset", "length"}}: shared memory of the client */
    } kind;
    struct buf bytes; /* of HOST_EXTRA_BYTES, unless fd is a descriptor */
    int fd;           /* or -1 */
    uint64_t size;    /* of the bytes; of HOST_EXTRA_SHM: its length, UINT64_MAX: up to the end */
    uint64_t offset;  /* of HOST_EXTRA_SHM */
    char *name;       /* heap: the id of the job as the client wrote it, or the name of the object */
    char *where;      /* heap: JSON pointer to it in the submission, for messages */
};

struct submission {
    uint32_t type;
    bool map; /* one call for each item, instead of one: by items, or by columns */
    uint32_t items;
    struct submission_options options;
    struct buf params; /* checked and packed, with the fallbacks: for host_plan or, if `map`, for host_plan_items */
    /* If its type takes binary data: the submission with {"part": N} for each attachment, whose number is N. It is what
     * is stored, together with the attachments. Else empty. */
    struct buf text;
    struct host_extra *extras; /* heap */
    uint32_t extra_count;
};

/* Parses and checks the body of POST /v1/jobs: {"type","params" or "items" or "columns","options"}. It must be strict JSON (RFC
 * 8259) and at most max_depth deep, and have no other members. parts: how many data parts came with it. 0, or -1 with
 * all that is wrong in *fault. A bad item does not make the submission wrong: it is packed as one that has failed. In
 * both cases the caller frees with submission_deinit. */
MUST_CHECK int submission_parse(const void *json, size_t size, unsigned max_depth, uint32_t parts, struct submission *s,
                                struct fault *fault);
/* Parses and checks a body that is the params of one call of that type, which has no PARAM_BYTES: an object, in the same
 * strict JSON. Its pointers start at the body. Otherwise as submission_parse. */
MUST_CHECK int submission_parse_params(uint32_t type, const void *json, size_t size, unsigned max_depth,
                                       struct submission *s, struct fault *fault);
/* The service's own call of a type that is hidden. params: the JSON text of an object, whose attachments are
 * {"part": N}. 0, or -1: there is no such type, it cannot take the parameters, or memory ran out. In both cases the
 * caller frees with submission_deinit. */
MUST_CHECK int submission_of_hidden(const char *type, const char *params, struct submission *s);
void submission_deinit(struct submission *s);

/* A raw body that a worker has parsed: what the worker needs for the plan, and what the front end wants to know. */
struct host_parsed {
    uint32_t type;
    bool map;               /* host_plan_items plans it */
    bool isolated;          /* it must be planned by an isolated worker */
    unsigned wanted_chunks; /* for the plan */
    struct buf params;      /* packed: for the plan */
    struct buf submission;  /* for host_read_submission; at most HOST_MAX_SUBMISSION bytes, a multiple of 8 */
};
#define HOST_MAX_SUBMISSION 4096
#define HOST_MAX_MADE       65536 /* attachments that a plan and the base64 of its raw body can make */

struct host_hooks;
/* As submission_parse, in a worker. With want_hash, p->submission has the host_request_hash of the body. It can also
 * return HOST_CANCELLED: then there is neither a submission nor a fault. hooks: as for host_plan. In all cases the
 * caller frees with host_parsed_deinit. */
MUST_CHECK int host_parse_raw(struct bytes body, unsigned max_depth, bool want_hash, const struct host_hooks *hooks,
                              struct host_parsed *p, struct fault *fault);
/* The same for a body that submission_parse_params takes. `type` can be hostile. */
MUST_CHECK int host_parse_raw_params(uint32_t type, struct bytes body, unsigned max_depth,
                                     const struct host_hooks *hooks, struct host_parsed *p, struct fault *fault);
void host_parsed_deinit(struct host_parsed *p);
/* Appends a submission without its params, and the hash of the request: the bytes that host_parse_raw makes, too. */
void host_write_submission(const struct submission *s, const uint8_t hash[32], struct buf *out);
/* In the front end: reads these bytes, at an address that is a multiple of 8, into *s, whose params stay empty. The
 * hash is written to hash[32] if that is not NULL. False if host_parse_raw cannot have made them, for a worker is not
 * trusted. Then *s needs no submission_deinit. */
MUST_CHECK bool host_read_submission(struct bytes submission, struct submission *s, uint8_t *hash);

/* A parameter of a query, decoded (RFC 3986, section 2.1). */
struct host_pair {
    const char *name, *value;
};
/* Writes the JSON text of the submission that a query stands for: "type" is its type, "options.NAME" an option, and all
 * others are parameters, whose values are read as their kind in the table says: digits, true or false, JSON for arrays
 * and objects, otherwise text. 0, or -1 with all that is wrong in *fault. */
MUST_CHECK int host_query_to_json(const struct host_pair *pairs, size_t count, struct buf *json, struct fault *fault);

/* A media range of the header Accept (RFC 9110, section 12.5.1): "image/webp", "image/", or "" for all. */
struct host_range {
    char name[HANDLER_MAX_MEDIA_TYPE + 1];
    unsigned quality; /* 0..1000 */
};
/* The client has not said in the parameters which of the handler's results it wants, and the ranges say it: writes the
 * submission with that parameter added, to *out. Otherwise *out stays empty. The JSON need not be good. */
void host_choose_result(const char *json, size_t size, const struct host_range *ranges, size_t count, struct buf *out);

/* The SHA-256 of a JSON text in its canonical form (host/canonical.c). Two texts with the same members and values have
 * the same hash, however they are written. 0, or -1 with *fault filled: the text is not JSON, or memory ran out. */
MUST_CHECK int host_request_hash(const void *json, size_t size, unsigned max_depth, uint8_t hash[32],
                                 struct fault *fault);

/* ---- descriptions: schema.c -------------------------------------------------------------------------------------- */

/* Appends {"name","summary","source","params":<JSON Schema 2020-12>,"flags":[...]} of one type, and its "results",
 * "result_param", "timeout" (in seconds) and "max_attempts" if it has some. Nothing for a hole. */
void host_describe(size_t type, struct buf *out);
/* Appends, of a type that is not built in, a comma and what Submission.oneOf of openapi.json has of each type:
 * {"properties":{"type":{"const":NAME},"params":<JSON Schema>}}. */
void host_describe_submission(size_t type, struct buf *out);

/* ---- work: execute.c --------------------------------------------------------------------------------------------- */

/* An attachment of a job, as a worker gets it. The descriptors are borrowed. */
struct host_attachment {
    int fd;            /* a memfd or a file; -1: the bytes are in memory */
    const void *bytes; /* then; else NULL */
    uint64_t offset;   /* in fd: where it begins */
    uint64_t size;
    bool own;               /* it can be written in place */
    const char *media_type; /* never NULL */
};
/* Some consecutive attachments of a job, from number `first` on. */
struct host_attachments {
    const struct host_attachment *list;
    uint32_t first, count;
};
/* NULL: it is not there. */
const struct host_attachment *host_attachment(const struct host_attachments *all, uint32_t index);

/* What a call makes beside its bytes. Begins as zeros; host_output_deinit frees what was not taken. */
struct host_output {
    /* host_plan: the attachments that it adds: memfds, sealed against growing and shrinking. host_parse_raw: likewise;
     * but a few bytes of base64 are in memory, so that many of them need no descriptors. Heap. */
    struct host_made {
        int fd; /* or -1: all is in `bytes` */
        uint64_t size;
        struct buf bytes;
    } * made;
    uint32_t made_count;
    uint32_t made_first; /* the index that the first one gets; the caller sets it */
    /* host_run: the part is a piece of this memfd, and the buffer stays empty. host_merge: HOST_SOURCE_BYTES. */
    bool has_fd;
    int fd;
    uint64_t offset, size;
    /* host_merge: what the result is. If not JSON, the buffer has its summary, or nothing. */
    enum host_source {
        HOST_SOURCE_JSON,
        HOST_SOURCE_BYTES,     /* `bytes`, or the piece of fd if has_fd */
        HOST_SOURCE_PART,      /* a piece of part number `index`: offset and size say which */
        HOST_SOURCE_ATTACHMENT /* likewise of an attachment */
    } source;
    uint32_t index;
    struct buf bytes;
    char media_type[HANDLER_MAX_MEDIA_TYPE + 1];
};
void host_output_deinit(struct host_output *o);
/* What a call of a handler has: for handlers/program, which passes them on. NULL: there is none of that number. */
const struct host_attachment *host_call_attachment(const struct call *c, uint32_t index);
/* As result_bytes: the first `size` bytes of that memfd, which is sealed against every change. Takes the descriptor, in
 * any case. */
MUST_CHECK int host_result_adopt(struct call *c, const char *media_type, int fd, uint64_t size);
/* Adds to `made`: takes the memfd, whose size is sealed here. 0, or -1: memory ran out, and nothing was taken. */
MUST_CHECK int host_add_made(struct host_output *o, int fd, uint64_t size);
MUST_CHECK int host_add_made_bytes(struct host_output *o, struct buf *bytes); /* likewise */

/* What call_progress, call_cancelled and so on do. Each may be NULL, and so may be a pointer to this struct. */
struct host_hooks {
    void *arg; /* for all functions */
    void (*progress)(void *arg, uint64_t done, uint64_t total);
    bool (*cancelled)(void *arg);
    void (*log)(void *arg, const char *text, size_t size); /* of call_log */
    int64_t deadline_ns;                                   /* of call_deadline */
    const struct host_attachments *attachments;            /* those that came with the task */
    struct host_output *output;                            /* NULL: there can be none */
    void (*died)(void *arg, const struct host_loss *how);  /* of call_process_died */
};

/* What the built-in handlers count (call_count). All counters have a number below HOST_MAX_COUNTERS. */
enum { HOST_MAX_COUNTERS = 16 };
const struct handler_counter *host_counter(size_t i); /* NULL: there are no more */
/* Where this process counts: HOST_MAX_COUNTERS numbers. NULL, as at the start: nowhere. */
void host_count_into(_Atomic uint64_t *to);

struct host_plan_chunk {
    uint64_t cost_ns;
    uint64_t offset, size; /* in host_plan.bytes; offset is a multiple of 8 */
    /* Which attachments of the job it can need: that many from that one on. UINT32_MAX: all of them. */
    uint32_t attachment_first, attachment_count;
};
struct host_plan {
    struct host_plan_chunk *chunks;
    size_t count;
    struct buf common, bytes;
};
void host_plan_deinit(struct host_plan *p);

/* Each returns 0, or -1 with *fault filled, or HOST_CANCELLED if the handler returned early because call_cancelled was
 * true, or HOST_LOST with fault->loss filled if it has called call_lost. `type` and all bytes can be hostile: their sizes are checked, and a wrong one is a fault. host_run appends to
 * *part and host_merge to *json. In all cases the caller frees *plan with host_plan_deinit, and the buffers. */
enum { HOST_CANCELLED = -2, HOST_LOST = -3 };
MUST_CHECK int host_plan(size_t type, const void *params, size_t size, unsigned wanted_chunks,
                         const struct host_hooks *hooks, struct host_plan *plan, struct fault *fault);
MUST_CHECK int host_run(size_t type, unsigned attempt, struct bytes common, struct bytes chunk,
                        const struct host_hooks *hooks, struct buf *part, struct fault *fault);
MUST_CHECK int host_merge(size_t type, struct bytes common, const struct bytes *parts, size_t count,
                          const struct host_hooks *hooks, struct buf *json, struct fault *fault);

/* ---- batches: batch.c -------------------------------------------------------------------------------------------- */

/* A call that is fed into a batch: what host_run gets. All is borrowed until it is done. */
struct host_batch_call {
    void *owner;                   /* passed to `done` */
    const struct handler *handler; /* one that goes with that of the batch (host_joins_with); NULL: that one */
    unsigned attempt;
    struct bytes common, chunk;
    const struct host_hooks *hooks; /* may be NULL */
    const struct place *at;         /* where its parameters stand in the submission; NULL: at /params */
    size_t *tracebacks;             /* how many bytes of tracebacks the calls together may still keep; NULL: no limit */
};
/* Where the calls of a batch come from, and where their results go. */
struct host_batch {
    void *arg; /* for both functions */
    /* Fills in the next call, which begins as zeros. False: there is none now. It is asked again after each call that is
     * done. */
    bool (*next)(void *arg, struct host_batch_call *call);
    /* A call is done, in the order of `next`. rc and *fault: as host_run gives them. Part and fault are lent: they can
     * be taken, if zeros are left in their place. */
    void (*done)(void *arg, void *owner, int rc, struct buf *part, struct fault *fault);
};
/* True if host_run_batch can be called for this type. */
bool host_can_batch(size_t type);
bool host_joins(size_t type); /* likewise, and it has HANDLER_JOINS */
/* Calls of both types can be in one batch: they are one, or both have HANDLER_JOINS and the same run_batch. */
bool host_joins_with(size_t a, size_t b);
/* Runs calls until `next` has none while none is under way. */
void host_run_batch(size_t type, const struct host_batch *feed);

/* ---- maps: items_*.c --------------------------------------------------------------------------------------------- */

/* A map calls its type once for each item. Its plan plans every item and makes chunks (groups) of consecutive items,
 * which cost about HANDLER_CHUNK_NS each; an item is never divided. The part of a group has an entry for each of its
 * items, in their order. The merge strings their JSON together: {"items":[<JSON of an entry>,...]}. What goes wrong
 * with an item (bad parameters, a failing handler, no memory) fails that item and nothing else. Only a loss (HOST_LOST)
 * is a loss of all of the plan or the group, as it is when a worker dies.
 *
 * A map by columns has a list of values for each parameter, instead of a list of objects. Its items are its calls, in
 * the order of the lists, and its result is {"results":[<value>,null,...],"errors":[{"index":1,"error":{...}},...]}. A
 * reader of that text can tell a call that has failed, `null`, from one whose result is null, ` null`.
 *
 * The three functions do for a map what host_plan, host_run and host_merge do for a single call. `list` is the params
 * of the submission. While a group runs, its progress has HOST_ITEM_STEPS for each of its items, so that it shows at
 * which item a worker died. `poison` is an array of at most HOST_MAX_POISON uint32_t: the places of the poison items in
 * the group. They are not run, because workers died at them, and fail: with memory_limit if HOST_POISON_MEMORY is added
 * to the place, else with worker_crashed. */
#define HOST_ITEM_STEPS    1000
#define HOST_MAX_POISON    (HANDLER_MAX_COMMON / 4)
#define HOST_POISON_MEMORY (UINT32_C(1) << 31)
MUST_CHECK int host_plan_items(size_t type, const void *list, size_t size, unsigned wanted_chunks,
                               const struct host_hooks *hooks, struct host_plan *plan, struct fault *fault);
MUST_CHECK int host_run_items(size_t type, unsigned attempt, struct bytes poison, struct bytes group,
                              const struct host_hooks *hooks, struct buf *part, struct fault *fault);
MUST_CHECK int host_merge_items(size_t type, struct bytes common, const struct bytes *parts, size_t count,
                                const struct host_hooks *hooks, struct buf *json, struct fault *fault);

/* In the front end: divides the items of consecutive groups into groups anew. rate: how long they take, as a multiple of
 * what was planned. Writes at most `room` groups, at least 2, whose offsets count from the start of `items`.
 * Returns how many; 0: the bytes, which a worker has made, are no items. */
size_t host_regroup(struct bytes items, double rate, struct host_plan_chunk *groups, size_t room);

/* The result of a map of which some item is not JSON is a multipart/mixed document, and an index behind it. Its media type
 * begins so, and goes on with the boundary. */
#define HOST_MIXED_PREFIX "multipart/mixed; boundary="

/* Reads `size` bytes of it from `offset` on, all of which are within its size. 0 or -1. */
struct host_reader {
    int (*read)(void *arg, uint64_t offset, void *to, size_t size);
    void *arg;
    uint64_t size;
};
struct host_mixed_item {
    uint64_t offset, size; /* its bytes, within the document */
    bool failed;           /* they are its problem document */
    char media_type[HANDLER_MAX_MEDIA_TYPE + 1];
};
/* Each returns 0, or -1: it is no such result (a worker has made it), cannot be read, or has no such item.
 * *document: how many bytes are for clients; *items: how many items there are. */
MUST_CHECK int host_mixed_size(const struct host_reader *r, uint64_t *document, uint32_t *items);
MUST_CHECK int host_mixed_item(const struct host_reader *r, uint32_t index, struct host_mixed_item *out);

/* An item in the part of a group, and its `size` bytes of JSON. The JSON is one of these:
 *     {"status":"succeeded","result":<value>}
 *     {"status":"failed","error":{"type":"/problems/invalid_params","title","status","code","detail","errors":[...]}}
 */
struct item_entry {
    uint32_t index; /* of the item in the map */
    uint32_t size;
    bool ok;   /* it succeeded */
    bool bare; /* of a map by columns: its JSON is only the <value>, or only the problem {"type",...} */
};

/* A place in a part: all zeros before the first entry. Its members are private. */
struct item_cursor {
    uint32_t next; /* entry */
    size_t text;   /* bytes of text before it */
    size_t errors; /* likewise in the second text of a map by columns */
};

/* Reads the next entry of a part: fills *entry, points *json at its JSON, which is within the part, and moves the cursor
 * behind it. 1, or 0 at the end, or -1 if the bytes are no part, for a part comes from a worker, which is not trusted.
 * A part without bytes has no entries. */
MUST_CHECK int host_next_item(struct bytes part, struct item_cursor *at, struct item_entry *entry, const char **json);
/* The number of entries in a part. -1 if the bytes are no part, or an entry has an index that is not below `items`. Call
 * it for each part of a map before you do anything else with the part. */
MUST_CHECK int64_t host_count_items(struct bytes part, uint32_t items);

#endif
