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

void attachments_truncate(struct job_attachments *a, uint32_t count) {
    while (a->count > count) {
        struct job_attachment *last = &a->list[--a->count];
        slice_deinit(&last->bytes);
        free(last->media_type);
    }
}

void attachments_deinit(struct job_attachments *a) {
    attachments_truncate(a, 0);
    free(a->list);
    memset(a, 0, sizeof *a);
}
