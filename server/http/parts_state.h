/* parts_state.h: the data parts of a request while they come (parts.h). For this room only. Event loop's thread. */
#ifndef OFFLOAD_HTTP_PARTS_STATE_H
#define OFFLOAD_HTTP_PARTS_STATE_H

#include <microhttpd.h>

#include "base/hash.h"
#include "server/http/http.h"

/* What is wrong; PROBLEM_COUNT: nothing. */
struct parts_fault {
    enum problem_code code;
    const char *detail; /* static, or NULL */
};

struct http_parts {
    enum http_body_kind kind;
    bool to_files;
    struct hash *hash; /* NULL: none is wanted */
    uint8_t digest[HASH_SIZE];
    struct MHD_PostProcessor *post;
    struct parts_fault fault;
    bool has_text;
    enum { FIELD_NONE, FIELD_TEXT, FIELD_DATA } field; /* that comes now */
    uint64_t field_size;                               /* bytes of it so far */
    uint64_t fed, taken;                               /* by the post processor, and from it */

    struct http_part *list;
    char (*media_types)[HANDLER_MAX_MEDIA_TYPE + 1];
    size_t count, room, type_room;
    /* The part that comes now. */
    struct buf small;
    int fd; /* or -1 */
    uint64_t size;
    size_t held; /* bytes of it that were counted */
};

/* NULL is allowed. */
void http_parts_free(struct http_parts *p);

#endif
