/* idempotency.h: who makes the job of an Idempotency-Key (draft-ietf-httpapi-idempotency-key-header). Of any number of
 * requests with one key, at the same time or a day apart, one makes a job, and the others get that job. Front end; all
 * from the event loop.
 *
 * The store knows the keys of the jobs that it has. This knows those that are on their way into the store:
 *
 *     claim ──► looked up in the store ──► found ─────────────► all who claim it get that job
 *                     │
 *                     └─► free ──► one claimant owns it ──► own(job) ──► settle: the store knows the key from now on
 *                                        ▲       │
 *                                        └───────┴── withdrawn (bad request, client gone): the next one owns it
 */
#ifndef OFFLOAD_IDEMPOTENCY_H
#define OFFLOAD_IDEMPOTENCY_H

#include <stdbool.h>

#include "base/attributes.h"
#include "server/store/store.h"

#define IDEMPOTENCY_MAX_KEY 255 /* bytes of a key */

struct idempotency;

enum key_verdict {
    KEY_YOURS,      /* make the job, then call idempotency_own and idempotency_settle; or call idempotency_withdraw */
    KEY_SAME,       /* an equal request has made `job` */
    KEY_OTHER,      /* a request that is not equal has used the key */
    KEY_UNAVAILABLE /* the store could not be asked */
};

struct key_entry;

/* One request with a key. Its owner embeds it, zeroed, and keeps it in place from idempotency_claim until the claim is
 * over: by KEY_SAME, KEY_OTHER, KEY_UNAVAILABLE, idempotency_settle or idempotency_withdraw. */
struct key_claim {
    void (*decided)(struct key_claim *c, enum key_verdict verdict, const struct id *job);
    struct store_key key;    /* its texts belong to the entry */
    struct key_entry *entry; /* NULL: the claim is over */
    struct key_claim *prev, *next;
};

/* Borrows the store. NULL if memory ran out. */
struct idempotency *idempotency_new(struct store *store);
/* To be called when the store is closed, because that answers all that it was asked. */
void idempotency_free(struct idempotency *i);

/* hash: of the request, by which equal requests are known. ttl_ms: for the store. `decided` is called before this
 * returns, or later. 0, or -1: out of memory. */
MUST_CHECK int idempotency_claim(struct idempotency *i, struct key_claim *c, const char *tenant, const char *key,
                                 int64_t ttl_ms, const uint8_t hash[STORE_HASH_SIZE]);
/* After KEY_YOURS: that is the job. All others who claim the key get their verdict before this returns, and what they
 * do then may end the job. */
void idempotency_own(struct key_claim *c, const struct id *job);
/* The job is in the store with its key, or the store has failed. The claim is over. */
void idempotency_settle(struct key_claim *c);
/* The claim is over, and the next one gets KEY_YOURS. No effect if it is over already. Whoever has called
 * idempotency_own settles instead. */
void idempotency_withdraw(struct key_claim *c);
/* Whether idempotency_own was called, and idempotency_settle was not. */
bool idempotency_owns(const struct key_claim *c);

/* Writes the key of an Idempotency-Key header, quoted (RFC 8941, section 3.3.3) or bare, to `key`. False if it is
 * empty, longer than IDEMPOTENCY_MAX_KEY, or not printable ASCII. */
bool idempotency_parse(const char *header, char key[IDEMPOTENCY_MAX_KEY + 1]);

#endif
