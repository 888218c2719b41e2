/* scan.c: finds the ends of values in JSON text (scan.h). It runs in the front end and in workers. */
#include "handlers/host/scan.h"

#include "base/hex.h"

enum kind { OTHER, QUOTE, OPEN, CLOSE, DELIMITER };

static const unsigned char kinds[256] = {
    ['"'] = QUOTE,     ['{'] = OPEN,      ['['] = OPEN,       ['}'] = CLOSE,      [']'] = CLOSE,      [','] = DELIMITER,
    [':'] = DELIMITER, [' '] = DELIMITER, ['\t'] = DELIMITER, ['\n'] = DELIMITER, ['\r'] = DELIMITER,
};

/* From within a string to behind its last quote or, if that comes first, to `end`. */
static const char *pass_string(struct value_scan *s, const char *at, const char *end) {
    for (; at < end; at++) {
        if (s->escaped) {
            s->escaped = false;
        } else if (*at == '\\') {
            s->escaped = true;
        } else if (*at == '"') {
            s->in_string = false;
            s->ended = s->depth == 0;
            return at + 1;
        }
    }
    return at;
}

/* Within brackets: to the next quote or bracket. */
static const char *pass_others(const char *at, const char *end) {
    while (at < end && (kinds[(unsigned char)*at] == OTHER || kinds[(unsigned char)*at] == DELIMITER))
        at++;
    return at;
}

const char *scan_value(struct value_scan *s, const char *at, const char *end) {
    while (at < end && !s->ended) {
        if (s->in_string) {
            at = pass_string(s, at, end);
            continue;
        }
        if (s->depth > 0)
            at = pass_others(at, end);
        if (at == end)
            break;
        enum kind kind = kinds[(unsigned char)*at];
        if (s->depth == 0 && (kind == CLOSE || kind == DELIMITER)) {
            s->ended = true;
            break;
        }
        at++;
        s->in_string = kind == QUOTE;
        s->depth += kind == OPEN;
        s->depth -= kind == CLOSE;
        s->ended = kind == CLOSE && s->depth == 0;
    }
    return at;
}

const char *scan_whole_value(const char *at, const char *end) {
    struct value_scan s = {0};
    const char *p = at; /* most values are numbers */
    while (p < end && kinds[(unsigned char)*p] == OTHER)
        p++;
    if (p > at && p < end && (kinds[(unsigned char)*p] == DELIMITER || kinds[(unsigned char)*p] == CLOSE))
        return p;
    const char *stop = scan_value(&s, at, end);
    return stop > at && s.depth == 0 && !s.in_string ? stop : NULL;
}

/* ---- members and elements ---------------------------------------------------------------------------------------- */

/* Moves *at to the next member or element. False if there is none. */
static bool find_next(const char **at, const char *end, char bracket) {
    *at = scan_space(*at, end);
    if (*at < end && **at == ',')
        *at = scan_space(*at + 1, end);
    if (*at == end)
        return false;
    if (**at != bracket)
        return true;
    ++*at;
    return false;
}

static bool take_value(const char **at, const char *end, struct json_span *value) {
    const char *stop = scan_whole_value(*at, end);
    if (stop == NULL)
        return false;
    *value = (struct json_span){*at, stop};
    *at = stop;
    return true;
}

bool scan_next_element(const char **at, const char *end, struct json_span *value) {
    return find_next(at, end, ']') && take_value(at, end, value);
}

bool scan_next_name(const char **at, const char *end, struct json_span *name) {
    if (!find_next(at, end, '}') || **at != '"' || !take_value(at, end, name))
        return false;
    *at = scan_space(*at, end);
    if (*at == end || **at != ':')
        return false;
    *at = scan_space(*at + 1, end);
    return *at < end;
}

bool scan_next_member(const char **at, const char *end, struct json_span *name, struct json_span *value) {
    return scan_next_name(at, end, name) && take_value(at, end, value);
}

/* ---- strings ----------------------------------------------------------------------------------------------------- */

static unsigned hex_code(const char *at) {
    unsigned code = 0;
    for (int i = 0; i < 4; i++)
        code = code << 4 | (unsigned)hex_value(at[i]);
    return code;
}

static unsigned put_utf8(unsigned code, char out[4]) {
    if (code < 0x80) {
        out[0] = (char)code;
        return 1;
    }
    unsigned size = code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    for (unsigned i = size - 1; i > 0; i--, code >>= 6)
        out[i] = (char)(0x80 | (code & 0x3f));
    out[0] = (char)((size == 2 ? 0xC0 : size == 3 ? 0xE0 : 0xF0) | code);
    return size;
}

unsigned scan_char(const char **at, char out[4]) {
    const char *p = *at;
    *at = p + 1;
    out[0] = p[0];
    if (p[0] != '\\')
        return 1;
    *at = p + 2;
    switch (p[1]) {
    case 'b': out[0] = '\b'; return 1;
    case 'f': out[0] = '\f'; return 1;
    case 'n': out[0] = '\n'; return 1;
    case 'r': out[0] = '\r'; return 1;
    case 't': out[0] = '\t'; return 1;
    case 'u': break;
    default: out[0] = p[1]; return 1;
    }
    unsigned code = hex_code(p + 2);
    *at = p + 6;
    if (code >= 0xD800 && code < 0xDC00) {
        code = 0x10000 + ((code - 0xD800) << 10) + (hex_code(p + 8) - 0xDC00);
        *at = p + 12;
    }
    return put_utf8(code, out);
}

void scan_string(const struct json_span *string, char *to, size_t room) {
    const char *at = string->at + 1, *end = string->end - 1;
    size_t size = 0;
    while (at < end) {
        char bytes[4];
        unsigned n = scan_char(&at, bytes);
        for (unsigned i = 0; i < n && size + 1 < room; i++)
            to[size++] = bytes[i];
        if (size + 1 == room)
            break;
    }
    to[size] = '\0';
}

/* The bytes of a string, one by one. */
struct unescaped {
    const char *at, *end;
    char bytes[4];
    unsigned next, count;
};

/* The next byte, or -1 at the end. */
static int next_byte(struct unescaped *u) {
    if (u->next == u->count) {
        if (u->at >= u->end)
            return -1;
        u->count = scan_char(&u->at, u->bytes);
        u->next = 0;
    }
    return (unsigned char)u->bytes[u->next++];
}

int scan_compare(const struct json_span *a, const struct json_span *b) {
    size_t x = (size_t)(a->end - a->at), y = (size_t)(b->end - b->at);
    if (x == y && memcmp(a->at, b->at, x) == 0)
        return 0;
    struct unescaped u = {.at = a->at + 1, .end = a->end - 1}, v = {.at = b->at + 1, .end = b->end - 1};
    int c, d;
    do {
        c = next_byte(&u);
        d = next_byte(&v);
    } while (c == d && c >= 0);
    return c - d;
}
