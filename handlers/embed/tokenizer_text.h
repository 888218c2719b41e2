/* tokenizer_text.h: text -> words, as BERT's normaliser and pre-tokeniser make them. For tokenizer.c. */
#ifndef OFFLOAD_EMBED_TOKENIZER_TEXT_H
#define OFFLOAD_EMBED_TOKENIZER_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    TOKENIZER_CODE_POINTS = 0x110000,
    TOKENIZER_MAX_CHARACTERS = 1000 /* of the longest word that can have pieces */
};

/* The members of BertNormalizer. */
struct tokenizer_rules {
    bool clean_text, handle_chinese_chars, strip_accents, lowercase;
};

/* A token that is found in the text as it came, before it is normalised: "[SEP]". */
struct tokenizer_added {
    const char *bytes; /* UTF-8 */
    uint32_t size, id; /* size: not 0 */
};

/* Does not change after tokenizer_text_init. Its memory must be all zeros before it: most of `kinds` stays so. */
struct tokenizer_text {
    uint8_t
        kinds[TOKENIZER_CODE_POINTS]; /* what the rules have to do with a character; 0: it goes into a word as it is */
    uint8_t plain[256];               /* what a byte becomes in a word; 0: that needs a closer look */
    uint32_t first_added[257];        /* the added tokens that begin with a byte lie from here to the next one */
    const struct tokenizer_added *added; /* in order of their bytes */
    uint32_t max_characters;
};

/* Borrows `added`, which must be in order of their bytes (memcmp, the shorter first), each of them once.
 * max_characters: 1 to TOKENIZER_MAX_CHARACTERS. */
void tokenizer_text_init(struct tokenizer_text *t, const struct tokenizer_rules *rules, uint32_t max_characters,
                         const struct tokenizer_added *added, uint32_t added_count);

/* Who takes the words. */
struct tokenizer_sink {
    void (*word)(void *arg, const uint8_t *bytes, size_t size); /* NULL: it has more than max_characters */
    void (*added)(void *arg, uint32_t id);                      /* an added token stands here */
    void *arg;
};
/* Needs no memory, and time that grows with the text. 0; -1: the text is not UTF-8 (what comes before that has gone to
 * the sink). */
int tokenizer_text_split(const struct tokenizer_text *t, const char *text, size_t size,
                         const struct tokenizer_sink *sink);

#endif
