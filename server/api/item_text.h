/* item_text.h: the items of a map job as text for streams: from the parts of its chunks (struct item_entry in
 * handlers/host/host.h), or from its merged result, {"items":[{...},...]}. Text is put straight into the room that a stream has, and goes on
 * where it stopped; no item is ever copied as a whole. Front end.
 */
#ifndef OFFLOAD_ITEM_TEXT_H
#define OFFLOAD_ITEM_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/buf.h"
#include "handlers/host/scan.h"
#include "pool/blob.h"

/* Room in what a stream may write. */
struct span {
    char *at, *end;
};

/* Puts what fits of bytes[*done..size) and moves *done; true when all is out. */
bool span_put(struct span *out, const char *bytes, size_t size, size_t *done);
/* The same for JSON, with line breaks between its tokens made spaces. */
bool span_put_json(struct span *out, const char *bytes, size_t size, size_t *done);
/* JSON text on one line, from `from` to the end of the buffer. */
void json_flatten(struct buf *b, size_t from);

#define ITEM_HEAD 128

/* Puts the items of one part, or of one result. Zero it, but for the owner's fields. */
struct item_reader {
    /* The owner's: writes what is to stand before the item's JSON, which goes on behind its "{", into r->head (a
     * NUL-terminated text), and what stands behind it. Called once for each item. */
    void (*begin)(struct item_reader *r, uint32_t index, bool ok);
    char head[ITEM_HEAD];
    const char *tail;

    bool open; /* in the middle of an item */
    size_t at; /* of the next entry of the part; of the next byte of the result */
    size_t head_done, json_done, tail_done;
    size_t json, size;      /* within the part: the JSON behind its "{" */
    uint32_t index;         /* in the result: of the next element */
    struct value_scan scan; /* in the result: of the element */
};

enum items_state {
    ITEMS_MORE, /* the room is full */
    ITEMS_ALL,  /* that was the last one */
    ITEMS_BAD   /* cannot be read */
};

enum items_state items_put_part(struct item_reader *r, const struct slice *part, struct span *out);
enum items_state items_put_result(struct item_reader *r, const struct slice *result, struct span *out);
/* Passes over the first n items of a part, without `begin`. */
void items_skip(struct item_reader *r, const struct slice *part, uint64_t n);
/* For the next part. */
void item_reader_rewind(struct item_reader *r);

#endif
