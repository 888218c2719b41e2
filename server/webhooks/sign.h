/* sign.h: how webhooks are signed, by Standard Webhooks (github.com/standard-webhooks): HMAC-SHA256 (RFC 2104) over
 * "id.timestamp.body", once for each secret, so that an old and a new secret can be in use at the same time. Front
 * end. */
#ifndef OFFLOAD_WEBHOOKS_SIGN_H
#define OFFLOAD_WEBHOOKS_SIGN_H

#include <stddef.h>
#include <stdint.h>

#include "base/attributes.h"
#include "base/buf.h"

#define WEBHOOK_MAX_SECRETS 16
#define WEBHOOK_MIN_SECRET  24 /* bytes */
#define WEBHOOK_MAX_SECRET  64

struct webhook_secret {
    uint8_t key[WEBHOOK_MAX_SECRET];
    size_t size;
};

struct webhook_secrets {
    struct webhook_secret at[WEBHOOK_MAX_SECRETS];
    size_t count; /* 0: nothing is signed */
};

/* Reads lines of "whsec_" and base64; # comments and blank lines are skipped. 0, or -1 with one line in `error` that
 * names the file and the line, and shows no secret; then *s is wiped. */
MUST_CHECK int webhook_secrets_read(struct webhook_secrets *s, const char *path, struct buf *error);
void webhook_secrets_wipe(struct webhook_secrets *s); /* overwrites them: none is left in memory */

/* Appends the value of webhook-signature: "v1,<base64>" for each secret, with spaces between. If memory runs out,
 * out->failed is set. */
void webhook_sign(struct buf *out, const struct webhook_secrets *s, const char *id, int64_t unix_s, const void *body,
                  size_t size);

#endif
