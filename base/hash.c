/* hash.c: see hash.h. Front end and workers. */
#include "base/hash.h"

#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>

int hash_sha256(const void *bytes, size_t size, uint8_t hash[HASH_SIZE]) {
    return gnutls_hash_fast(GNUTLS_DIG_SHA256, bytes, size, hash) == 0 ? 0 : -1;
}

/* A struct hash is what a gnutls_hash_hd_t points to. */

struct hash *hash_begin(void) {
    gnutls_hash_hd_t handle;
    return gnutls_hash_init(&handle, GNUTLS_DIG_SHA256) == 0 ? (struct hash *)handle : NULL;
}

int hash_add(struct hash *h, const void *bytes, size_t size) {
    return gnutls_hash((gnutls_hash_hd_t)h, bytes, size) == 0 ? 0 : -1;
}

void hash_end(struct hash *h, uint8_t hash[HASH_SIZE]) {
    gnutls_hash_deinit((gnutls_hash_hd_t)h, hash);
}
