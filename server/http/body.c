/* body.c: see body.h. Front end. */
#include "server/http/body.h"

#include <errno.h>
#include <unistd.h>

bool http_body_hold(struct http_request *r, size_t size) {
    r->counted += size;
    if (r->counted <= HTTP_BODY_UNCOUNTED)
        return true;
    size += r->body_held == 0 ? (size_t)r->counted - size : 0; /* what was not counted until now */
    if (!held_make_room(HELD_FOR_NEW, size))
        return false;
    held_add(HELD_BODIES, size);
    r->body_held += size;
    return true;
}

void http_body_hand_over(struct http_request *r, size_t size) {
    r->counted -= size;
    held_replace(HELD_BODIES, &r->body_held, r->counted > HTTP_BODY_UNCOUNTED ? (size_t)r->counted : 0);
}

int http_body_descriptor(int fd) {
    if (fd < 0 || held_make_room_for_descriptor(fd))
        return fd;
    close(fd);
    errno = EMFILE;
    return -1;
}

const char *http_body_trouble(void) {
    return errno == EMFILE ? "the jobs hold as many open files as the limit of the process (RLIMIT_NOFILE) leaves them"
                           : NULL;
}

bool http_body_keep(struct http_request *r, const char *bytes, size_t size) {
    r->text_size += size;
    if (r->spool_fd < 0 && r->body.size + size <= HTTP_SMALL_BODY) {
        buf_append(&r->body, bytes, size);
        return !r->body.failed;
    }
    if (r->spool_fd < 0) {
        r->spool_fd = http_body_descriptor(memfd_new("offload-body"));
        if (r->spool_fd < 0 || memfd_write(r->spool_fd, r->body.data, r->body.size) != 0)
            return false;
        buf_deinit(&r->body);
    }
    return memfd_write(r->spool_fd, bytes, size) == 0;
}
