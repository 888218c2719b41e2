/* request_id.c: chooses the id of a request. Front end. */
#include "server/http/request_id.h"

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/id.h"

#define RANDOM_BYTES 8

void http_id_make(char id[HTTP_ID_SIZE], const char *given) {
    static const char hex[] = "0123456789abcdef";
    uint8_t bytes[RANDOM_BYTES];
    size_t n = given == NULL ? 0 : strlen(given);
    /* The id goes into logs and headers, so it must have no blanks, quotes or line ends. */
    if (n > 0 && n < HTTP_ID_SIZE &&
        strspn(given, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.") == n) {
        memcpy(id, given, n + 1);
        return;
    }
    id_random(bytes, sizeof bytes);
    for (int i = 0; i < RANDOM_BYTES; i++) {
        id[2 * i] = hex[bytes[i] >> 4];
        id[2 * i + 1] = hex[bytes[i] & 15];
    }
    id[2 * RANDOM_BYTES] = '\0';
}
