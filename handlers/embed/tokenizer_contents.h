/* tokenizer_contents.h: what the files of a tokenizer say, whichever they are. For tokenizer.c and those that read them. */
#ifndef OFFLOAD_EMBED_TOKENIZER_CONTENTS_H
#define OFFLOAD_EMBED_TOKENIZER_CONTENTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "handlers/embed/tokenizer_pieces.h"
#include "handlers/embed/tokenizer_text.h"

enum { CONTENTS_WHY = 300, CONTENTS_MAX_IDS = 1 << 20 };

/* The caller frees it with contents_free, whatever came of reading it. */
struct contents {
    struct tokenizer_rules rules;
    uint32_t max_characters;        /* of a word */
    const char *prefix;             /* of inner pieces: "##" */
    uint32_t prefix_size;           /* in bytes */
    uint32_t count;                 /* of all tokens: their ids are below it, and each of them is there */
    uint32_t pieces;                /* the first so many of them can be found in words */
    uint32_t added_count;           /* so many are found in the text as it came */
    uint32_t unknown, begin, end;   /* the ids of [UNK], [CLS] and [SEP] */
    struct tokenizer_token *tokens; /* by id; owned, as an array */
    struct tokenizer_added *added;  /* owned, as an array */
    void *json;                     /* private: a json_t, which most of the strings are in */

    const char *file; /* the name that contents_refuse says */
    char *why;        /* has room for CONTENTS_WHY bytes */
};

/* Begins it: all zeros but `file` and `why`, which are borrowed. */
void contents_init(struct contents *c, const char *file, char *why);
void contents_free(struct contents *c);

/* Says why the file is refused, in one line of printable ASCII that begins with its name. Returns -1. */
int contents_refuse(struct contents *c, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Makes room for so many tokens and added tokens, at least one of each. 0, or -1 after contents_refuse. */
int contents_reserve(struct contents *c, size_t tokens, size_t added);
/* The id of the token with these bytes, among the first `count`. */
bool contents_find(const struct contents *c, const char *bytes, size_t size, uint32_t *id);
/* The token is found in the text as it came. It is borrowed, and is one of the tokens. */
void contents_add(struct contents *c, uint32_t id);
/* At the end: puts the added tokens in order. 0, or -1 after contents_refuse: one is empty or there twice, or has white
 * space in it, about which Hugging Face's code has rules of its own. */
int contents_finish(struct contents *c);

#endif
