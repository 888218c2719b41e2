/* idempotency.h: who may run the request of an Idempotency-Key (draft-ietf-httpapi-idempotency-key-header): of any number
 * of requests with one key, at the same time or a day apart, one makes a job, and the others get that job. Front end.
 *
 * The store knows the keys of the jobs that it has; this knows those on their way there:
 *
 *     claim ──► looked up in the store ──► found ─────────────► the job is told to all who claim it
 *                     │
 *                     └─► free ──► one claimant owns it ──► own(job) ──► settle(stored): the store knows it from now on
 *                                        ▲       │
 *                                        └───────┴── withdrawn (bad request, client gone): the next in line
 */
#ifndef OFFLOAD_IDEMPOTENCY_H
#define OFFLOAD_IDEMPOTENCY_H

#include <stdbool.h>

#include "server/store/store.h"

#define IDEMPOTENCY_MAX_KEY 255 /* bytes of a key */

struct idempotency;

enum key_verdict {
    KEY_YOURS,      /* make the job, then idempotency_own and idempotency_settle; or idempotency_withdraw */
    KEY_SAME,       /* `job` was made by the same request */
    KEY_OTHER,      /* the key stands for another request */
    KEY_UNAVAILABLE /* the store cannot be asked */
};

struct key_entry;

/* One request with a key. Embedded by its owner, zeroed; in place from claim to KEY_SAME, KEY_OTHER, KEY_UNAVAILABLE, settle
 * or withdraw. */
struct key_claim {
    void (*decided)(struct key_claim *c, enum key_verdict verdict, const struct id *job);
    struct store_key key;    /* key.key: of the entry */
    struct key_entry *entry; /* NULL: decided or withdrawn */
    struct key_claim *prev, *next;
};

struct idempotency *idempotency_new(struct store *store); /* NULL if memory ran out */
void idempotency_free(struct idempotency *i);

/* `decided` is called before this returns, or later. -1: out of memory. */
int idempotency_claim(struct idempotency *i, struct key_claim *c, const char *tenant, const char *key, int64_t ttl_ms,
                      const uint8_t hash[STORE_HASH_SIZE]);
/* The owner's job: who has the same hash gets it from now on. */
void idempotency_own(struct key_claim *c, const struct id *job);
/* The owner's job is in the store with its key, or was refused there. The claim is over. */
void idempotency_settle(struct key_claim *c);
/* No effect if the claim is over. An owner whose job goes on (own was called) settles instead. */
void idempotency_withdraw(struct key_claim *c);
bool idempotency_owns(const struct key_claim *c); /* own was called, settle was not */

/* The key in an Idempotency-Key header, quoted (RFC 8941 section 3.3.3) or bare, into `key`. False if it is empty, longer than
 * IDEMPOTENCY_MAX_KEY, or has other than printable ASCII. */
bool idempotency_parse(const char *header, char key[IDEMPOTENCY_MAX_KEY + 1]);

#endif
