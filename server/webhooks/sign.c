/* sign.c: see sign.h. Front end. HMAC and base64 are those of GnuTLS. */
#include "server/webhooks/sign.h"

#include <ctype.h>
#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>
#include <string.h>

#include "base/textfile.h"

#define SECRET_PREFIX "whsec_"
#define SHA256_SIZE   32
#define MAX_LINE      512 /* a secret has at most 94 characters */

/* ---- secrets ----------------------------------------------------------------------------------------------------- */

void webhook_secrets_wipe(struct webhook_secrets *s) {
    explicit_bzero(s, sizeof *s);
}

/* One line of the file, which may have spaces around it. NULL, or what is wrong. */
static const char *read_secret(struct webhook_secrets *s, const char *line, size_t n) {
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=";
    const size_t prefix = sizeof SECRET_PREFIX - 1;
    struct webhook_secret *to = &s->at[s->count];
    gnutls_datum_t plain;
    if (n >= MAX_LINE)
        return "is too long";
    for (; n > 0 && isspace((unsigned char)*line); n--)
        line++;
    while (n > 0 && isspace((unsigned char)line[n - 1]))
        n--;
    if (n == 0 || *line == '#')
        return NULL;
    if (s->count == WEBHOOK_MAX_SECRETS)
        return "is one secret too many";
    if (n <= prefix || memcmp(line, SECRET_PREFIX, prefix) != 0)
        return "must begin with " SECRET_PREFIX;
    const gnutls_datum_t encoded = {(unsigned char *)(uintptr_t)(line + prefix), (unsigned)(n - prefix)};
    if (strspn(line + prefix, alphabet) < n - prefix || gnutls_base64_decode2(&encoded, &plain) != 0)
        return "is no base64 behind " SECRET_PREFIX;
    const bool fits = plain.size >= WEBHOOK_MIN_SECRET && plain.size <= WEBHOOK_MAX_SECRET;
    if (fits) {
        memcpy(to->key, plain.data, plain.size);
        to->size = plain.size;
        s->count++;
    }
    explicit_bzero(plain.data, plain.size);
    gnutls_free(plain.data);
    return fits ? NULL : "must be the base64 of 24 to 64 bytes";
}

int webhook_secrets_read(struct webhook_secrets *s, const char *path, struct buf *error) {
    struct buf text = {0}, reason = {0};
    const char *why = NULL;
    unsigned number = 0;
    memset(s, 0, sizeof *s);
    if (textfile_read(&text, path, &reason) != 0) {
        buf_printf(error, "--webhook-secret-file %s: %s", path, reason.data == NULL ? "out of memory" : reason.data);
        buf_deinit(&reason);
        return -1;
    }
    const char *end = text.data + text.size;
    for (const char *line = text.data; why == NULL && line < end; number++) {
        const char *newline = memchr(line, '\n', (size_t)(end - line));
        const char *line_end = newline == NULL ? end : newline;
        why = read_secret(s, line, (size_t)(line_end - line));
        line = newline == NULL ? end : newline + 1;
    }
    textfile_wipe(&text);
    if (why != NULL)
        buf_printf(error, "--webhook-secret-file %s line %u: %s", path, number, why);
    else if (s->count == 0)
        buf_printf(error, "--webhook-secret-file %s: holds no secret", path);
    if (why == NULL && s->count > 0)
        return 0;
    webhook_secrets_wipe(s);
    return -1;
}

/* ---- signatures -------------------------------------------------------------------------------------------------- */

static int hmac_sha256(const struct webhook_secret *s, const struct buf *front, const void *body, size_t size,
                       uint8_t digest[SHA256_SIZE]) {
    gnutls_hmac_hd_t h;
    if (gnutls_hmac_init(&h, GNUTLS_MAC_SHA256, s->key, s->size) != 0)
        return -1;
    int rc = gnutls_hmac(h, front->data, front->size);
    if (rc == 0)
        rc = gnutls_hmac(h, body, size);
    gnutls_hmac_deinit(h, digest);
    return rc == 0 ? 0 : -1;
}

static int append_base64(struct buf *out, uint8_t *bytes, unsigned size) {
    const gnutls_datum_t plain = {bytes, size};
    gnutls_datum_t encoded;
    if (gnutls_base64_encode2(&plain, &encoded) != 0)
        return -1;
    buf_append(out, encoded.data, encoded.size);
    gnutls_free(encoded.data);
    return 0;
}

void webhook_sign(struct buf *out, const struct webhook_secrets *s, const char *id, int64_t unix_s, const void *body,
                  size_t size) {
    uint8_t digest[SHA256_SIZE];
    struct buf front = {0};
    buf_printf(&front, "%s.%lld.", id, (long long)unix_s);
    out->failed |= front.failed;
    for (size_t i = 0; i < s->count && !out->failed; i++) {
        buf_puts(out, i == 0 ? "v1," : " v1,");
        if (hmac_sha256(&s->at[i], &front, body, size, digest) != 0 || append_base64(out, digest, sizeof digest) != 0)
            out->failed = true;
    }
    buf_deinit(&front);
}
