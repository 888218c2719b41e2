/* tokenizer_files.h: the files of a tokenizer in a folder. For tokenizer.c. */
#ifndef OFFLOAD_EMBED_TOKENIZER_FILES_H
#define OFFLOAD_EMBED_TOKENIZER_FILES_H

#include "handlers/embed/tokenizer_contents.h"

enum { TOKENIZER_MAX_FILE = 64 << 20 }; /* bytes */

/* Reads tokenizer.json, or vocab.txt and perhaps tokenizer_config.json. *memory is what *c is in: the caller frees it
 * after contents_free(c). Both calls are due whatever comes of it. 0; -1 with `why` (CONTENTS_WHY bytes): one line. */
int tokenizer_files_read(struct contents *c, const char *folder, char *why, void **memory);

#endif
