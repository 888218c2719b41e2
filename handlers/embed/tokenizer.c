/* tokenizer.c: text -> ids. The zygote opens it; workers encode with it, and what they encode comes from clients.
 *
 *     tokenizer_files.c    the files of a folder -> what they say: tokenizer_json.c, tokenizer_lines.c
 *     tokenizer_text.c     text -> words, and the added tokens between them
 *     tokenizer_pieces.c   the beginning of a word -> the longest token
 *
 * What encoding needs is one piece of memory, which does not change: the struct, then tables and the tokens' bytes. */
#include "handlers/embed/tokenizer.h"

#include <stdlib.h>
#include <string.h>

#include "handlers/embed/tokenizer_contents.h"
#include "handlers/embed/tokenizer_files.h"
#include "handlers/embed/tokenizer_pieces.h"
#include "handlers/embed/tokenizer_text.h"

_Static_assert((int)TOKENIZER_WHY == (int)CONTENTS_WHY, "reasons are handed through");

struct tokenizer {
    uint32_t count, unknown, begin, end;
    struct pieces pieces;
    struct tokenizer_text text;
};

/* ---- open -------------------------------------------------------------------------------------------------------- */

/* Where things are in the memory. */
struct layout {
    size_t slots, added, starts, bytes, size;
};

static struct layout lay_out(const struct contents *c) {
    struct layout l = {.slots = (sizeof(struct tokenizer) + 63) / 64 * 64};
    l.added = l.slots + pieces_slots(c->pieces) * sizeof(struct piece_slot);
    l.starts = l.added + c->added_count * sizeof(struct tokenizer_added);
    l.bytes = l.starts + ((size_t)c->count + 1) * sizeof(uint32_t);
    l.size = l.bytes;
    for (uint32_t id = 0; id < c->count; id++)
        l.size += c->tokens[id].size;
    return l;
}

/* The files are no longer needed after it. NULL: no memory. */
static struct tokenizer *make(const struct contents *c) {
    struct layout l = lay_out(c);
    char *memory = calloc(1, l.size); /* from the kernel, and so without pages until they are written to */
    if (memory == NULL)
        return NULL;
    struct tokenizer *t = (void *)memory;
    struct piece_slot *slots = (void *)(memory + l.slots);
    struct tokenizer_added *added = (void *)(memory + l.added);
    uint32_t *starts = (void *)(memory + l.starts), at = 0;
    char *bytes = memory + l.bytes;
    for (uint32_t id = 0; id < c->count; id++) {
        starts[id] = at;
        memcpy(bytes + at, c->tokens[id].bytes, c->tokens[id].size);
        at += c->tokens[id].size;
    }
    starts[c->count] = at;
    for (uint32_t i = 0; i < c->added_count; i++) {
        added[i] = c->added[i];
        added[i].bytes = bytes + starts[added[i].id];
    }
    t->count = c->count;
    t->unknown = c->unknown;
    t->begin = c->begin;
    t->end = c->end;
    pieces_init(&t->pieces, slots, bytes, starts, c->pieces, c->prefix, c->prefix_size);
    tokenizer_text_init(&t->text, &c->rules, c->max_characters, added, c->added_count);
    return t;
}

struct tokenizer *tokenizer_open(const char *folder, char why[TOKENIZER_WHY]) {
    struct contents contents;
    struct tokenizer *t = NULL;
    void *memory;
    if (tokenizer_files_read(&contents, folder, why, &memory) == 0) {
        t = make(&contents);
        if (t == NULL)
            contents_refuse(&contents, "there is no memory for its tokenizer");
    }
    contents_free(&contents);
    free(memory);
    return t;
}

void tokenizer_free(struct tokenizer *t) {
    free(t);
}

uint32_t tokenizer_vocabulary(const struct tokenizer *t) {
    return t->count;
}

/* ---- encode ------------------------------------------------------------------------------------------------------ */

struct encoding {
    const struct tokenizer *tokenizer;
    uint32_t *ids;
    size_t room;  /* one place less: the last is for the end */
    size_t count; /* what does not fit is only counted */
};

static void put(void *arg, uint32_t id) {
    struct encoding *e = arg;
    if (e->count < e->room)
        e->ids[e->count] = id;
    e->count++;
}

/* The longest token from the left, again and again. A word with a rest that no token begins is unknown as a whole. */
static void put_word(void *arg, const uint8_t *bytes, size_t size) {
    struct encoding *e = arg;
    size_t before = e->count;
    uint32_t id;
    for (size_t at = 0, n; at < size; at += n) {
        n = pieces_longest(&e->tokenizer->pieces, bytes + at, size - at, at > 0, &id);
        if (n == 0) {
            bytes = NULL;
            break;
        }
        put(e, id);
    }
    if (bytes == NULL) {
        e->count = before;
        put(e, e->tokenizer->unknown);
    }
}

ptrdiff_t tokenizer_encode(const struct tokenizer *t, const char *text, size_t size, uint32_t *ids, size_t room) {
    struct encoding e = {.tokenizer = t, .ids = ids, .room = room - 1};
    struct tokenizer_sink sink = {.word = put_word, .added = put, .arg = &e};
    put(&e, t->begin);
    if (tokenizer_text_split(&t->text, text, size, &sink) != 0)
        return -1;
    ids[e.count < e.room ? e.count : e.room] = t->end;
    return (ptrdiff_t)e.count + 1;
}
