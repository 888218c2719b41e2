/* head.h: checks the head of a request strictly, byte by byte, before libmicrohttpd reads it (RFC 9110, RFC 9112).
 * libmicrohttpd forgives what two readers can understand differently, and that is how requests are smuggled past a
 * proxy. The bytes of a head are hostile. These functions have no state, and know neither sockets nor connections. */
#ifndef OFFLOAD_HTTP_HEAD_H
#define OFFLOAD_HTTP_HEAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "server/model/model.h"

/* What is allowed on a connection. */
struct head_rules {
    uint64_t max_header; /* bytes of a head with its first line; see head_check for what counts beyond them */
    bool only_local;     /* Host must be "localhost", an address, or one of `hosts`: else 421 */
    const char *const *hosts;
    unsigned host_count;
};

/* What is wrong. `detail` and `field` are static texts, or NULL. */
struct head_fault {
    enum problem_code code; /* PROBLEM_COUNT: the client speaks TLS, so it would not understand any answer */
    const char *detail;
    const char *field; /* the name of the field that is meant */
    uint64_t limit;    /* 0: none is meant */
};

/* What the head says about the body that follows. */
struct head {
    bool chunked;
    uint64_t length; /* bytes, if it is not chunked */
};

/* Checks a whole head: from the first byte of its first line up to the empty line, which is included. 0; or -1 with
 * *fault. Each field, query parameter and cookie beyond the first hundred counts as 64 bytes more, because that is what
 * libmicrohttpd needs to keep it. */
int head_check(const char *bytes, size_t size, const struct head_rules *rules, struct head *head,
               struct head_fault *fault);
/* Checks the beginning of a head that has not come whole: finds what will be wrong whatever follows. `from`: so many
 * bytes were checked before. *items: 0 at the first call for a head, and then this function's own: libmicrohttpd keeps
 * the fields that it has seen before the head is whole. 0; or -1 with *fault. */
int head_check_part(const char *bytes, size_t size, size_t from, uint64_t *items, const struct head_rules *rules,
                    struct head_fault *fault);
/* Where the head ends: the size of the head with its empty line; 0: its end is not there. `from` as above. */
size_t head_end(const char *bytes, size_t size, size_t from);
/* The value of a field, for the answer to a head that can have any fault; not the whole value if it contains a NUL.
 * Returns its length; 0: there is none. */
size_t head_find(const char *bytes, size_t size, const char *name, const char **value);
/* Whether the first line asks for a head only (HEAD). */
bool head_is_for_head(const char *bytes, size_t size);

#endif
