/* webhooks.h: when a job has ended, its webhook is sent to the URL that the client gave with it, by Standard Webhooks
 * (github.com/standard-webhooks). It is signed, and tried again with growing delays until the answer is a 2xx or a 410,
 * or it was tried 10 times. A receiver may get it more than once; webhook-id is the same in all attempts. The interface
 * of this room: other rooms include nothing else of it. Front end; all from the event loop.
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
#include "server/webhooks/message.h" /* webhook_body is of this interface */

struct webhooks;

/* Borrowed for the call. */
struct webhooks_config {
    const char *secret_file;  /* NULL: webhooks are sent unsigned */
    const char *const *allow; /* what --webhook-allow names */
    unsigned allow_count;
    int64_t timeout_ns;   /* of one attempt */
    int64_t retry_ns;     /* the first delay, 5 s by the standard; the later ones grow with it */
    unsigned max_running; /* attempts at a time; the others wait in their order */
    uint64_t max_bytes;   /* that all of them may hold; beyond it those that wait and failed most often are
                           * given up, as many as make room; if that is not enough, the new one alone */
};

/* Checks what the operator wrote, without using it: the allow list, and the file of secrets. 0, or -1 with one line in
 * `error`. Needs no struct webhooks, so it can be called before anything is started. */
MUST_CHECK int webhooks_check_config(const struct webhooks_config *config, struct buf *error);

/* NULL with one line in `error`, or without if memory ran out. The store is borrowed until webhooks_free. */
struct webhooks *webhooks_new(struct loop *loop, const struct webhooks_config *config, struct store *store,
                              struct buf *error);
/* Changes all of the configuration; reads the secrets and the allow list anew. 0, or -1 with one line in `error`: all
 * stays as it was. */
int webhooks_configure(struct webhooks *w, const struct webhooks_config *config, struct buf *error);
/* Cancels the attempts that run; the store still has their webhooks. */
void webhooks_free(struct webhooks *w);

/* Whether a client may name that URL. 0, or -1 with what is wrong in `detail`: "must begin with https://".
 * If `detail` has failed, memory ran out, and the URL can be a good one. */
int webhooks_check(const struct webhooks *w, const char *url, struct buf *detail);

/* Sends it at d->due_ms (wall clock), after d->attempt attempts. For a job that ended now: {.attempt = 0, .due_ms = 0}.
 * Copies the URL, and takes a reference to the body. False: memory ran out, and it will not
 * be sent before the next start. */
bool webhooks_send(struct webhooks *w, const struct delivery *d);

size_t webhooks_pending(const struct webhooks *w); /* not delivered and not given up yet */
size_t webhooks_active(const struct webhooks *w);  /* of these: under way, or as soon as there is room */
void webhooks_write_metrics(const struct webhooks *w, struct buf *out);

#endif
