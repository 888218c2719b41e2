/* hash.c: see hash.h. Front end and workers. */
#include "base/hash.h"

#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>

int hash_sha256(const void *bytes, size_t size, uint8_t hash[HASH_SIZE]) {
    return gnutls_hash_fast(GNUTLS_DIG_SHA256, bytes, size, hash) == 0 ? 0 : -1;
}
