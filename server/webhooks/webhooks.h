/* webhooks.h: tells the URL that a client gave with a job that the job has ended, by Standard Webhooks: signed, tried
 * again with growing delays, until it is answered 2xx, answered 410, or was tried WEBHOOK_ATTEMPTS times. Deliveries are
 * at least once; webhook-id is the same in all attempts, so that receivers can tell. Front end, on the event loop.
 *
 * Each step is recorded in the store first, so a delivery goes on after a restart: pass what store_ops.recover reports
 * to webhooks_send. */
#ifndef OFFLOAD_WEBHOOKS_H
#define OFFLOAD_WEBHOOKS_H

#include <stdint.h>

#include "base/attributes.h"
#include "base/buf.h"
#include "base/loop.h"
#include "server/store/store.h"

#define WEBHOOK_ATTEMPTS 10

struct webhooks;

/* Borrowed for the call. */
struct webhooks_config {
    const char *secret_file;  /* NULL: webhooks are sent unsigned */
    const char *const *allow; /* what --webhook-allow names */
    unsigned allow_count;
    int64_t timeout_ns;   /* of one attempt */
    int64_t retry_ns;     /* the first delay, 5 s by the standard; the later ones grow with it */
    unsigned max_running; /* attempts at a time; others wait in order */
    uint64_t max_bytes;   /* held for all that wait; beyond it those that failed most often are given up */
};

/* Checks what the operator wrote, without using it: the allow list, and the file of secrets. 0, or -1 with one line in
 * `error`. Needs no struct webhooks, so it can be called before anything is started. */
MUST_CHECK int webhooks_check_config(const struct webhooks_config *config, struct buf *error);

/* NULL with one line in `error`. The store is borrowed. */
struct webhooks *webhooks_new(struct loop *loop, const struct webhooks_config *config, struct store *store,
                              struct buf *error);
/* Reads the secrets and the allow list anew. -1 with one line in `error`: all stays as it was. */
int webhooks_configure(struct webhooks *w, const struct webhooks_config *config, struct buf *error);
/* Abandons attempts that run; the store still has them. */
void webhooks_free(struct webhooks *w);

/* Whether a client may name that URL. 0, or -1 with what is wrong in `detail`: "must begin with https://". */
int webhooks_check(const struct webhooks *w, const char *url, struct buf *detail);

/* Sends it at d->due_ms, after d->attempt attempts. For a job that ended now: {.attempt = 0, .due_ms = 0}. Copies the URL,
 * takes a reference to the body. */
void webhooks_send(struct webhooks *w, const struct delivery *d);

/* Appends what is sent when the job has ended: {"type": "job.succeeded", "timestamp": "...", "data": Job}. */
void webhook_body(struct buf *out, const struct record *r);

size_t webhooks_pending(const struct webhooks *w); /* not delivered and not given up yet */
size_t webhooks_active(const struct webhooks *w);  /* of these, under way now or about to be: no delay to wait for */
void webhooks_write_metrics(const struct webhooks *w, struct buf *out);

/* How long to wait after that many failed attempts (1 .. WEBHOOK_ATTEMPTS - 1): the schedule of the standard with up to a
 * tenth more or less, longer if the answer asked for it, by at most a day. */
int64_t webhook_delay_ms(unsigned attempt, int64_t retry_ns, int64_t retry_after_s);

#endif
