/* tokenizer_lines.h: the bytes of a vocab.txt, a token on each line, and of its tokenizer_config.json. For
 * tokenizer_files.c. */
#ifndef OFFLOAD_EMBED_TOKENIZER_LINES_H
#define OFFLOAD_EMBED_TOKENIZER_LINES_H

#include <stddef.h>

#include "handlers/embed/tokenizer_contents.h"

/* Call it after contents_init. The bytes of vocab.txt are borrowed until contents_free. 0, or -1 after
 * contents_refuse. */
int tokenizer_lines_read(struct contents *c, const char *bytes, size_t size);

/* Then, if there is a tokenizer_config.json: its do_lower_case, strip_accents and tokenize_chinese_chars. What else it
 * says that changes ids is refused, unless it is what holds without it. */
int tokenizer_lines_configure(struct contents *c, const char *bytes, size_t size);

#endif
