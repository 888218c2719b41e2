/* etag.c: see etag.h. Front end. */
#include "server/http/etag.h"

#include <string.h>

struct tag {
    const char *opaque; /* with its quotes */
    size_t size;
    bool weak;
};

/* Only these can stand between the quotes; a backslash is an ordinary character. */
static bool is_tag_character(unsigned char c) {
    return c == 0x21 || (c >= 0x23 && c != 0x7F);
}

/* Reads the tag at *at, and moves *at behind it. False: there is none. */
static bool read_tag(const char **at, struct tag *t) {
    const char *p = *at;
    t->weak = strncmp(p, "W/", 2) == 0; /* "w/" is malformed: the W is case-sensitive */
    p += t->weak ? 2 : 0;
    t->opaque = p;
    if (*p++ != '"')
        return false;
    while (is_tag_character((unsigned char)*p))
        p++;
    if (*p++ != '"')
        return false;
    t->size = (size_t)(p - t->opaque);
    *at = p;
    return true;
}

static bool matches(const struct etag_search *s, const struct tag *t) {
    bool weak = strncmp(s->etag, "W/", 2) == 0;
    const char *own = s->etag + (weak ? 2 : 0);
    if (!s->weakly && (weak || t->weak))
        return false;
    if (s->significant > 0)
        return t->size > s->significant && memcmp(own, t->opaque, s->significant) == 0;
    return strlen(own) == t->size && memcmp(own, t->opaque, t->size) == 0;
}

static const char *skip_space(const char *at) {
    return at + strspn(at, " \t");
}

void etag_search_line(struct etag_search *s, const char *line) {
    struct tag t;
    const char *at = skip_space(line);
    s->present = true;
    if (*at == '*' && *skip_space(at + 1) == '\0') {
        s->found = true;
        return;
    }
    for (;;) {
        at += strspn(at, " \t,"); /* empty elements are allowed (RFC 9110, section 5.6.1) */
        if (*at == '\0' || !read_tag(&at, &t))
            return;
        at = skip_space(at);
        if (*at != ',' && *at != '\0')
            return;
        s->found = s->found || matches(s, &t);
    }
}

void etag_search_single(struct etag_search *s, const char *line) {
    struct tag t;
    const char *at = skip_space(line);
    s->present = true;
    if (read_tag(&at, &t) && *skip_space(at) == '\0')
        s->found = matches(s, &t);
}
