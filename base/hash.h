/* hash.h: SHA-256 (FIPS 180-4), by GnuTLS. No state, any thread. */
#ifndef OFFLOAD_HASH_H
#define OFFLOAD_HASH_H

#include <stddef.h>
#include <stdint.h>

#define HASH_SIZE 32

/* 0, or -1 if the library could not. */
int hash_sha256(const void *bytes, size_t size, uint8_t hash[HASH_SIZE]);

#endif
