/* jsoncheck.c: see jsoncheck.h. A parser without a tree: it keeps a frame for each open bracket, and the names of the
 * open objects, because a name must not occur twice. Names are kept as offsets into the text: first in one list for all
 * open objects, and in a hash table for an object with many.
 *
 *     VALUE ──value──► AFTER_VALUE                  FIRST_VALUE: or "]"
 *     AFTER_VALUE ──","──► VALUE or NAME            or the closing bracket, or the end of the text
 *     NAME ──name──► COLON ──":"──► VALUE           FIRST_NAME: or "}"
 *
 * "[" and "{" open a frame, in FIRST_VALUE or FIRST_NAME; its end leads to AFTER_VALUE of the frame around it.
 *
 * It runs in the front end for small bodies, and in workers. */
#include "handlers/host/jsoncheck.h"

#include <stdlib.h>
#include <sys/random.h>

#include "base/hex.h"

enum {
    MAX_NESTING = 2048, /* of values, as in jansson */
    FEW_NAMES = 16,     /* an object with more has a table */
    PLAIN_NAMES = 6     /* an object with more is not plain */
};

enum { HAS_ESCAPES = 1, HAS_NUL = 2 }; /* of a string */

enum expected { FIRST_VALUE, VALUE, FIRST_NAME, NAME, COLON, AFTER_VALUE };

/* A hash table of names: offset + 1 of each, or 0. */
struct table {
    uint32_t *at;
    size_t room, count; /* room: a power of two */
};

struct frame {
    bool is_object;
    uint32_t from;      /* where its bracket is */
    uint32_t commas;    /* so far */
    uint32_t first;     /* its first name in the list; the next frame's begin behind its last */
    struct table names; /* instead of the list, if there are many */
};

struct checker {
    const char *text, *at, *end;
    enum expected expected;
    unsigned depth, deepest;
    const char *scalar, *scalar_end; /* the last number or word */
    enum expected scalar_expected;   /* what was expected there */
    bool duplicate;                  /* the name at `at` occurs twice */
    bool no_memory;
    bool escapes; /* some name so far has one */
    uint32_t *list;
    uint32_t list_size, list_room;
    struct json_list longest;
    struct frame frames[MAX_NESTING];
};

/* ---- names ------------------------------------------------------------------------------------------------------- */

static struct json_span name_at(const struct checker *c, uint32_t offset) {
    const char *at = c->text + offset;
    return (struct json_span){at, scan_whole_value(at, c->end)};
}

/* Is the name the same as that at an earlier offset? */
static bool is_same(const struct checker *c, uint32_t offset, const struct json_span *name) {
    const char *earlier = c->text + offset;
    if (earlier[1] == name->at[1] && memcmp(earlier, name->at, (size_t)(name->end - name->at)) == 0)
        return true;
    if (!c->escapes)
        return false;
    struct json_span other = name_at(c, offset);
    return scan_compare(&other, name) == 0;
}

