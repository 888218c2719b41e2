/* web_origin.c: see web_origin.h. */
#include "base/web_origin.h"

#include <string.h>
#include <strings.h>

#define LETTERS     "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define DIGITS      "0123456789"
#define HOST        LETTERS DIGITS "-._~"
#define HOST_IN_IP6 DIGITS "abcdefABCDEF:."

static bool is_text(const char *at, size_t size, const char *text) {
    return strlen(text) == size && strncasecmp(at, text, size) == 0;
}

static unsigned port_of_scheme(const struct web_origin *o) {
    if (is_text(o->scheme, o->scheme_size, "http"))
        return 80;
    return is_text(o->scheme, o->scheme_size, "https") ? 443 : 0;
}

/* Reads host[:port], which must be all of the text. */
static bool read_host(struct web_origin *o, const char *text) {
    size_t n = strspn(text, HOST);
    if (text[0] == '[') {
        n = 1 + strspn(text + 1, HOST_IN_IP6);
        if (n == 1 || text[n++] != ']')
            return false;
    }
    o->host = text;
    o->host_size = n;
    o->port = port_of_scheme(o);
    if (n == 0 || text[n] == '\0')
        return n > 0;
    const char *digits = text + n + 1;
    size_t count = strspn(digits, DIGITS);
    if (text[n] != ':' || count == 0 || count > 5 || digits[count] != '\0')
        return false;
    o->port = 0;
    for (size_t i = 0; i < count; i++)
        o->port = o->port * 10 + (unsigned)(digits[i] - '0');
    return o->port > 0 && o->port <= 65535;
}

bool web_origin_read(struct web_origin *o, const char *text) {
    *o = (struct web_origin){.scheme = text, .scheme_size = strspn(text, LETTERS DIGITS "+-.")};
    return strspn(text, LETTERS) > 0 && strncmp(text + o->scheme_size, "://", 3) == 0 &&
           read_host(o, text + o->scheme_size + 3);
}

static bool is_same_place(const struct web_origin *a, const struct web_origin *b) {
    return a->host_size == b->host_size && strncasecmp(a->host, b->host, a->host_size) == 0 && a->port == b->port;
}

bool web_origin_is(const struct web_origin *a, const struct web_origin *b) {
    return a->scheme_size == b->scheme_size && strncasecmp(a->scheme, b->scheme, a->scheme_size) == 0 &&
           is_same_place(a, b);
}

bool web_origin_is_host(const struct web_origin *o, const char *host) {
    struct web_origin there = {.scheme = o->scheme, .scheme_size = o->scheme_size};
    return read_host(&there, host) && is_same_place(o, &there);
}
