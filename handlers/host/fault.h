/* fault.h: what is wrong with a submission or a call. Other rooms see struct fault, through host.h; the rest is private
 * to handlers/host. */
#ifndef OFFLOAD_HOST_FAULT_H
#define OFFLOAD_HOST_FAULT_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"

/* As it travels to the client: a stable code of the HTTP contract and the members of its problem document, as compact JSON:
 *   {"code":"invalid_params","detail":"...","errors":[{"pointer":"/params/stop","detail":"..."}]}
 *   {"code":"invalid_json","detail":"...","line":1,"column":7,"position":7}
 * code is one of: invalid_json duplicate_key too_deep not_utf8 unknown_type invalid_params
 * handler_failed memory_limit. At most FAULTS_MAX errors and about 16 KiB. */
struct fault {
    struct buf json; /* empty: no fault */
};
void fault_deinit(struct fault *f);

/* ---- making them ---- */

enum { FAULTS_MAX = 20 };

/* A place in a JSON document, as a chain on the stack from the value up to the document (NULL): written
 * out as an RFC 6901 pointer only when something is wrong there. */
struct place {
    const struct place *up;
    const char *name; /* a member; NULL: the element at index */
    size_t index;
};

/* Collects what is wrong with one document. Start with zeroes and a code. */
struct faults {
    const char *code;
    size_t limit;      /* how many are kept; 0: FAULTS_MAX */
    size_t count;      /* all that were seen */
    struct buf errors; /* {"pointer","detail"},... */
    struct buf detail; /* of the first one */
};

bool faults_full(const struct faults *f); /* looking further would tell nobody anything */
void faults_add(struct faults *f, const struct place *at, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* The same for a pointer that is text already. */
void faults_add_pointer(struct faults *f, const char *pointer, const char *detail);
/* Appends the place as an RFC 6901 pointer, of some 1,000 bytes at most. */
void place_write(struct buf *to, const struct place *at);
/* Moves what was collected to *fault and frees the rest: 0 if nothing was, else -1. */
int faults_finish(struct faults *f, struct fault *fault);

/* A fault with a code and a sentence; returns -1. */
int fault_set(struct fault *fault, const char *code, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* Appends the fault as a whole problem document (RFC 9457). */
void fault_write_problem(struct buf *to, const struct fault *fault);
/* A fault of the JSON text at `position`, the byte offset in it; returns -1. */
int fault_set_text(struct fault *fault, const char *code, const char *detail, const char *text, size_t position);

#endif
