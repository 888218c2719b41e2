/* npy.c: reads and writes the header of a .npy file. It runs in workers, and what it reads comes from clients.
 *
 * The text of a header is a literal of Python, of which a strict subset is read: a dict of three keys, each once, whose
 * values are a string, True or False, and a tuple of integers. That is all that numpy writes for plain numbers. */
#include "handlers/npy.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define MAGIC      "\x93NUMPY"
#define MAGIC_SIZE 6
#define ALIGNMENT  64 /* of the numbers in what is written, as numpy does it */
#define SHOWN      60 /* bytes of a client's text that a message shows */

static const struct {
    const char *name;
    char kind;
    unsigned char size;
} dtypes[NPY_DTYPES] = {
    [NPY_BOOL] = {"bool", 'b', 1},   [NPY_I8] = {"int8", 'i', 1},     [NPY_I16] = {"int16", 'i', 2},
    [NPY_I32] = {"int32", 'i', 4},   [NPY_I64] = {"int64", 'i', 8},   [NPY_U8] = {"uint8", 'u', 1},
    [NPY_U16] = {"uint16", 'u', 2},  [NPY_U32] = {"uint32", 'u', 4},  [NPY_U64] = {"uint64", 'u', 8},
    [NPY_F16] = {"float16", 'f', 2}, [NPY_F32] = {"float32", 'f', 4}, [NPY_F64] = {"float64", 'f', 8},
};

static bool is_little_endian(void) {
    return __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__;
}

const char *npy_name(enum npy_dtype dtype) {
    return dtypes[dtype].name;
}

size_t npy_size(enum npy_dtype dtype) {
    return dtypes[dtype].size;
}

bool npy_is(const void *bytes, size_t size) {
    return size >= MAGIC_SIZE && memcmp(bytes, MAGIC, MAGIC_SIZE) == 0;
}

/* ---- messages ---------------------------------------------------------------------------------------------------- */

/* A client's text, as a message can show it: printable ASCII, and not too long. */
struct shown {
    char text[SHOWN + 4];
};

static struct shown show(const char *text, size_t size) {
    struct shown s;
    size_t n = size < SHOWN ? size : SHOWN;
    for (size_t i = 0; i < n; i++)
        s.text[i] = (char)(text[i] >= ' ' && text[i] <= '~' ? text[i] : '?');
    memcpy(s.text + n, size > n ? "..." : "", size > n ? 4 : 1);
    return s;
}

#define FAIL(...) (snprintf(error, NPY_MAX_ERROR, __VA_ARGS__), -1)

/* ---- dtypes ------------------------------------------------------------------------------------------------------ */

/* What numpy calls the kinds that are not numbers here, or not real ones. */
static const char *other_kind(char kind) {
    switch (kind) {
    case 'c': return "complex";
    case 'O': return "object";
    case 'S':
    case 'a': return "string";
    case 'U': return "string";
    case 'V': return "structured";
    case 'm':
    case 'M': return "time";
    default: return NULL;
    }
}

/* "<f8": its order, kind and size. */
static int read_code(const char *text, size_t size, struct npy *out, char *error) {
    const char *at = text, *end = text + size;
    char order = '=';
    if (at < end && strchr("<>=|", *at) != NULL && *at != '\0')
        order = *at++;
    const char *other = at < end ? other_kind(*at) : NULL;
    if (other != NULL)
        return FAIL("has the %s dtype '%s', which is not taken", other, show(text, size).text);
    for (int i = 0; i < NPY_DTYPES; i++) {
        if (end - at != 2 || at[0] != dtypes[i].kind || at[1] != '0' + dtypes[i].size)
            continue;
        out->dtype = (enum npy_dtype)i;
        out->swapped = dtypes[i].size > 1 && (order == '<' || order == '>') && (order == '<') != is_little_endian();
        return 0;
    }
    return FAIL("has the unknown dtype '%s'", show(text, size).text);
}

int npy_read_dtype(const char *text, size_t size, struct npy *out, char *error) {
    for (int i = 0; i < NPY_DTYPES; i++) {
        if (size == strlen(dtypes[i].name) && memcmp(text, dtypes[i].name, size) == 0) {
            out->dtype = (enum npy_dtype)i;
            out->swapped = false;
            return 0;
        }
    }
    if (size >= 7 && memcmp(text, "complex", 7) == 0)
        return FAIL("has the complex dtype '%s', which is not taken", show(text, size).text);
    if (size == 6 && memcmp(text, "object", 6) == 0)
        return FAIL("has the object dtype 'object', which is not taken");
    return read_code(text, size, out, error);
}

