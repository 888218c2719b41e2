/* problem.h: what can go wrong, in one table: the stable code, its HTTP status, its title, and the text of the page
 * /problems/{code}. The documents follow RFC 9457 (application/problem+json). Front end. */
#ifndef OFFLOAD_PROBLEM_H
#define OFFLOAD_PROBLEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

enum problem_code {
    PROBLEM_BAD_REQUEST,
    PROBLEM_BODY_TOO_LARGE,
    PROBLEM_CANCELLED,
    PROBLEM_DRAINING,
    PROBLEM_DUPLICATE_KEY,
    PROBLEM_EXPECTATION_FAILED,
    PROBLEM_FORBIDDEN,
    PROBLEM_GONE,
    PROBLEM_HANDLER_FAILED,
    PROBLEM_HEADER_TOO_LARGE,
    PROBLEM_IDEMPOTENCY_MISMATCH,
    PROBLEM_INTERNAL_ERROR,
    PROBLEM_INVALID_IDEMPOTENCY_KEY,
    PROBLEM_INVALID_JSON,
    PROBLEM_INVALID_PARAMS,
    PROBLEM_INVALID_QUERY,
    PROBLEM_JOB_TIMEOUT,
    PROBLEM_MEMORY_LIMIT,
    PROBLEM_METHOD_NOT_ALLOWED,
    PROBLEM_MISDIRECTED_REQUEST,
    PROBLEM_NOT_FOUND,
    PROBLEM_NOT_IMPLEMENTED,
    PROBLEM_NOT_UTF8,
    PROBLEM_OVER_MEMORY,
    PROBLEM_OVER_QUOTA,
    PROBLEM_PRECONDITION_FAILED,
    PROBLEM_QUEUE_FULL,
    PROBLEM_QUEUE_TIMEOUT,
    PROBLEM_RANGE_NOT_SATISFIABLE,
    PROBLEM_REQUEST_TIMEOUT,
    PROBLEM_STARTING,
    PROBLEM_STORE_UNAVAILABLE,
    PROBLEM_TOO_DEEP,
    PROBLEM_TOO_MANY_CONNECTIONS,
    PROBLEM_UNAUTHORIZED,
    PROBLEM_UNKNOWN_TYPE,
    PROBLEM_UNSUPPORTED_MEDIA_TYPE,
    PROBLEM_URI_TOO_LONG,
    PROBLEM_VERSION_NOT_SUPPORTED,
    PROBLEM_WORKER_CRASHED,
    PROBLEM_COUNT
};

struct problem {
    const char *code;
    unsigned status;
    const char *title;
    const char *help; /* what it means, and what a client can do */
};

const struct problem *problem_get(enum problem_code code);
/* The code of that name; PROBLEM_COUNT if there is none. */
enum problem_code problem_find(const char *name, size_t size);

/* Appends a problem document. `detail`: NULL for the text of the table. `members`: more members as JSON text without
 * braces ("\"limit_bytes\":5"), or NULL. `instance`: the path of the request or of the job, decoded,
 * or NULL. */
void problem_write(struct buf *out, enum problem_code code, const char *detail, const char *members,
                   const char *instance);

/* Appends a member "errors" with one error, for problem_write. `pointer`: a JSON Pointer (RFC 6901) into the
 * submission. */
void problem_put_error(struct buf *members, const char *pointer, const char *detail);

/* These look into a document that problem_write has written. Appends the value of a member that is a string, as JSON;
 * nothing if there is no such member. */
void problem_copy_member(const struct buf *document, const char *name, struct buf *out);
/* Appends the pointer and the detail of the first of its "errors", as JSON; nothing if it has none. */
void problem_first_error(const struct buf *document, struct buf *pointer, struct buf *detail);
/* Where in a body that is no JSON the mistake is. False: it does not say that. */
bool problem_place(const struct buf *document, uint64_t *line, uint64_t *column);
/* Its size without a member "traceback", which comes last, and without the brace behind that. All of its size if it has
 * no such member. */
size_t problem_without_traceback(const struct buf *document);

/* A fault that a worker or the host wrote as JSON (struct fault in handlers/host/host.h). It is not trusted: it is
 * parsed, bounded, and written anew. */
struct problem_fault {
    enum problem_code code;
    char *detail;  /* heap */
    char *members; /* heap: JSON members without braces, or NULL */
};
/* 0, or -1: it is no fault. Call problem_fault_deinit in both cases. */
int problem_read_fault(const void *json, size_t size, struct problem_fault *f);
void problem_fault_deinit(struct problem_fault *f);

#endif
