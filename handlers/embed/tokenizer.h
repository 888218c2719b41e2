/* tokenizer.h: text -> the ids of its tokens, by BERT's normaliser and WordPiece (Devlin et al. 2018; Wu et al. 2016,
 * section 4.1). The ids are those of Hugging Face's `tokenizers`, on any text. For the type "embeddings". */
#ifndef OFFLOAD_EMBED_TOKENIZER_H
#define OFFLOAD_EMBED_TOKENIZER_H

#include <stddef.h>
#include <stdint.h>

/* Does not change once it is open: any number of threads and forked processes can use it. */
struct tokenizer;

enum { TOKENIZER_WHY = 300 }; /* room for a reason: one line, which names the file */

/* Reads `folder`/tokenizer.json, or vocab.txt if there is none (then with tokenizer_config.json's do_lower_case,
 * strip_accents and tokenize_chinese_chars, if that file is there). Its truncation and padding settings are ignored. The
 * files are hostile: whatever they say, the tokenizer is right or refused. NULL with `why` in the second case. */
struct tokenizer *tokenizer_open(const char *folder, char why[TOKENIZER_WHY]);
void tokenizer_free(struct tokenizer *t); /* NULL is allowed */

/* All ids are below it. */
uint32_t tokenizer_vocabulary(const struct tokenizer *t);

/* Writes [CLS], the tokens of the text and [SEP] to `ids`, which has room for `room` (at least 2) of them. If there are
 * more, it writes the first room - 1 of them and [SEP]. Returns how many the whole text has, both specials included; so
 * it was cut if that is more than `room`. -1: the text is not UTF-8 (RFC 3629). -2: no memory. */
ptrdiff_t tokenizer_encode(const struct tokenizer *t, const char *text, size_t size, uint32_t *ids, size_t room);

#endif
