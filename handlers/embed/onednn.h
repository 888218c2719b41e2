/* onednn.h: products in bf16 by oneDNN (https://uxlfoundation.github.io/oneDNN), which is opened when it is wanted: linked
 * into the program it would cost each start the time to load its 40 MB. For the bf16 kernels of the encoder alone.
 *
 * bf16 are the upper 16 bits of a float. oneDNN adds the products of two of them in fp32. It compiles the code for a
 * product while it makes it. So all of this is done in the zygote, and its workers share the code; none of it starts a
 * thread. */
#ifndef OFFLOAD_EMBED_ONEDNN_H
#define OFFLOAD_EMBED_ONEDNN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { ONEDNN_MOST_ROWS = 32 };

/* Opens it, if that was not done. Where a function here returns text, NULL means that it went well, and the text is what is
 * wrong, without an end. All others may be called only after it has returned NULL. */
const char *onednn_open(void);
/* Whether it uses AMX on this CPU. */
bool onednn_has_amx(void);
/* How many rows a product has, which divides ONEDNN_MOST_ROWS: always as many in a process, so that oneDNN adds in the same
 * order, whatever is beside a row. Without AMX they are fewer, since filling them up takes more time there. */
size_t onednn_rows(void);

/* out[rows][outputs] = a[rows][inputs] W^T + bias, for one W. Processes that are forked can use it. */
struct onednn_product;
const char *onednn_product_new(uint32_t outputs, uint32_t inputs, struct onednn_product **out);
void onednn_product_free(struct onednn_product *p); /* NULL is allowed */
size_t onednn_packed_size(const struct onednn_product *p);
/* Writes the weights, [outputs][inputs], to `packed`, which is aligned to 64, in the order in which this CPU reads them
 * best. `packed` and the biases are used by each product, and stay the caller's. */
const char *onednn_pack(struct onednn_product *p, const uint16_t *weights, const float *bias, void *packed);
/* `a` and `out` are aligned to 4 bytes at least. False: no memory. */
bool onednn_multiply(struct onednn_product *p, const uint16_t *a, float *out);

#endif
