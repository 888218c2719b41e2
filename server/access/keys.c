/* keys.c: see keys.h. Front end. */
#include "server/access/keys.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/hex.h"
#include "base/table.h"

#define MAX_LINE   1024 /* bytes */
#define MAX_WORDS  16   /* of a line */
#define MAX_WEIGHT 100
#define MAX_AMOUNT 1e15 /* of a quota: doubles hold all whole numbers up to there */
#define MAX_JOBS   UINT64_C(1000000000)

/* ---- one line ---------------------------------------------------------------------------------------------------- */

/* Names stand in logs, metrics and documents. The common names of certificates are names, too. */
bool keys_is_name(const char *text) {
    size_t size = strlen(text);
    return size > 0 && size <= ACCESS_MAX_NAME && strpbrk(text, "\"\\") == NULL && strcmp(text, KEYS_OTHERS) != 0 &&
           utf8_is_printable(text, size);
}

/* Somebody has put the key itself, which is secret, in the place of its name. */
static bool is_key(const char *text) {
    return strncmp(text, "offload_", 8) == 0 && strlen(text) > 40;
}

/* A whole number of decimal digits alone. Moves *text behind it. False: there is none, or it is above `max`. */
static bool read_number(const char **text, uint64_t max, uint64_t *number) {
    const char *at = *text;
    uint64_t n = 0;
    for (; isdigit((unsigned char)*at) && n <= max; at++)
        n = n * 10 + (uint64_t)(*at - '0');
    bool good = at > *text && n <= max;
    *text = at;
    *number = n;
    return good;
}

static const char *read_credential(struct key_line *line, const char *text) {
    uint64_t uid;
    if (strcmp(text, "cert") == 0) {
        line->kind = KEY_CERTIFICATE;
        return NULL;
    }
    if (strncmp(text, "uid:", 4) == 0) {
        text += 4;
        line->kind = KEY_UID;
        if (!read_number(&text, UINT32_MAX - 1, &uid) || *text != '\0')
            return "uid: wants a user id, a number";
        line->uid = (uid_t)uid;
        return NULL;
    }
    if (strncmp(text, "sha256:", 7) != 0)
        return "the credential is sha256:HEX, uid:N or cert";
    text += 7;
    line->kind = KEY_HASH;
    for (size_t i = 0; i < HASH_SIZE; i++) {
        int high = hex_value(text[2 * i]), low = high < 0 ? -1 : hex_value(text[2 * i + 1]);
        if (low < 0)
            return "sha256: wants 64 hexadecimal digits";
        line->hash[i] = (uint8_t)(high * 16 + low);
    }
    return text[2 * (size_t)HASH_SIZE] == '\0' ? NULL : "sha256: wants 64 hexadecimal digits";
}

static const char *read_scopes(struct key_line *line, char *text) {
    static const struct {
        const char *name;
        enum access_scope scope;
    } known[] = {{"submit", ACCESS_SUBMIT}, {"read", ACCESS_READ}, {"admin", ACCESS_ADMIN}};
    char *rest = text, *word;
    while ((word = strsep(&rest, ",")) != NULL) {
        unsigned scope = 0;
        for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
            scope |= strcmp(word, known[i].name) == 0 ? known[i].scope : 0;
        if (scope == 0)
            return "the scopes are submit, read and admin, with commas between them";
        if ((line->grant.scopes & scope) != 0)
            return "a scope is there twice";
        line->grant.scopes |= scope;
    }
    return NULL;
}

/* "50/s", "3600/h", "1GiB/h". False: it is none. */
static bool read_rate(const char *text, bool is_size, struct quota_rate *rate) {
    static const char *const units[] = {"KiB", "MiB", "GiB", "TiB"};
    uint64_t n;
    if (!read_number(&text, (uint64_t)MAX_AMOUNT, &n) || n == 0)
        return false;
    double amount = (double)n, factor = 1;
    for (size_t i = 0; is_size && i < sizeof units / sizeof units[0]; i++) {
        factor *= 1024;
        if (strncmp(text, units[i], 3) == 0) {
            amount *= factor;
            text += 3;
            break;
        }
    }
    rate->amount = amount;
    rate->window_s = strcmp(text, "/s") == 0 ? 1 : strcmp(text, "/m") == 0 ? 60 : strcmp(text, "/h") == 0 ? 3600 : 0;
    return rate->window_s != 0 && amount <= MAX_AMOUNT;
}

