/* hash.h: SHA-256 (FIPS 180-4), by GnuTLS. Any process and thread. */
#ifndef OFFLOAD_HASH_H
#define OFFLOAD_HASH_H

#include <stddef.h>
#include <stdint.h>

#define HASH_SIZE 32

/* 0, or -1 if the library failed. */
int hash_sha256(const void *bytes, size_t size, uint8_t hash[HASH_SIZE]);

/* The same for bytes that come piece by piece. NULL if memory ran out. hash_end frees it. */
struct hash;
struct hash *hash_begin(void);
int hash_add(struct hash *h, const void *bytes, size_t size); /* 0 or -1 */
void hash_end(struct hash *h, uint8_t hash[HASH_SIZE]);

#endif
