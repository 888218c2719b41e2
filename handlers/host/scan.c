/* scan.c: finds the ends of values in JSON text (scan.h). It runs in the front end and in workers. */
#include "handlers/host/scan.h"

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
    const char *stop = scan_value(&s, at, end);
    return stop > at && s.depth == 0 && !s.in_string ? stop : NULL;
}
