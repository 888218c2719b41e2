/* call.h: struct call of handler.h, which is one plan, run or merge under way. Private to handlers/host, in workers. */
#ifndef OFFLOAD_HOST_CALL_H
#define OFFLOAD_HOST_CALL_H

#include "handlers/host/host.h"

enum { JSON_MAX_NESTING = 64 };

/* Bytes, see call_fail_exception. With each of them escaped the fault fits into a frame (WIRE_MAX_INLINE). */
enum { EXCEPTION_MAX = 200, EXCEPTION_DETAIL_MAX = 2000, TRACEBACK_MAX = 8 * 1024, GROUP_TRACEBACKS_MAX = 16 * 1024 };

enum call_stage { CALL_STAGE_PLAN, CALL_STAGE_RUN, CALL_STAGE_MERGE };

/* What can come next at one level of a JSON text. output.c draws how one follows another. */
enum json_state {
    JSON_ARRAY_START,    /* a value, or the end of the array */
    JSON_ARRAY_MORE,     /* a comma and a value, or the end of the array */
    JSON_OBJECT_START,   /* a name, or the end of the object */
    JSON_OBJECT_MORE,    /* a comma and a name, or the end of the object */
    JSON_OBJECT_VALUE,   /* the value of a name */
    JSON_DOCUMENT_START, /* the only value of the document */
    JSON_DOCUMENT_END    /* nothing */
};

struct call_mapping {
    void *at;
    size_t size;
};

struct call {
    enum call_stage stage;
    const struct handler *handler;
    const struct host_hooks *hooks; /* may be NULL */
    const struct place *at;         /* where its parameters stand in the submission; NULL: at /params */
    struct fault *fault;            /* borrowed, as all pointers here are */
    bool failed;                    /* *fault says why, or how the attempt was lost */
    size_t traceback_left;          /* how many bytes of tracebacks may still be kept */
    size_t *tracebacks;             /* the same for many calls together; NULL: traceback_left counts */
    unsigned attempt;
    unsigned wanted_chunks;
    struct host_plan *plan;    /* plan only */
    size_t plan_room;          /* chunks that plan->chunks has room for */
    struct buf *out;           /* run: the part; merge: the JSON */
    size_t out_start;          /* where in it that begins */
    const struct bytes *parts; /* merge: what it merges */
    size_t part_count;
    struct call_mapping *mappings; /* heap: what is unmapped when the function returns */
    size_t mapping_count, mapping_room;
    unsigned json_depth;                             /* merge: 0, with json_states[0] at JSON_DOCUMENT_START */
    unsigned char json_states[JSON_MAX_NESTING + 1]; /* enum json_state of every open level */
};

/* Is called at the end of a merge: fails the call unless one whole value was written. */
void output_finish(struct call *c);
/* Unmaps what the call has mapped. */
void call_unmap(struct call *c);

#endif