/* The high and the low half of a product, mixed. The key is random, so that no client can choose names that collide. */
static uint64_t mix(uint64_t a, uint64_t b) {
    __extension__ unsigned __int128 product = (unsigned __int128)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static uint64_t hash_name(const struct json_span *name) {
    static uint64_t key[2];
    while (key[0] == 0)
        if (getrandom(key, sizeof key, 0) != (ssize_t)sizeof key)
            abort();
    uint64_t hash = key[0], word = 0;
    unsigned filled = 0, size = 0;
    for (const char *at = name->at + 1; at < name->end - 1;) {
        char bytes[4];
        unsigned n = scan_char(&at, bytes);
        for (unsigned i = 0; i < n; i++) {
            word = word << 8 | (unsigned char)bytes[i];
            if (++filled == 8) {
                hash = mix(hash ^ word, key[1] | 1) + key[0];
                filled = 0;
                word = 0;
            }
        }
        size += n;
    }
    return mix(hash ^ word, key[1] | 1) ^ mix(size ^ key[1], key[0] | 1);
}

/* Where the name is in the table, or belongs. */
static uint32_t *find_slot(const struct checker *c, const struct table *t, const struct json_span *name) {
    size_t i = (size_t)hash_name(name) & (t->room - 1);
    for (; t->at[i] != 0; i = (i + 1) & (t->room - 1)) {
        if (is_same(c, t->at[i] - 1, name))
            break;
    }
    return &t->at[i];
}

static bool make_room(struct checker *c, struct table *t) {
    struct table more = {.room = t->room == 0 ? 8 * FEW_NAMES : 2 * t->room, .count = t->count};
    if (t->count < t->room - t->room / 8)
        return true;
    more.at = calloc(more.room, sizeof *more.at);
    if (more.at == NULL)
        return false;
    for (size_t i = 0; i < t->room; i++) {
        if (t->at[i] == 0)
            continue;
        struct json_span name = name_at(c, t->at[i] - 1);
        *find_slot(c, &more, &name) = t->at[i];
    }
    free(t->at);
    *t = more;
    return true;
}

/* Moves the names of the innermost object from the list to a table. */
static bool make_table(struct checker *c, struct frame *f) {
    if (!make_room(c, &f->names))
        return false;
    for (uint32_t i = f->first; i < c->list_size; i++) {
        struct json_span name = name_at(c, c->list[i]);
        *find_slot(c, &f->names, &name) = c->list[i] + 1;
        f->names.count++;
    }
    c->list_size = f->first;
    return true;
}

static bool add_to_list(struct checker *c, uint32_t offset) {
    if (c->list_size == c->list_room) {
        uint32_t room = c->list_room == 0 ? 64 : 2 * c->list_room;
        uint32_t *list = reallocarray(c->list, room, sizeof *list);
        if (list == NULL)
            return false;
        c->list = list;
        c->list_room = room;
    }
    c->list[c->list_size++] = offset;
    return true;
}

/* Adds a name to the innermost object. False if it is there already, or if memory ran out. */
static bool add_name(struct checker *c, const struct json_span *name) {
    struct frame *f = &c->frames[c->depth - 1];
    uint32_t offset = (uint32_t)(name->at - c->text);
    if (f->names.at == NULL && c->list_size - f->first < FEW_NAMES) {
        for (uint32_t i = f->first; i < c->list_size && !c->duplicate; i++)
            c->duplicate = is_same(c, c->list[i], name);
        c->no_memory = !c->duplicate && !add_to_list(c, offset);
        return !c->duplicate && !c->no_memory;
    }
    if ((f->names.at == NULL && !make_table(c, f)) || !make_room(c, &f->names)) {
        c->no_memory = true;
        return false;
    }
    uint32_t *slot = find_slot(c, &f->names, name);
    c->duplicate = *slot != 0;
    if (!c->duplicate) {
        *slot = offset + 1;
        f->names.count++;
    }
    return !c->duplicate;
}

/* ---- tokens: each function returns the end of the token, or NULL if there is a mistake in it ---------------------- */

static bool is_digit(const char *at, const char *end) {
    return at < end && *at >= '0' && *at <= '9';
}

static const char *skip_digits(const char *at, const char *end) {
    while (is_digit(at, end))
        at++;
    return at;
}

static const char *skip_number(const char *at, const char *end) {
    at += *at == '-';
    if (!is_digit(at, end))
        return NULL;
    if (*at == '0' && is_digit(at + 1, end))
        return NULL;
    at = skip_digits(at, end);
    if (at < end && *at == '.') {
        if (!is_digit(at + 1, end))
            return NULL;
        at = skip_digits(at + 1, end);
    }
    if (at < end && (*at == 'e' || *at == 'E')) {
        at++;
        at += at < end && (*at == '+' || *at == '-');
        if (!is_digit(at, end))
            return NULL;
        at = skip_digits(at, end);
    }
    return at;
}

static const char *skip_word(const char *at, const char *end) {
    static const char *const words[] = {"true", "false", "null"};
    const char *stop = at;
    while (stop < end && ((*stop | 0x20) >= 'a' && (*stop | 0x20) <= 'z'))
        stop++;
    for (int i = 0; i < 3; i++)
        if ((size_t)(stop - at) == strlen(words[i]) && memcmp(at, words[i], strlen(words[i])) == 0)
            return stop;
    return NULL;
}

/* The four hexadecimal digits behind \u. -1 if they are none. */
static int read_hex(const char *at, const char *end) {
    int code = 0;
    if (end - at < 4)
        return -1;
    for (int i = 0; i < 4; i++) {
        int digit = hex_value(at[i]);
        if (digit < 0)
            return -1;
        code = code << 4 | digit;
    }
    return code;
}

static const char *skip_escape(const char *at, const char *end, bool *nul) {
    if (end - at < 2)
        return NULL;
    if (at[1] != 'u')
        return strchr("\"\\/bfnrt", at[1]) != NULL && at[1] != '\0' ? at + 2 : NULL;
    int code = read_hex(at + 2, end);
    *nul |= code == 0;
    if (code < 0 || (code >= 0xDC00 && code < 0xE000))
        return NULL;
    if (code < 0xD800 || code >= 0xE000)
        return at + 6;
    if (end - at < 12 || at[6] != '\\' || at[7] != 'u')
        return NULL;
    int low = read_hex(at + 8, end);
    return low >= 0xDC00 && low < 0xE000 ? at + 12 : NULL;
}

/* One character of UTF-8 beyond ASCII (RFC 3629: no overlong forms, no surrogates). */
static const char *skip_utf8(const char *at, const char *end) {
    const unsigned char *s = (const unsigned char *)at;
    int size = s[0] >= 0xC2 && s[0] <= 0xDF ? 2 : (s[0] & 0xF0) == 0xE0 ? 3 : s[0] >= 0xF0 && s[0] <= 0xF4 ? 4 : 0;
    if (size == 0 || end - at < size)
        return NULL;
    for (int i = 1; i < size; i++)
        if ((s[i] & 0xC0) != 0x80)
            return NULL;
    bool bad = (s[0] == 0xE0 && s[1] < 0xA0) || (s[0] == 0xED && s[1] > 0x9F) || (s[0] == 0xF0 && s[1] < 0x90) ||
               (s[0] == 0xF4 && s[1] > 0x8F);
    return bad ? NULL : at + size;
}

/* *escapes: 0, or HAS_ESCAPES, and HAS_NUL if one of them is U+0000. */
static const char *skip_string(const char *at, const char *end, unsigned *escapes) {
    bool nul = false;
    for (at++; at != NULL && at < end;) {
        unsigned char c = (unsigned char)*at;
        if (c == '"') {
            *escapes |= nul ? HAS_NUL : 0;
            return at + 1;
        }
        if (c >= 0x20 && c < 0x80 && c != '\\') {
            at = scan_plain(at + 1, end);
            continue;
        }
        if (c < 0x20)
            return NULL;
        *escapes |= c == '\\' ? HAS_ESCAPES : 0;
        at = c == '\\' ? skip_escape(at, end, &nul) : skip_utf8(at, end);
    }
    return NULL;
}

/* ---- plain objects ----------------------------------------------------------------------------------------------- */

/* Behind a value that is plain: no array and no object, and if it is a string, ASCII without escapes. Else NULL. */
static const char *skip_plain_value(const char *at, const char *end) {
    if (at == end)
        return NULL;
    if (*at == '"') {
        at = scan_plain_text(at + 1, end);
        return at == NULL ? NULL : at + 1;
    }
    return *at == '-' || is_digit(at, end) ? skip_number(at, end) : scan_plain_word(at, end);
}

/* Passes over a name and its colon. NULL if the name is not plain, or is one of the `count` names. */
static const char *skip_plain_name(const char *at, const char *end, struct json_span *names, size_t count) {
    const char *stop = at < end && *at == '"' ? scan_plain_text(at + 1, end) : NULL;
    if (stop == NULL)
        return NULL;
    struct json_span name = {at + 1, stop};
    size_t size = (size_t)(stop - name.at);
    for (size_t i = 0; i < count; i++)
        if ((size_t)(names[i].end - names[i].at) == size && memcmp(names[i].at, name.at, size) == 0)
            return NULL;
    names[count] = name;
    at = scan_space(stop + 1, end);
    return at < end && *at == ':' ? scan_space(at + 1, end) : NULL;
}

/* Behind an object that has a few plain names with plain values, as most items of a map are. NULL: it is not plain, or
 * no JSON, which the parser finds out. Such an object is read several times as fast as by the parser. */
static const char *skip_plain_object(const char *at, const char *end) {
    struct json_span names[PLAIN_NAMES];
    at = scan_space(at + 1, end);
    if (at < end && *at == '}')
        return at + 1;
    for (size_t count = 0; count < PLAIN_NAMES; count++) {
        at = skip_plain_name(at, end, names, count);
        at = at == NULL ? NULL : skip_plain_value(at, end);
        if (at == NULL)
            return NULL;
        at = scan_space(at, end);
        if (at < end && *at == '}')
            return at + 1;
        if (at == end || *at != ',')
            return NULL;
        at = scan_space(at + 1, end);
    }
    return NULL;
}

/* ---- the parser: each function returns false at a mistake, with c->at still before the token ----------------------- */

static bool begin(struct checker *c, bool is_object) {
    c->frames[c->depth++] =
        (struct frame){.is_object = is_object, .from = (uint32_t)(c->at - c->text), .first = c->list_size};
    c->deepest = c->depth > c->deepest ? c->depth : c->deepest;
    c->expected = is_object ? FIRST_NAME : FIRST_VALUE;
    c->at++;
    return true;
}

/* Notes the list of the innermost frame, whose end is here, if it is the longest so far. */
static void note_list(struct checker *c) {
    const struct frame *f = &c->frames[c->depth - 1];
    struct json_list list = {{c->text + f->from, c->at + 1}, f->commas + (c->expected == AFTER_VALUE)};
    if (c->longest.span.at == NULL || list.span.end - list.span.at > c->longest.span.end - c->longest.span.at)
        c->longest = list;
}

static void end_frame(struct checker *c) {
    struct frame *f = &c->frames[--c->depth];
    c->list_size = f->first;
    free(f->names.at);
    c->expected = AFTER_VALUE;
    c->at++;
}

static void end_array(struct checker *c) {
    if (c->depth == 2 && c->frames[0].is_object)
        note_list(c);
    end_frame(c);
}

/* True if a plain object begins here, which is passed over. It is not tried for the outermost value: that of a request
 * is not plain. */
static bool pass_plain_object(struct checker *c) {
    const char *stop = c->depth > 0 && c->depth + 1 < MAX_NESTING ? skip_plain_object(c->at, c->end) : NULL;
    if (stop == NULL)
        return false;
    c->deepest = c->depth + 1 > c->deepest ? c->depth + 1 : c->deepest;
    c->expected = AFTER_VALUE;
    c->at = stop;
    return true;
}

static bool read_scalar(struct checker *c, char first) {
    unsigned escapes = 0;
    const char *stop = first == '"'                                     ? skip_string(c->at, c->end, &escapes)
                       : first == '-' || (first >= '0' && first <= '9') ? skip_number(c->at, c->end)
                                                                        : skip_word(c->at, c->end);
    if (stop == NULL)
        return false;
    if (first != '"') {
        c->scalar = c->at;
        c->scalar_end = stop;
        c->scalar_expected = c->expected;
    }
    c->at = stop;
    c->expected = AFTER_VALUE;
    return true;
}

static bool read_value(struct checker *c, char first) {
    if (c->expected == FIRST_VALUE && first == ']') {
        end_array(c);
        return true;
    }
    if (c->depth == MAX_NESTING)
        return false;
    if (first == '{' && pass_plain_object(c))
        return true;
    return first == '[' || first == '{' ? begin(c, first == '{') : read_scalar(c, first);
}

static bool read_name(struct checker *c, char first) {
    unsigned escapes = 0;
    if (c->expected == FIRST_NAME && first == '}') {
        end_frame(c);
        return true;
    }
    const char *stop = first == '"' ? skip_string(c->at, c->end, &escapes) : NULL;
    struct json_span name = {c->at, stop};
    if (stop == NULL || (escapes & HAS_NUL) != 0)
        return false;
    c->escapes |= escapes != 0;
    if (!add_name(c, &name))
        return false;
    c->at = stop;
    c->expected = COLON;
    return true;
}

static bool read_separator(struct checker *c, char first) {
    if (c->expected == COLON) {
        if (first != ':')
            return false;
        c->expected = VALUE;
        c->at++;
        return true;
    }
    if (c->depth == 0)
        return false;
    bool is_object = c->frames[c->depth - 1].is_object;
    if (first == (is_object ? '}' : ']')) {
        if (is_object)
            end_frame(c);
        else
            end_array(c);
        return true;
    }
    if (first != ',')
        return false;
    c->frames[c->depth - 1].commas++;
    c->expected = is_object ? NAME : VALUE;
    c->at++;
    return true;
}

static bool read_token(struct checker *c) {
    char first = *c->at;
    switch (c->expected) {
    case FIRST_VALUE:
    case VALUE: return read_value(c, first);
    case FIRST_NAME:
    case NAME: return read_name(c, first);
    default: return read_separator(c, first);
    }
}

/* ---- the excerpt ------------------------------------------------------------------------------------------------- */

static void put_front(struct checker *c, struct buf *to) {
    for (unsigned i = 0; i + 1 < c->depth; i++)
        buf_puts(to, c->frames[i].is_object ? "{\"\":" : "[");
    if (c->depth == 0) {
        buf_puts(to, c->expected == AFTER_VALUE ? "[]" : "");
        return;
    }
    bool is_object = c->frames[c->depth - 1].is_object;
    buf_putc(to, is_object ? '{' : '[');
    switch (c->expected) {
    case FIRST_VALUE:
    case FIRST_NAME: break;
    case VALUE: buf_puts(to, is_object ? "\"\":" : "0,"); break;
    case NAME:
        if (c->duplicate)
            buf_append(to, c->at, (size_t)(scan_whole_value(c->at, c->end) - c->at));
        else
            buf_puts(to, "\"\"");
        buf_puts(to, ":0,");
        break;
    case COLON: buf_puts(to, "\"\""); break;
    case AFTER_VALUE: buf_puts(to, is_object ? "\"\":0 " : "0 "); break;
    }
}

static const char *skip_token(const char *at, const char *end) {
    struct value_scan s = {0};
    if (at < end && (*at == '[' || *at == '{'))
        at++;
    else
        at = scan_value(&s, at, end);
    return scan_space(at, end);
}

/* Where the excerpt can end: jansson reads the token with the mistake, and at most one byte behind it. It matters
 * whether a colon follows. A number in the place of a name can be taken for one (jsontext.c), and then the next token is
 * the mistake. */
static const char *token_end(const struct checker *c) {
    const char *stop = skip_token(c->at, c->end);
    if (c->at < c->end && *c->at != '"' && (c->expected == NAME || c->expected == FIRST_NAME))
        stop = skip_token(stop, c->end);
    return c->end - stop > 8 ? stop + 8 : c->end;
}

/* Must the excerpt begin with the number or word before the mistake? jansson reads the byte behind it, and reports one
 * that is not UTF-8 as if it were part of it. And before a colon it gets each number as it is written (jsontext.c). */
static bool needs_scalar(const struct checker *c) {
    if (c->at == c->end || c->scalar == NULL)
        return false;
    return ((unsigned char)*c->at >= 0x80 && c->at == c->scalar_end) ||
           (*c->at == ':' && c->at == scan_space(c->scalar_end, c->end));
}

static void make_excerpt(struct checker *c, struct excerpt *e) {
    const char *end = token_end(c);
    if (needs_scalar(c)) {
        c->at = c->scalar;
        c->expected = c->scalar_expected;
    }
    put_front(c, &e->text);
    e->front = e->text.size;
    e->from = (size_t)(c->at - c->text);
    buf_append(&e->text, c->at, (size_t)(end - c->at));
}

/* ------------------------------------------------------------------------------------------------------------------ */

enum jsoncheck jsoncheck(const char *text, size_t size, unsigned *depth, struct json_list *longest,
                         struct excerpt *excerpt) {
    struct checker c; /* not cleared: it is large, and most of it is never used */
    if (size > UINT32_MAX - 1)
        return JSONCHECK_NO_MEMORY;
    c.text = c.at = text;
    c.end = text + size;
    c.expected = VALUE;
    c.depth = c.deepest = 0;
    c.scalar = c.scalar_end = NULL;
    c.scalar_expected = VALUE;
    c.duplicate = c.no_memory = c.escapes = false;
    c.list = NULL;
    c.list_size = c.list_room = 0;
    c.longest = (struct json_list){{NULL, NULL}, 0};
    bool good = true;
    do {
        c.at = scan_space(c.at, c.end);
        good = c.at < c.end ? read_token(&c) : c.depth == 0 && c.expected == AFTER_VALUE;
    } while (good && c.at < c.end);
    good = good && c.depth == 0 && c.expected == AFTER_VALUE;
    if (!good && !c.no_memory)
        make_excerpt(&c, excerpt);
    while (c.depth > 0)
        end_frame(&c);
    free(c.list);
    *depth = c.deepest;
    *longest = c.longest;
    return good ? JSONCHECK_GOOD : c.no_memory || excerpt->text.failed ? JSONCHECK_NO_MEMORY : JSONCHECK_BAD;
}
