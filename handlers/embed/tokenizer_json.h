/* tokenizer_json.h: the bytes of a tokenizer.json, as Hugging Face's `tokenizers` writes it. For tokenizer_files.c. */
#ifndef OFFLOAD_EMBED_TOKENIZER_JSON_H
#define OFFLOAD_EMBED_TOKENIZER_JSON_H

#include <stddef.h>

#include "handlers/embed/tokenizer_contents.h"

/* Of WordPiece with BertNormalizer and BertPreTokenizer. Its truncation, padding and decoder are ignored. Call it after
 * contents_init. The bytes are not needed after it. 0, or -1 after contents_refuse. */
int tokenizer_json_read(struct contents *c, const char *bytes, size_t size);

#endif
