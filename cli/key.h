/* key.h: API keys as offloadd knows them: 32 random bytes as text, and the hash of that text. */
#ifndef OFFLOAD_CLI_KEY_H
#define OFFLOAD_CLI_KEY_H

#include "base/attributes.h"

#define KEY_PREFIX "offload_" /* so that a key that is found somewhere says what it is for */
#define KEY_SIZE   (8 + 43)

struct key {
    char text[KEY_SIZE + 1]; /* the prefix, and 32 bytes in base64url (RFC 4648 section 5) without padding */
    char hash[64 + 1];       /* SHA-256 of the text, in hexadecimal */
};

/* Makes a key of getrandom(2). 0; or -1 with errno. The caller overwrites it in the end. */
MUST_CHECK int key_make(struct key *k);

#endif
