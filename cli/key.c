/* key.c: see key.h. Process: the client. */
#include "cli/key.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "base/hash.h"

#define RANDOM_BYTES 32

/* Three bytes are four characters; the last two of 32 bytes are three. */
static void write_base64url(char *to, const uint8_t bytes[RANDOM_BYTES]) {
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    uint32_t bits = 0;
    unsigned count = 0; /* of the bits that are not written yet */
    for (size_t i = 0; i < RANDOM_BYTES; i++) {
        bits = bits << 8 | bytes[i];
        for (count += 8; count >= 6; count -= 6)
            *to++ = alphabet[bits >> (count - 6) & 63];
    }
    if (count > 0)
        *to++ = alphabet[bits << (6 - count) & 63];
    *to = '\0';
}

static int hash_key(struct key *k) {
    uint8_t hash[HASH_SIZE];
    if (hash_sha256(k->text, strlen(k->text), hash) != 0) {
        errno = ENOTSUP;
        return -1;
    }
    for (size_t i = 0; i < HASH_SIZE; i++)
        snprintf(k->hash + 2 * i, 3, "%02x", hash[i]);
    return 0;
}

int key_make(struct key *k) {
    uint8_t bytes[RANDOM_BYTES];
    ssize_t n = getrandom(bytes, sizeof bytes, 0); /* so few bytes come whole, once the kernel has any */
    if (n != (ssize_t)sizeof bytes) {
        errno = n < 0 ? errno : EIO;
        return -1;
    }
    memcpy(k->text, KEY_PREFIX, strlen(KEY_PREFIX));
    write_base64url(k->text + strlen(KEY_PREFIX), bytes);
    explicit_bzero(bytes, sizeof bytes);
    return hash_key(k);
}
