/* items_blobs.h: the parts of groups whose items have results that are not JSON, and the result of such a map. Private to
 * handlers/host, but for the reading of the result (host.h). In workers; the functions that read are pure.
 *
 * The result of the map is a document for clients, and behind it an index for ourselves, which is not sent:
 *
 *     | multipart/mixed (RFC 2046, section 5.1) ..pad | mixed_row, one for each item | mixed_type | ... | mixed_foot |
 */
#ifndef OFFLOAD_HOST_ITEMS_BLOBS_H
#define OFFLOAD_HOST_ITEMS_BLOBS_H

#include "handlers/host/items_format.h"

/* The blobs of a group under way. Begins as zeros. */
struct blobs {
    bool open;
    int fd;
    uint64_t size; /* written so far */
    struct blob_row *rows;
    size_t count, room;
};

/* Adds the result of an item, of which a piece lies in memory, or in fd if that is not -1. False: memory ran out. */
MUST_CHECK bool blobs_add(struct blobs *b, uint32_t index, const char *media_type, const void *bytes, int fd,
                          uint64_t offset, uint64_t size);
/* Ends the part with that text, and gives it to *out. False: memory ran out. */
MUST_CHECK bool blobs_finish(struct blobs *b, const struct buf *text, struct host_output *out);
void blobs_deinit(struct blobs *b);

/* Writes the result of a map from its parts, some of which have blobs. 0, or -1 with *fault filled. */
MUST_CHECK int blobs_merge(const struct bytes *parts, size_t count, struct host_output *out, struct fault *fault);

#endif
