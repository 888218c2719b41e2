/* result.h: the vectors of a job, in the order of its texts, and how they are written. In workers. */
#ifndef OFFLOAD_EMBED_RESULT_H
#define OFFLOAD_EMBED_RESULT_H

#include "handlers/embed/job.h"

/* What a merge has to write: the vectors in the order of the texts. Begin with embeddings_read, end with
 * embeddings_rows_free. */
struct embeddings_rows {
    const char *model;
    uint32_t count, dimensions;
    enum embeddings_encoding encoding;
    uint64_t tokens;
    const char **at; /* private: heap */
    char name[64];   /* private */
};
/* 0, or -1 after call_fail: a part is damaged, or there is no memory. */
int embeddings_read(struct call *c, struct bytes common, const struct bytes *parts, size_t count,
                    struct embeddings_rows *out);
void embeddings_rows_free(struct embeddings_rows *rows);
/* Writes the vectors, each as an array of numbers or as a string in base64, between a call of `before` and one of `after`;
 * both may be NULL. 0, or -1 after call_fail or call_cancelled. */
int embeddings_write(struct call *c, const struct embeddings_rows *rows, void (*before)(struct call *c, size_t index),
                     void (*after)(struct call *c));
/* Writes the member "usage". */
void embeddings_write_usage(struct call *c, uint64_t tokens);
/* The merge of the type "embeddings". */
int embeddings_merge(struct call *c, struct bytes common, const struct bytes *parts, size_t count);

#endif
