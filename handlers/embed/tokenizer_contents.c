/* tokenizer_contents.c: what the files of a tokenizer say, whichever they are. It runs in the zygote, at the start. */
#include "handlers/embed/tokenizer_contents.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>
#include <utf8proc.h>

#define SHOWN 150 /* bytes of a file's name: its end */

void contents_init(struct contents *c, const char *file, char *why) {
    *c = (struct contents){.file = file, .why = why};
}

void contents_free(struct contents *c) {
    free(c->tokens);
    free(c->added);
    json_decref(c->json);
    c->tokens = NULL;
    c->added = NULL;
    c->json = NULL;
}

int contents_refuse(struct contents *c, const char *format, ...) {
    va_list arguments;
    size_t length = strlen(c->file), skipped = length > SHOWN ? length - SHOWN : 0;
    size_t at = (size_t)snprintf(c->why, CONTENTS_WHY, "%s%s: ", skipped > 0 ? "..." : "", c->file + skipped);
    va_start(arguments, format);
    vsnprintf(c->why + at, CONTENTS_WHY - at, format, arguments);
    va_end(arguments);
    for (char *s = c->why; *s != '\0'; s++)
        if (*s < ' ' || *s > '~')
            *s = '?';
    return -1;
}

int contents_reserve(struct contents *c, size_t tokens, size_t added) {
    if (tokens > CONTENTS_MAX_IDS || added > CONTENTS_MAX_IDS)
        return contents_refuse(c, "has more than %d tokens", CONTENTS_MAX_IDS);
    c->tokens = calloc(tokens + 1, sizeof *c->tokens);
    c->added = calloc(added + 1, sizeof *c->added);
    if (c->tokens == NULL || c->added == NULL)
        return contents_refuse(c, "there is no memory for it");
    return 0;
}

bool contents_find(const struct contents *c, const char *bytes, size_t size, uint32_t *id) {
    for (uint32_t i = 0; i < c->count; i++) {
        if (c->tokens[i].size == size && memcmp(c->tokens[i].bytes, bytes, size) == 0) {
            *id = i;
            return true;
        }
    }
    return false;
}

void contents_add(struct contents *c, uint32_t id) {
    c->added[c->added_count++] =
        (struct tokenizer_added){.bytes = c->tokens[id].bytes, .size = c->tokens[id].size, .id = id};
}

static int compare_added(const void *one, const void *other) {
    const struct tokenizer_added *a = one, *b = other;
    int order = memcmp(a->bytes, b->bytes, a->size < b->size ? a->size : b->size);
    return order != 0 ? order : (a->size > b->size) - (a->size < b->size);
}

static bool has_white_space(const struct tokenizer_added *a) {
    int32_t c;
    utf8proc_ssize_t n;
    for (size_t at = 0; at < a->size; at += (size_t)n) {
        n = utf8proc_iterate((const uint8_t *)a->bytes + at, (utf8proc_ssize_t)(a->size - at), &c);
        if (n <= 0)
            return true;
        switch (utf8proc_category(c)) {
        case UTF8PROC_CATEGORY_CC:
        case UTF8PROC_CATEGORY_ZS:
        case UTF8PROC_CATEGORY_ZL:
        case UTF8PROC_CATEGORY_ZP: return true;
        default: break;
        }
    }
    return false;
}

int contents_finish(struct contents *c) {
    qsort(c->added, c->added_count, sizeof *c->added, compare_added);
    for (uint32_t i = 0; i < c->added_count; i++) {
        const struct tokenizer_added *a = &c->added[i];
        if (a->size == 0)
            return contents_refuse(c, "has an added token that is empty");
        if (has_white_space(a))
            return contents_refuse(c, "has the added token %u with white space in it, which is not served", a->id);
        if (i > 0 && compare_added(a - 1, a) == 0)
            return contents_refuse(c, "has the added token %u twice", a->id);
    }
    return 0;
}
