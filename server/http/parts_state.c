/* parts_state.c: see parts_state.h. Front end. */
#include "server/http/parts_state.h"

#include <stdlib.h>

#include "base/closing.h"

void http_parts_free(struct http_parts *p) {
    uint8_t ignored[HASH_SIZE];
    if (p == NULL)
        return;
    if (p->post != NULL)
        MHD_destroy_post_processor(p->post);
    if (p->hash != NULL)
        hash_end(p->hash, ignored);
    if (p->fd >= 0)
        closing_close(p->fd, (size_t)p->size);
    for (size_t i = 0; i < p->count; i++)
        slice_deinit(&p->list[i].bytes);
    free(p->list);
    free(p->media_types);
    buf_deinit(&p->small);
    free(p);
}
