/* fault.h: what is wrong with a submission or a call. Other rooms see struct fault and fault_deinit, through host.h.
 * The rest is private to handlers/host. There is no state here: any thread may call these functions. */
#ifndef OFFLOAD_HOST_FAULT_H
#define OFFLOAD_HOST_FAULT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

struct param_spec;

/* How a process died that worked for a call, see call_lost. The numbers are those on the wire. */
enum host_cause {
    HOST_NOT_LOST,
    HOST_LOST_SIGNAL,
    HOST_LOST_EXIT,
    HOST_LOST_OOM,
    HOST_LOST_MEMORY,
    HOST_LOST_TIMEOUT,
    HOST_LOST_PROTOCOL
};

struct host_loss {
    enum host_cause cause; /* HOST_NOT_LOST: all is zero */
    int signal, exit_code; /* as in struct call_loss */
    uint64_t max_rss_bytes, cpu_ms;
    struct buf last_words; /* at most HANDLER_MAX_LAST_WORDS bytes; anything */
};

/* Either a fault, or how an attempt was lost (HOST_LOST). A fault is a code of the HTTP contract and the members of its problem document, as compact JSON:
 *
 *     {"code":"invalid_params","detail":"...","errors":[{"pointer":"/params/stop","detail":"..."}]}
 *     {"code":"invalid_json","detail":"...","line":1,"column":7,"position":7}
 *     {"code":"handler_failed","detail":"...","exception":"ValueError","traceback":"..."}
 *
 * The code is one of: invalid_json, duplicate_key, too_deep, not_utf8, unknown_type, invalid_params, not_found,
 * handler_failed, memory_limit, worker_crashed. There are at most FAULTS_MAX errors, and at most 64 KiB in
 * all; only an exception needs more than 16 KiB. */
struct fault {
    struct buf json; /* empty: there is no fault; the caller begins with zeros and frees with fault_deinit */
    struct host_loss loss;
};
void fault_deinit(struct fault *f);

/* The name of a cause as it is in `lost` of a Job, a static text. NULL: there is no such cause. */
const char *host_cause_name(uint32_t cause);
enum host_cause host_find_cause(const char *name); /* HOST_NOT_LOST: there is none of that name */

/* ---- how faults are made ----------------------------------------------------------------------------------------- */

enum { FAULTS_MAX = 20 };

/* A place in a JSON document: a chain on the stack, from the value up to the document (NULL). It is only written out as
 * a JSON pointer (RFC 6901) if something is wrong there. */
struct place {
    const struct place *up;
    const char *name; /* a member; NULL: the element at index */
    size_t index;
    /* Not NULL: it is the call `index` of a map by columns, whose members stand in the object `up`, each in a column of
     * its own: the member "stop" of call 3 is /columns/stop/3, or /columns/stop if that column is no list. These are the
     * parameters of its type, and `lists` is the mask of those whose columns are lists. */
    const struct param_spec *columns;
    uint32_t lists;
};

/* All that is wrong with one document. Begin with zeros and a code. */
struct faults {
    const char *code;
    size_t limit;      /* so many are kept; 0: FAULTS_MAX */
    size_t count;      /* all that were added */
    struct buf errors; /* {"pointer","detail"},... */
    struct buf detail; /* of the first one */
};

/* No more are kept, so the caller can stop looking. */
bool faults_full(const struct faults *f);
/* Adds one: a sentence about the value at a place. */
void faults_add(struct faults *f, const struct place *at, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* The same for a pointer that is text already. */
void faults_add_pointer(struct faults *f, const char *pointer, const char *detail);
/* There is no memory to look at the value. Then that is the code of all faults: the others may be none. */
void faults_add_no_memory(struct faults *f, const struct place *at);
/* Appends the place as a JSON pointer (RFC 6901). What is beyond some 1,000 bytes of it is left out. */
void place_write(struct buf *to, const struct place *at);
/* Appends the place that `pointer` ("/stop"; NULL: "") names, counted from `at`. */
void place_write_below(struct buf *to, const struct place *at, const char *pointer);
/* Moves what was added to *fault and frees the rest. 0 if nothing was added, otherwise -1. */
int faults_finish(struct faults *f, struct fault *fault);

/* Makes *fault one with a code and a sentence. Returns -1. */
int fault_set(struct fault *fault, const char *code, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* The same for something in the JSON text at `position`, which is a byte offset. Returns -1. */
int fault_set_text(struct fault *fault, const char *code, const char *detail, const char *text, size_t position);
/* Appends the fault as a whole problem document (RFC 9457). */
void fault_write_problem(struct buf *to, const struct fault *fault);

#endif