/* ---- the literal ------------------------------------------------------------------------------------------------- */

struct text {
    const char *at, *end;
};

static void skip_blanks(struct text *t) {
    while (t->at < t->end && (*t->at == ' ' || *t->at == '\t' || *t->at == '\n' || *t->at == '\r' || *t->at == '\f'))
        t->at++;
}

/* Passes over a character and the blanks before it, if it comes next. */
static bool take(struct text *t, char c) {
    skip_blanks(t);
    if (t->at == t->end || *t->at != c)
        return false;
    t->at++;
    return true;
}

static bool take_word(struct text *t, const char *word) {
    size_t size = strlen(word);
    skip_blanks(t);
    if ((size_t)(t->end - t->at) < size || memcmp(t->at, word, size) != 0)
        return false;
    t->at += size;
    return true;
}

/* A string without escapes, in quotes of either kind. */
static bool take_string(struct text *t, const char **text, size_t *size) {
    skip_blanks(t);
    if (t->at == t->end || (*t->at != '\'' && *t->at != '"'))
        return false;
    const char *begin = t->at + 1, *stop = begin;
    while (stop < t->end && *stop != *t->at && *stop != '\\' && *stop != '\n')
        stop++;
    if (stop == t->end || *stop != *t->at)
        return false;
    *text = begin;
    *size = (size_t)(stop - begin);
    t->at = stop + 1;
    return true;
}

/* An integer, perhaps with the L of Python 2. False also if it is beyond 64 bits. */
static bool take_integer(struct text *t, uint64_t *value) {
    skip_blanks(t);
    const char *begin = t->at;
    *value = 0;
    for (; t->at < t->end && *t->at >= '0' && *t->at <= '9'; t->at++)
        if (__builtin_mul_overflow(*value, 10, value) || __builtin_add_overflow(*value, *t->at - '0', value))
            return false;
    bool any = t->at > begin;
    if (any && t->at < t->end && *t->at == 'L')
        t->at++;
    return any;
}

/* (), (3,), (3, 4) or (3, 4,); but not (3), which is no tuple. */
static int read_shape(struct text *t, struct npy *out, char *error) {
    bool comma = true;
    if (!take(t, '('))
        return FAIL("has a shape that is not a tuple");
    out->dimensions = 0;
    while (!take(t, ')')) {
        if (!comma)
            return FAIL("has a shape without commas");
        if (out->dimensions == NPY_MAX_DIMENSIONS)
            return FAIL("has more than %d dimensions", NPY_MAX_DIMENSIONS);
        if (take(t, '-'))
            return FAIL("has a negative length in its shape");
        if (!take_integer(t, &out->shape[out->dimensions]))
            return FAIL("has a shape with something else than integers below 2^64");
        out->dimensions++;
        comma = take(t, ',');
    }
    if (out->dimensions == 1 && !comma)
        return FAIL("has a shape that is a number, not a tuple");
    return 0;
}

static int read_value(struct text *t, const char *key, size_t size, struct npy *out, unsigned *seen, char *error) {
    static const char *const keys[] = {"descr", "fortran_order", "shape"};
    unsigned which = 0;
    while (which < 3 && (size != strlen(keys[which]) || memcmp(key, keys[which], size) != 0))
        which++;
    if (which == 3)
        return FAIL("has the unknown key '%s' in its header", show(key, size).text);
    if (*seen & 1u << which)
        return FAIL("has the key '%s' twice in its header", keys[which]);
    *seen |= 1u << which;
    if (which == 2)
        return read_shape(t, out, error);
    if (which == 1) {
        out->fortran = take_word(t, "True");
        if (!out->fortran && !take_word(t, "False"))
            return FAIL("has a fortran_order that is neither True nor False");
        return 0;
    }
    const char *descr;
    size_t length;
    skip_blanks(t);
    if (t->at < t->end && (*t->at == '[' || *t->at == '('))
        return FAIL("has the structured dtype %s, which is not taken", show(t->at, (size_t)(t->end - t->at)).text);
    if (!take_string(t, &descr, &length))
        return FAIL("has a descr that is not a string");
    return read_code(descr, length, out, error);
}

