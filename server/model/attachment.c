/* attachment.c: see attachment.h. Front end. */
#include "server/model/attachment.h"

#include <stdlib.h>
#include <string.h>

int attachments_add(struct job_attachments *a, const struct slice *bytes, const char *media_type, bool own) {
    if (a->count == a->room) {
        uint32_t room = a->room == 0 ? 1 : 2 * a->room;
        struct job_attachment *list = reallocarray(a->list, room, sizeof *list);
        if (list == NULL)
            return -1;
        a->list = list;
        a->room = room;
    }
    bool named = media_type != NULL && media_type[0] != '\0';
    char *copy = named ? strdup(media_type) : NULL;
    if (named && copy == NULL)
        return -1;
    a->list[a->count++] = (struct job_attachment){slice_ref(bytes), copy, own};
    return 0;
}

void attachments_deinit(struct job_attachments *a) {
    for (uint32_t i = 0; i < a->count; i++) {
        slice_deinit(&a->list[i].bytes);
        free(a->list[i].media_type);
    }
    free(a->list);
    memset(a, 0, sizeof *a);
}