static const char *read_quota(struct key_line *line, const char *text, unsigned *seen) {
    static const char *const names[] = {"rate=", "jobs=", "cpu=", "bytes=", "weight="};
    struct key_grant *g = &line->grant;
    uint64_t n = 0;
    unsigned i = 0;
    while (i < sizeof names / sizeof names[0] && strncmp(text, names[i], strlen(names[i])) != 0)
        i++;
    if (i == sizeof names / sizeof names[0])
        return "a quota is rate=, jobs=, cpu=, bytes= or weight=";
    if ((*seen & 1U << i) != 0)
        return "a quota is there twice";
    *seen |= 1U << i;
    text += strlen(names[i]);
    switch (i) {
    case 0: return read_rate(text, false, &g->rate) ? NULL : "rate= wants requests in a time, such as 50/s";
    case 2: return read_rate(text, false, &g->cpu) ? NULL : "cpu= wants CPU seconds in a time, such as 3600/h";
    case 3: return read_rate(text, true, &g->bytes) ? NULL : "bytes= wants bytes in a time, such as 1GiB/h";
    default: break;
    }
    bool good = read_number(&text, i == 1 ? MAX_JOBS : MAX_WEIGHT, &n) && n > 0 && *text == '\0';
    if (i == 1) {
        g->jobs = n;
        return good ? NULL : "jobs= wants a number from 1 to 1000000000";
    }
    g->weight = (unsigned)n;
    return good ? NULL : "weight= wants a number from 1 to 100";
}

/* Takes the text to pieces. Returns how many words there are; at most MAX_WORDS. */
static size_t split(char *text, char *words[MAX_WORDS]) {
    size_t count = 0;
    char *rest = text, *word;
    while (count < MAX_WORDS && (word = strsep(&rest, " \t")) != NULL)
        if (*word != '\0')
            words[count++] = word;
    return count;
}

/* NULL, or what is wrong. */
static const char *read_line(struct key_line *line, char *text) {
    char *words[MAX_WORDS];
    size_t count = split(text, words);
    unsigned seen = 0;
    line->grant = (struct key_grant){.weight = 1};
    if (count < 3)
        return "a name, a credential and scopes are wanted";
    if (is_key(words[0]))
        return "it begins with a name, and not with the key, which does not belong into this file";
    if (!keys_is_name(words[0]))
        return "a name has 1 to 64 bytes of UTF-8, without quotes and backslashes";
    memcpy(line->name, words[0], strlen(words[0]) + 1);
    const char *why = read_credential(line, words[1]);
    if (why == NULL)
        why = read_scopes(line, words[2]);
    for (size_t i = 3; why == NULL && i < count; i++)
        why = read_quota(line, words[i], &seen);
    return why;
}

/* ---- the lines beside each other --------------------------------------------------------------------------------- */

struct seen {
    const struct key_line *line;
    UT_hash_handle hh;
};

/* The line that has that already. *failed: memory ran out. */
static const struct key_line *see(struct seen **all, struct seen *one, const struct key_line *line, const void *what,
                                  size_t size, bool *failed) {
    struct seen *before;
    HASH_FIND(hh, *all, what, size, before);
    if (before != NULL)
        return before->line;
    one->line = line;
    HASH_ADD_KEYPTR(hh, *all, what, size, one);
    *failed |= !HASH_HOLDS(one);
    return NULL;
}

static bool is_same_rate(struct quota_rate a, struct quota_rate b) {
    return !(a.amount < b.amount) && !(a.amount > b.amount) && a.window_s == b.window_s;
}

static bool is_same_grant(const struct key_grant *a, const struct key_grant *b) {
    return a->scopes == b->scopes && a->jobs == b->jobs && a->weight == b->weight && is_same_rate(a->rate, b->rate) &&
           is_same_rate(a->cpu, b->cpu) && is_same_rate(a->bytes, b->bytes);
}

