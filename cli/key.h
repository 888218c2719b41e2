/* key.h: API keys as offloadd knows them: 32 random bytes as text, and the hash of that text. */
#ifndef OFFLOAD_CLI_KEY_H
#define OFFLOAD_CLI_KEY_H

#include "base/attributes.h"

struct key {
    char text[8 + 43 + 1]; /* "offload_", and 32 bytes in base64url (RFC 4648 section 5) without padding */
    char hash[64 + 1];     /* SHA-256 of the text, in hexadecimal */
};

/* Makes a key of getrandom(2). 0; or -1 with errno. The caller overwrites it in the end. */
MUST_CHECK int key_make(struct key *k);

#endif
