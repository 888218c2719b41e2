/* scan.h: finds the ends of tokens and values in JSON text, and nothing more: no tree, no memory, no message. What it finds
 * has not been checked; somebody else reads it, or says what is wrong with it.
 *
 *     scan_space                           between tokens
 *     scan_plain_text, _integer, _word     values as plain as those of most tiny calls are
 *     scan_value                           any value, however it is nested, in as many pieces as there is room for
 *
 * All take where to begin and where the text ends. Pure functions. */
#ifndef OFFLOAD_HOST_SCAN_H
#define OFFLOAD_HOST_SCAN_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

static inline const char *scan_space(const char *at, const char *end) {
    while (at < end && (*at == ' ' || *at == '\n' || *at == '\t' || *at == '\r'))
        at++;
    return at;
}

/* From behind a string's first quote to its second, if all between them is ASCII without escapes; else NULL. */
static inline const char *scan_plain_text(const char *at, const char *end) {
    while (at < end && *at != '"' && *at != '\\' && *at >= ' ' && *at < 0x7f)
        at++;
    return at < end && *at == '"' ? at : NULL;
}

/* Behind an integer of at most max_digits digits. NULL if there is none, or it is written as JSON forbids: 007; or -0. */
static inline const char *scan_plain_integer(const char *at, const char *end, int max_digits) {
    const char *digits = at + (at < end && *at == '-'), *p = digits;
    while (p < end && *p >= '0' && *p <= '9')
        p++;
    if (p == digits || p - digits > max_digits || (*digits == '0' && p - at > 1))
        return NULL;
    return p;
}

/* Behind true, false or null; or NULL. */
static inline const char *scan_plain_word(const char *at, const char *end) {
    static const char *const words[] = {"true", "false", "null"};
    for (int i = 0; i < 3; i++) {
        size_t size = strlen(words[i]);
        if ((size_t)(end - at) > size && memcmp(at, words[i], size) == 0)
            return at + size;
    }
    return NULL;
}

/* How far a value has been followed. Zeroed before its first byte. */
struct value_scan {
    unsigned depth; /* of open brackets */
    bool in_string, escaped;
    bool ended;
};

/* Goes on from `at`, to behind the value or, if that comes first, to `end`. A string ends behind its quote, an array or an
 * object behind its last bracket; a number or a word ends before what cannot belong to it, and may end at `end`. Brackets
 * are counted and strings passed over; a value of any other bytes comes out as these bytes. */
const char *scan_value(struct value_scan *s, const char *at, const char *end);

/* Behind a whole value; NULL if it has no end, or none begins here. */
const char *scan_whole_value(const char *at, const char *end);

#endif
