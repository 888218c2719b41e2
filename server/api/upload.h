/* upload.h: what a submission brings beside a JSON body: the text of its submission, if that is not the body as it came,
 * and its data, which become the attachments of its job. Front end; all from the event loop.
 *
 *     application/json       the body is the text
 *     multipart/form-data    the part "job" is the text, each part "data" is an attachment
 *     anything else          the query is made into the text, the body is an attachment
 *
 * A body that is compressed is inflated before (coding.h).
 *
 * What the text names or has in itself becomes an attachment behind those (extras.h).
 */
#ifndef OFFLOAD_API_UPLOAD_H
#define OFFLOAD_API_UPLOAD_H

#include "server/api/answers.h"
#include "server/api/prefer.h"

struct deferred_request;

/* Where a pointer to one is NULL, a plain JSON body is all. */
struct upload {
    struct slice text;           /* empty: it is the body as it came */
    struct job_attachments data; /* first the data parts of the request, then its extras */
    bool hashed;                 /* `hash` is of the data parts */
    uint8_t hash[STORE_HASH_SIZE];

    /* extras.c's own */
    struct submission submission;
    uint32_t taken;                            /* how many of its extras are in `data` */
    bool looking;                              /* deferred_look_up has not returned yet */
    void (*ready)(struct deferred_request *d); /* coding.c's, too */

    /* coding.c's own */
    struct deferred_request *owner;
    struct job_waiter inflating;
    bool is_inflated;
    struct slice inflated; /* the body */
};
/* *u, which it makes if it is NULL. NULL: memory ran out, and the request is answered. */
struct upload *upload_make(struct http_request *r, struct upload **u);
void upload_free(struct upload *u); /* NULL is allowed */

/* From http_events.begin: says how the body is to be taken, or rejects it. True: data come. */
bool upload_begin(struct http_request *r);

/* The same for a route that takes JSON only. */
void upload_begin_json(struct http_request *r);

/* Of a body (Content-Encoding; RFC 9110, section 8.4). One that was taken has to be inflated before upload_read. */
enum coding { CODING_NONE, CODING_GZIP, CODING_DEFLATE, CODING_ZSTD, CODING_OTHER };
/* CODING_OTHER: it is not known, or there are several. */
enum coding upload_coding(struct http_request *r);

/* From the handler, first of all: finds out what the request submits. False: it is wrong, and the request is answered. */
MUST_CHECK bool upload_read(struct http_request *r, struct upload **u);
/* The same for a route that takes JSON only, whose query was checked. */
MUST_CHECK bool upload_read_text(struct http_request *r, struct upload **u);
/* The media ranges of the request, if they name something else than JSON; otherwise there are none. */
void upload_read_accept(struct http_request *r, struct accept_ranges *a);
/* Replaces the text. False: memory ran out, and the request is answered. */
MUST_CHECK bool upload_set_text(struct http_request *r, struct upload **u, const struct buf *text);

/* The text of the submission, if it is on the heap; *size is 0 if it is large. Borrowed. */
const char *upload_small_text(const struct http_request *r, const struct upload *u, size_t *size);
bool upload_text_is_large(const struct http_request *r, const struct upload *u);
/* The text: a reference, or a copy of a small body. Empty: memory ran out. */
struct slice upload_text(const struct http_request *r, const struct upload *u);
/* Makes the hash of the text into the hash of the whole request. False: the library failed. */
MUST_CHECK bool upload_mix_hash(const struct upload *u, uint8_t hash[STORE_HASH_SIZE]);
/* The data, for the job. NULL: there are none. */
const struct job_attachments *upload_data(const struct upload *u);

#endif
