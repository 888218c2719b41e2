/* model.h: the folder of a sentence-transformers model of the BERT family: what its files say, and its tensors
 * (safetensors, https://huggingface.co/docs/safetensors). For the type "embeddings". */
#ifndef OFFLOAD_EMBED_MODEL_H
#define OFFLOAD_EMBED_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "handlers/embed/tokenizer.h"

enum {
    MODEL_WHY = 400, /* room for a reason: one line, which names the file */
    MODEL_NAME = 64, /* bytes of a name with its end */
    MODEL_MAX_HIDDEN = 4096,
    MODEL_MAX_LAYERS = 64,
    MODEL_MAX_POSITIONS = 8192
};

/* Matrices are row-major, as PyTorch's Linear has them: [outputs][inputs]. Vectors have one number for each output. */
struct linear {
    const float *weight, *bias;
    uint32_t outputs, inputs;
};
struct layer_norm {
    const float *gain, *shift; /* hidden */
};
struct model_layer {
    struct linear query, key, value, attended; /* hidden x hidden */
    struct layer_norm attended_norm;
    struct linear up, down; /* intermediate x hidden, hidden x intermediate; between them GELU (erf) */
    struct layer_norm norm;
};

struct model {
    char name[MODEL_NAME]; /* of the folder: "all-MiniLM-L6-v2" */
    uint32_t hidden, layers, heads, intermediate;
    uint32_t vocabulary, positions;
    uint32_t max_tokens; /* of a text, [CLS] and [SEP] included: at most `positions` */
    float epsilon;       /* of the layer norms */
    enum model_pooling { MODEL_MEAN, MODEL_CLS } pooling;
    bool normalize;     /* modules.json has a Normalize */
    const char *prompt; /* comes before each text; "": none */
    struct tokenizer *tokenizer;

    /* Rows of `hidden` numbers, in memory of their own. The layers can be pages of the file, aligned to a float. */
    const float *words;     /* vocabulary */
    const float *places;    /* positions */
    const float *kind;      /* row 0 of the token types: the only one that is used */
    struct layer_norm norm; /* after their sum */
    struct model_layer *layer;

    void *memory; /* private: what all of it is in */
};

/* Reads a folder: config.json, tokenizer.json or vocab.txt, model.safetensors (F32, F16 or BF16; names with or without
 * "bert." before them), and, where they are, modules.json, sentence_bert_config.json, 1_Pooling/config.json and
 * config_sentence_transformers.json. The files are hostile: NULL with `why` if they are not whole, or are of a model that
 * cannot be served. */
struct model *model_open(const char *folder, char why[MODEL_WHY]);
/* Gives the weights of the layers back, and closes the file; words, places and all other members stay. For when the layers
 * have been packed. The file can be changed from then on. */
void model_drop_layers(struct model *m);
void model_free(struct model *m); /* NULL is allowed */

#endif
