/* weights.h: the tensors of a model, as floats of a known shape. For model.c alone. */
#ifndef OFFLOAD_EMBED_WEIGHTS_H
#define OFFLOAD_EMBED_WEIGHTS_H

#include <stdbool.h>
#include <stdint.h>

enum { WEIGHTS_WHY = 300 /* room for a reason: the end of a sentence that begins with the file: "has ..." */ };

struct weights;

/* Opens a file of safetensors (its names with or without "bert." before them). NULL with `why`. */
struct weights *weights_open(const char *path, char why[WEIGHTS_WHY]);
void weights_close(struct weights *w); /* NULL is allowed; ends all numbers that came of it */

struct weights_wanted {
    const char *name, *kind; /* "embeddings.word_embeddings", "weight" */
    uint32_t rows, columns;  /* 0 columns: a vector */
    bool dropped;            /* weights_drop ends it */
};
/* Sets *numbers to the numbers of a tensor, rows x columns: memory of its own, or, for aligned F32 that is dropped, pages
 * of the file. They live until weights_close, or until weights_drop. 0; -1 with `why`: there is no such tensor of that
 * shape, a number is not finite, or memory ran out. Not after weights_drop. */
int weights_take(struct weights *w, const struct weights_wanted *wanted, const float **numbers, char why[WEIGHTS_WHY]);
/* Frees what was wanted as `dropped`, and closes the file. Nothing of it is read from then on. */
void weights_drop(struct weights *w);

#endif
