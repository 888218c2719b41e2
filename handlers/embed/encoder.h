/* encoder.h: tokens -> the vector of a text: a BERT encoder and its pooling, on one core. For the type "embeddings".
 *
 * The texts of a call lie end to end, without padding: the products run over all tokens, attention over each text alone.
 * The vector of a text is the same, to the bit, whatever else is in the call. */
#ifndef OFFLOAD_EMBED_ENCODER_H
#define OFFLOAD_EMBED_ENCODER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "handlers/embed/model.h"

enum precision { PRECISION_AUTO, PRECISION_BF16, PRECISION_FX16, PRECISION_FP32, PRECISION_INT8 };
extern const char *const precision_names[]; /* "auto", ..., NULL */

/* Does not change once it is made: any number of forked processes can use it, with a scratch of their own. */
struct encoder;

/* Packs the weights of the model for this CPU. The model stays the caller's, and must outlive the encoder, except for its
 * layers, which can be dropped. Starts no thread. PRECISION_AUTO is the best of what can be had: bf16 on CPUs with AMX,
 * else fx16, else fp32. NULL with `why`: the CPU cannot do that, its library is not there, or there is no memory. If
 * PRECISION_AUTO had to do without something that is better on this CPU, `why` says so, otherwise it is empty. */
struct encoder *encoder_new(const struct model *m, enum precision wanted, char why[MODEL_WHY]);
void encoder_free(struct encoder *e);                      /* NULL is allowed */
enum precision encoder_precision(const struct encoder *e); /* never PRECISION_AUTO */
const char *encoder_kernel(const struct encoder *e);       /* "fx16 avx2": for the log and for benchmarks */

/* What a call needs while it runs: some MB, which grow with the tokens of the largest call. NULL: no memory. */
struct encoder_scratch;
struct encoder_scratch *encoder_scratch_new(void);
void encoder_scratch_free(struct encoder_scratch *s); /* NULL is allowed */

/* Text i has the tokens ids[starts[i]] up to ids[starts[i + 1]] (at least 1 and at most max_tokens of them, all below
 * `vocabulary`); starts[0] is 0, and starts has count + 1 members. Its vector, pooled, goes to vectors[i * hidden]. `go_on` is asked every few ms, and its false ends the call. 0; -1: it was ended, or no
 * memory (errno is then ENOMEM, otherwise ECANCELED). */
int encoder_run(const struct encoder *e, struct encoder_scratch *s, const uint32_t *ids, const uint32_t *starts,
                size_t count, float *vectors, bool (*go_on)(void *arg), void *arg);
/* Scales a vector, or the first dimensions of one, to length 1. Zeros stay as they are. */
void encoder_normalize(float *vector, uint32_t dimensions);
/* False: one of the numbers is infinite, or not a number. A vector can be that if the weights are huge. */
bool encoder_all_finite(const float *numbers, size_t count);

#endif