static int read_literal(struct text *t, struct npy *out, char *error) {
    unsigned seen = 0;
    bool comma = true;
    if (!take(t, '{'))
        return FAIL("has a header that is not a dict of Python");
    while (!take(t, '}')) {
        const char *key;
        size_t size;
        if (!comma || !take_string(t, &key, &size) || !take(t, ':'))
            return FAIL("has a header that is not a dict of Python");
        if (read_value(t, key, size, out, &seen, error) != 0)
            return -1;
        comma = take(t, ',');
    }
    skip_blanks(t);
    if (t->at != t->end)
        return FAIL("has something behind the dict of its header");
    if (seen != 7)
        return FAIL("has no '%s' in its header", !(seen & 1) ? "descr" : !(seen & 2) ? "fortran_order" : "shape");
    return 0;
}

/* ---- whole headers ----------------------------------------------------------------------------------------------- */

int npy_count(struct npy *a, uint64_t size, char *error) {
    uint64_t item = npy_size(a->dtype), bytes;
    bool empty = false, overflow = false;
    a->count = 1;
    for (unsigned i = 0; i < a->dimensions; i++)
        empty |= a->shape[i] == 0;
    for (unsigned i = 0; i < a->dimensions && !empty; i++)
        overflow |= __builtin_mul_overflow(a->count, a->shape[i], &a->count);
    if (empty)
        a->count = 0;
    if (overflow || __builtin_mul_overflow(a->count, item, &bytes))
        return FAIL("has a shape of more than 2^64 bytes");
    if (bytes != size)
        return FAIL("has a shape of %" PRIu64 " numbers of %" PRIu64 " bytes, which are %" PRIu64 " bytes, but %" PRIu64
                    " bytes of numbers",
                    a->count, item, bytes, size);
    return 0;
}

int npy_read(const void *bytes, size_t have, uint64_t size, struct npy *out, char *error) {
    const unsigned char *at = bytes;
    memset(out, 0, sizeof *out);
    if (!npy_is(bytes, have))
        return FAIL("is not a .npy file, which begins with \\x93NUMPY");
    if (have < MAGIC_SIZE + 2)
        return FAIL("is cut off in its header");
    unsigned major = at[6], minor = at[7];
    if (major < 1 || major > 3 || minor != 0)
        return FAIL("has version %u.%u of the .npy format; 1.0, 2.0 and 3.0 are taken", major, minor);
    size_t start = major == 1 ? 10 : 12;
    if (have < start)
        return FAIL("is cut off in its header");
    uint64_t length = at[8] | (uint64_t)at[9] << 8;
    if (major > 1)
        length |= (uint64_t)at[10] << 16 | (uint64_t)at[11] << 24;
    if (length > size - start)
        return FAIL("is cut off in its header");
    if (length > NPY_MAX_HEADER - start)
        return FAIL("has a header of %" PRIu64 " bytes, and %d are the most", length + start, NPY_MAX_HEADER);
    struct text text = {(const char *)at + start, (const char *)at + start + length};
    if (read_literal(&text, out, error) != 0)
        return -1;
    out->data = start + length;
    return npy_count(out, size - out->data, error);
}

void npy_write(struct npy *a, char *to) {
    const char *order = dtypes[a->dtype].size == 1 ? "|" : is_little_endian() != a->swapped ? "<" : ">";
    size_t room = NPY_MAX_WRITTEN, n = MAGIC_SIZE + 4;
    memcpy(to, MAGIC "\1\0", MAGIC_SIZE + 2);
    n += (size_t)snprintf(to + n, room - n, "{'descr': '%s%c%d', 'fortran_order': %s, 'shape': (", order,
                          dtypes[a->dtype].kind, dtypes[a->dtype].size, a->fortran ? "True" : "False");
    for (unsigned i = 0; i < a->dimensions; i++)
        n += (size_t)snprintf(to + n, room - n, i == 0 ? "%" PRIu64 "," : " %" PRIu64 ",", a->shape[i]);
    if (a->dimensions > 1)
        n--; /* (3, 4), but (3,) */
    n += (size_t)snprintf(to + n, room - n, "), }");
    size_t end = (n + ALIGNMENT) / ALIGNMENT * ALIGNMENT; /* at least one byte more, for the line feed */
    memset(to + n, ' ', end - n - 1);
    to[end - 1] = '\n';
    to[8] = (char)((end - MAGIC_SIZE - 4) & 0xff);
    to[9] = (char)((end - MAGIC_SIZE - 4) >> 8);
    a->data = end;
}
