/* item_text.h: the items of a map as text for streams: from the parts of its chunks (struct item_entry in
 * handlers/host/host.h), or from its merged result, {"items":[{...},...]} or {"results":[...],"errors":[...]}. An item of
 * a map by columns is given the same members as one of "items": "status", and "result" or "error". Text is put straight into the room that a
 * stream has, and goes on where it stopped. No item is ever copied as a whole. Front end.
 */
#ifndef OFFLOAD_API_ITEM_TEXT_H
#define OFFLOAD_API_ITEM_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/buf.h"
#include "handlers/host/host.h"
#include "handlers/host/scan.h"
#include "pool/blob.h"
#include "server/model/model.h"

/* Room in what a stream may write. */
struct span {
    char *at, *end;
};

/* Puts what fits of bytes[*done..size), and adds its size to *done. True when all is put. */
bool span_put(struct span *out, const char *bytes, size_t size, size_t *done);
/* The same for JSON on one line: line breaks between its tokens become spaces. */
bool span_put_json(struct span *out, const char *bytes, size_t size, size_t *done);
/* Puts the JSON from `from` to the end of the buffer on one line. */
void json_flatten(struct buf *b, size_t from);

#define ITEM_HEAD 128
#define ITEM_ROOM (2 * HANDLER_MAX_MEDIA_TYPE + 96)

/* Puts the items of one part, or of one result. The owner embeds it, sets `begin` and `tail`, and zeroes the rest. */
struct item_reader {
    /* Called once for each item. Writes to r->head, with a NUL, what stands before the item's JSON, of which the first
     * "{" is left out. */
    void (*begin)(struct item_reader *r, uint32_t index, bool ok);
    char head[ITEM_HEAD];
    const char *tail; /* what stands behind the JSON */
    /* Around the JSON of an item of a map by columns, "" otherwise. */
    const char *front, *back;
    char room[ITEM_ROOM]; /* for front, of a result that is not JSON */

    bool open;                 /* it is within an item */
    struct item_cursor cursor; /* in the part: the next entry */
    size_t at;                 /* in the result: the next byte */
    size_t head_done, front_done, json_done, back_done, tail_done;
    size_t json, size;                                            /* within the part: the JSON behind its "{" */
    uint32_t index;                                               /* in the result: of the next element */
    struct value_scan scan;                                       /* in the result: of the element */
    enum { LIST_OF_ITEMS, LIST_OF_RESULTS, LIST_OF_ERRORS } list; /* in the result: where it is */
};

enum items_state {
    ITEMS_MORE, /* the room is full */
    ITEMS_ALL,  /* all items are put */
    ITEMS_BAD   /* it cannot be read: out of memory, or the result is no list of items */
};

/* Puts as many items as there is room for, and goes on there when it is called again. Of the result of a map by columns
 * come first those that have succeeded, then those that have failed: each byte is looked at only once. The bytes of an
 * item that are not JSON are never put: its media type and its size are. */
enum items_state items_put_part(struct item_reader *r, const struct slice *part, struct span *out);
enum items_state items_put_result(struct item_reader *r, const struct record *record, struct span *out);
/* Passes over the first n items of a part, without `begin`. */
void items_skip(struct item_reader *r, const struct slice *part, uint64_t n);
/* To be called before the next part. */
void item_reader_rewind(struct item_reader *r);

#endif