static const void *credential(const struct key_line *line, size_t *size) {
    *size = line->kind == KEY_HASH ? sizeof line->hash : line->kind == KEY_UID ? sizeof line->uid : strlen(line->name);
    return line->kind == KEY_HASH  ? (const void *)line->hash
           : line->kind == KEY_UID ? (const void *)&line->uid
                                   : line->name;
}

/* 0, or -1 with what is wrong in `error`. */
static int compare_lines(const struct keys *keys, struct buf *error) {
    struct seen *names = NULL, *credentials[3] = {NULL, NULL, NULL};
    struct seen *places = calloc(2 * keys->count + 1, sizeof *places);
    bool failed = places == NULL;
    for (size_t i = 0; !failed && error->size == 0 && i < keys->count; i++) {
        const struct key_line *line = &keys->lines[i], *other;
        size_t size;
        const void *what = credential(line, &size);
        other = see(&credentials[line->kind], &places[2 * i], line, what, size, &failed);
        if (other != NULL)
            buf_printf(error, "line %u: line %u has the same credential", line->number, other->number);
        other = see(&names, &places[2 * i + 1], line, line->name, strlen(line->name), &failed);
        if (error->size == 0 && other != NULL && !is_same_grant(&line->grant, &other->grant))
            buf_printf(error, "line %u: line %u has the same name, and other scopes or quotas", line->number,
                       other->number);
    }
    HASH_CLEAR(hh, names);
    for (size_t i = 0; i < 3; i++)
        HASH_CLEAR(hh, credentials[i]);
    free(places);
    if (failed && error->size == 0)
        buf_puts(error, "out of memory");
    return failed || error->size > 0 ? -1 : 0;
}

/* ---- all of it --------------------------------------------------------------------------------------------------- */

/* NULL: memory ran out. */
static struct key_line *add_line(struct keys *keys) {
    if (keys->count == keys->room) {
        size_t room = keys->room == 0 ? 16 : 2 * keys->room;
        struct key_line *lines = reallocarray(keys->lines, room, sizeof *lines);
        if (lines == NULL)
            return NULL;
        keys->lines = lines;
        keys->room = room;
    }
    keys->lines[keys->count] = (struct key_line){.number = 0};
    return &keys->lines[keys->count++];
}

/* One line without its end. NULL, or what is wrong. */
static const char *take_line(struct keys *keys, const char *text, size_t size, unsigned number) {
    char copy[MAX_LINE];
    while (size > 0 && (*text == ' ' || *text == '\t')) {
        text++;
        size--;
    }
    if (size > 0 && text[size - 1] == '\r')
        size--;
    if (size == 0 || *text == '#')
        return NULL;
    if (size >= sizeof copy)
        return "the line is too long";
    if (memchr(text, '\0', size) != NULL)
        return "there is a NUL";
    memcpy(copy, text, size);
    copy[size] = '\0';
    struct key_line *line = add_line(keys);
    const char *why = line == NULL ? "out of memory" : read_line(line, copy);
    if (line != NULL)
        line->number = number;
    explicit_bzero(copy, sizeof copy); /* somebody could have written a key in place of its hash */
    return why;
}

int keys_parse(struct keys *keys, const char *text, size_t size, struct buf *error) {
    const char *end = size == 0 ? text : text + size, *why = NULL; /* an empty text can be NULL */
    unsigned number = 0;
    *keys = (struct keys){NULL, 0, 0};
    while (why == NULL && text < end) {
        const char *newline = memchr(text, '\n', (size_t)(end - text));
        const char *stop = newline == NULL ? end : newline;
        why = take_line(keys, text, (size_t)(stop - text), ++number);
        text = newline == NULL ? end : newline + 1;
    }
    if (why != NULL)
        buf_printf(error, "line %u: %s", number, why);
    else if (compare_lines(keys, error) == 0)
        return 0;
    keys_deinit(keys);
    return -1;
}

struct key_grant keys_default_grant(void) {
    return (struct key_grant){.scopes = ACCESS_SUBMIT | ACCESS_READ, .weight = 1};
}

void keys_deinit(struct keys *keys) {
    free(keys->lines);
    *keys = (struct keys){NULL, 0, 0};
}
