/* idempotency.c: see idempotency.h. Front end. There is one entry for each key that is being looked up, or whose job
 * is on its way into the store. It has its claims in the order in which they came. */
#include "server/api/idempotency.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "base/table.h"

struct key_entry {
    struct idempotency *all;
    struct key_claim *claims; /* those not decided, and the owner's */
    struct key_claim *owner;  /* who got KEY_YOURS; or NULL */
    bool owned;               /* the owner has made `job` */
    bool looking;             /* the store was asked, and has not answered */
    bool offering;            /* in offer(), which frees it */
    struct id job;
    uint8_t hash[STORE_HASH_SIZE]; /* of the owner's request, or the store's */
    UT_hash_handle hh;
    char name[]; /* tenant NUL key NUL */
};

struct idempotency {
    struct store *store;
    struct key_entry *entries;
};

static void entry_free(struct key_entry *e) {
    HASH_DEL(e->all->entries, e);
    free(e);
}

static void free_if_unused(struct key_entry *e) {
    if (e->claims == NULL && !e->looking && !e->offering)
        entry_free(e);
}

static void leave(struct key_claim *c) {
    DL_DELETE(c->entry->claims, c);
    if (c->entry->owner == c)
        c->entry->owner = NULL;
    c->entry = NULL;
}

static void decide(struct key_claim *c, enum key_verdict verdict, const struct id *job) {
    leave(c);
    c->decided(c, verdict, job);
}

/* The job is known: all but the owner get their verdict. */
static void tell_all(struct key_entry *e) {
    struct key_claim *c, *next;
    const struct id job = e->job;
    DL_FOREACH_SAFE(e->claims, c, next) {
        if (c != e->owner)
            decide(c, memcmp(c->key.hash, e->hash, sizeof e->hash) == 0 ? KEY_SAME : KEY_OTHER, &job);
    }
}

/* The first claim can make the job; if it withdraws at once, the next one can. May free the entry. */
static void offer(struct key_entry *e) {
    if (e->looking || e->offering)
        return;
    e->offering = true;
    while (e->owner == NULL && e->claims != NULL) {
        struct key_claim *first = e->claims;
        e->owner = first;
        memcpy(e->hash, first->key.hash, sizeof e->hash);
        first->decided(first, KEY_YOURS, NULL);
    }
    e->offering = false;
    free_if_unused(e);
}

static void on_looked_up(void *arg, enum store_result result, const struct id *job,
                         const uint8_t hash[STORE_HASH_SIZE]) {
    struct key_entry *e = arg;
    e->looking = false;
    if (result == STORE_OK) {
        e->job = *job;
        memcpy(e->hash, hash, sizeof e->hash);
        tell_all(e);
    } else if (result == STORE_NOT_FOUND && e->claims != NULL) {
        offer(e);
        return;
    }
    while (e->claims != NULL)
        decide(e->claims, KEY_UNAVAILABLE, NULL);
    entry_free(e);
}

int idempotency_claim(struct idempotency *i, struct key_claim *c, const char *tenant, const char *key, int64_t ttl_ms,
                      const uint8_t hash[STORE_HASH_SIZE]) {
    char name[2 * IDEMPOTENCY_MAX_KEY + 2];
    struct key_entry *e;
    size_t size = (size_t)snprintf(name, sizeof name, "%s%c%s", tenant, '\0', key) + 1;
    HASH_FIND(hh, i->entries, name, size, e);
    bool is_new = e == NULL;
    if (is_new) {
        e = calloc(1, sizeof *e + size);
        if (e == NULL)
            return -1;
        e->all = i;
        memcpy(e->name, name, size);
        HASH_ADD_KEYPTR(hh, i->entries, e->name, size, e);
        if (!HASH_HOLDS(e)) {
            free(e);
            return -1;
        }
    }
    c->key = (struct store_key){.tenant = e->name, .key = e->name + strlen(tenant) + 1, .ttl_ms = ttl_ms};
    memcpy(c->key.hash, hash, STORE_HASH_SIZE);
    c->entry = e;
    DL_APPEND(e->claims, c);
    if (is_new) {
        e->looking = true;
        i->store->ops->find_key(i->store, c->key.tenant, c->key.key, on_looked_up, e);
    } else if (e->owned) {
        tell_all(e);
    }
    return 0;
}

void idempotency_own(struct key_claim *c, const struct id *job) {
    struct key_entry *e = c->entry;
    e->owned = true;
    e->job = *job;
    tell_all(e);
}

bool idempotency_owns(const struct key_claim *c) {
    return c->entry != NULL && c->entry->owner == c && c->entry->owned;
}

void idempotency_settle(struct key_claim *c) {
    struct key_entry *e = c->entry;
    if (e == NULL)
        return;
    leave(c);
    e->owned = false;
    free_if_unused(e);
}

void idempotency_withdraw(struct key_claim *c) {
    struct key_entry *e = c->entry;
    if (e == NULL)
        return;
    leave(c);
    offer(e);
}

struct idempotency *idempotency_new(struct store *store) {
    struct idempotency *i = calloc(1, sizeof *i);
    if (i != NULL)
        i->store = store;
    return i;
}

void idempotency_free(struct idempotency *i) {
    struct key_entry *e, *next;
    if (i == NULL)
        return;
    HASH_ITER(hh, i->entries, e, next) {
        entry_free(e);
    }
    free(i);
}

/* Copies a quoted string without its backslashes. False: it is not one. */
static bool unquote(const char *text, size_t size, char *to) {
    if (size < 2 || text[size - 1] != '"')
        return false;
    for (size_t i = 1; i < size - 1; i++) {
        if (text[i] == '"' || (text[i] == '\\' && ++i == size - 1))
            return false;
        *to++ = text[i];
    }
    *to = '\0';
    return true;
}

bool idempotency_parse(const char *header, char key[IDEMPOTENCY_MAX_KEY + 1]) {
    size_t size = strlen(header);
    if (size == 0 || size > IDEMPOTENCY_MAX_KEY)
        return false;
    for (size_t i = 0; i < size; i++)
        if (header[i] < ' ' || header[i] > '~')
            return false;
    if (header[0] == '"')
        return unquote(header, size, key) && key[0] != '\0';
    memcpy(key, header, size + 1);
    return true;
}
