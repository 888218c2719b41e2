/* scan.h: finds the ends of tokens and values in JSON text (RFC 8259), and nothing more: it makes no tree, takes no
 * memory, and has no messages. It does not check what it finds. The caller must read that, or have jsontext.h say what
 * is wrong with it.
 *
 *     scan_space                           passes over the space between tokens
 *     scan_plain, _text, _integer, _word   find the end of a value that is as plain as those of most tiny calls
 *     scan_value                           finds the end of any value, also if the text arrives piece by piece
 *     scan_next_member, scan_next_element  go through the members of an object, and the elements of an array
 *     scan_char, scan_compare              read the strings of JSON that was checked
 *
 * Each function takes where to begin and where the text ends. They are pure: any thread may call them. */
#ifndef OFFLOAD_HOST_SCAN_H
#define OFFLOAD_HOST_SCAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

static inline const char *scan_space(const char *at, const char *end) {
    while (at < end && (*at == ' ' || *at == '\n' || *at == '\t' || *at == '\r'))
        at++;
    return at;
}

#define SCAN_EACH(byte) (UINT64_C(0x0101010101010101) * (byte))

/* Sets the highest bit of each byte that is not plain (see below). Of those behind the lowest, it can set too many. */
static inline uint64_t scan_find_not_plain(uint64_t bytes) {
    uint64_t quote = bytes ^ SCAN_EACH('"'), escape = bytes ^ SCAN_EACH('\\'), delete = bytes ^ SCAN_EACH(0x7f);
    uint64_t found = ((quote - SCAN_EACH(1)) & ~quote) | ((escape - SCAN_EACH(1)) & ~escape) |
                     ((delete - SCAN_EACH(1)) & ~delete) | ((bytes - SCAN_EACH(' ')) & ~bytes) | bytes;
    return found & SCAN_EACH(0x80);
}

/* The first byte that is not plain: a quote, a backslash, a control character, or beyond ASCII. `end` if there is
 * none. It looks at 8 bytes at a time. */
static inline const char *scan_plain(const char *at, const char *end) {
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    for (uint64_t bytes; end - at >= (ptrdiff_t)sizeof bytes; at += sizeof bytes) {
        memcpy(&bytes, at, sizeof bytes);
        uint64_t found = scan_find_not_plain(bytes);
        if (found != 0)
            return at + __builtin_ctzll(found) / 8;
    }
#endif
    while (at < end && *at != '"' && *at != '\\' && *at >= ' ' && *at < 0x7f)
        at++;
    return at;
}

/* From behind the first quote of a string to its second, if all between them is plain; otherwise NULL. */
static inline const char *scan_plain_text(const char *at, const char *end) {
    at = scan_plain(at, end);
    return at < end && *at == '"' ? at : NULL;
}

/* Behind an integer of at most max_digits digits. NULL if there is none, if JSON forbids its form (007), or if it is
 * -0. */
static inline const char *scan_plain_integer(const char *at, const char *end, int max_digits) {
    const char *digits = at + (at < end && *at == '-'), *p = digits;
    while (p < end && *p >= '0' && *p <= '9')
        p++;
    if (p == digits || p - digits > max_digits || (*digits == '0' && p - at > 1))
        return NULL;
    return p;
}

/* Behind true, false or null, if the text goes on there; otherwise NULL. */
static inline const char *scan_plain_word(const char *at, const char *end) {
    static const char *const words[] = {"true", "false", "null"};
    for (int i = 0; i < 3; i++) {
        size_t size = strlen(words[i]);
        if ((size_t)(end - at) > size && memcmp(at, words[i], size) == 0)
            return at + size;
    }
    return NULL;
}

/* How far a value has been followed. It is all zeros before the first byte of the value. */
struct value_scan {
    unsigned depth; /* of open brackets */
    bool in_string, escaped;
    bool ended;
};

/* Goes on from `at` and returns the end of the value or, if that comes first, `end`. A string ends behind its quote, an
 * array or an object behind its last bracket. A number or a word ends before the first byte that cannot belong to it,
 * which may be `end`. It counts brackets and passes over strings, and checks nothing else. */
const char *scan_value(struct value_scan *s, const char *at, const char *end);

/* Behind a whole value. NULL if the value has no end, or if no value begins here. */
const char *scan_whole_value(const char *at, const char *end);

/* A piece of the text. */
struct json_span {
    const char *at, *end;
};

/* An array, and how many elements it has. */
struct json_list {
    struct json_span span; /* at: NULL: there is none */
    size_t count;
};

/* The next member of an object, or element of an array. *at is where to go on: at first the place behind the first
 * bracket. False at the end, with *at behind the last bracket; also if the text is no JSON. A name has its quotes. */
bool scan_next_member(const char **at, const char *end, struct json_span *name, struct json_span *value);
/* Only the name: *at is where the value begins. The caller moves it behind the value. */
bool scan_next_name(const char **at, const char *end, struct json_span *name);
bool scan_next_element(const char **at, const char *end, struct json_span *value);

/* Reads one byte, or one escape, of a string that was checked, and moves *at behind it. Returns how many bytes of
 * UTF-8 it wrote to out: 1 to 4. */
unsigned scan_char(const char **at, char out[4]);
/* Writes a string that was checked, which has its quotes, with a NUL at the end. Cuts what has no room. */
void scan_string(const struct json_span *string, char *to, size_t room);
/* Compares what two such strings stand for, however they are written, as strcmp does. */
int scan_compare(const struct json_span *a, const struct json_span *b);

#endif
