/* model.c: fuzzes the settings in the folder of an embedding model. The first byte of an input says which file it is, and
 * the others are the file. A model that is accepted has sizes that fit each other; one that is refused has a reason. */
#include <ftw.h>
#include <sys/stat.h>

#include "handlers/embed/model.h"
#include "tests/fuzz/input.h"

static const struct {
    const char *file, *text;
} files[] = {
    {"config.json", "{\"model_type\":\"bert\",\"hidden_size\":8,\"intermediate_size\":8,\"max_position_embeddings\":4,"
                    "\"num_attention_heads\":1,\"num_hidden_layers\":1,\"vocab_size\":8}"},
    {"modules.json", "[{\"path\":\"\",\"type\":\"sentence_transformers.models.Transformer\"},"
                     "{\"path\":\"1_Pooling\",\"type\":\"sentence_transformers.models.Pooling\"}]"},
    {"1_Pooling/config.json", "{\"pooling_mode_mean_tokens\":true}"},
    {"sentence_bert_config.json", "{\"max_seq_length\":4}"},
    {"tokenizer_config.json", "{}"},
    {"config_sentence_transformers.json", "{}"},
    {"vocab.txt", "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\n"},
};
enum { FUZZED = 6 /* the first ones; the tokenizer has a harness of its own */ };

static char root[64], folder[72];

static void write_file(const char *file, const void *bytes, size_t size) {
    char path[128];
    snprintf(path, sizeof path, "%s/%s", folder, file);
    FILE *f = fopen(path, "wb");
    MUST(f != NULL && fwrite(bytes, 1, size, f) == size && fclose(f) == 0);
}

/* All numbers are 0. */
static void write_tensors(void) {
    static const struct {
        const char *name, *shape;
        unsigned count;
    } tensors[] = {
        {"embeddings.word_embeddings.weight", "8,8", 64},
        {"embeddings.position_embeddings.weight", "4,8", 32},
        {"embeddings.token_type_embeddings.weight", "2,8", 16},
        {"embeddings.LayerNorm", NULL, 0},
        {"encoder.layer.0.attention.self.query", "8,8", 64},
        {"encoder.layer.0.attention.self.key", "8,8", 64},
        {"encoder.layer.0.attention.self.value", "8,8", 64},
        {"encoder.layer.0.attention.output.dense", "8,8", 64},
        {"encoder.layer.0.attention.output.LayerNorm", "8", 8},
        {"encoder.layer.0.intermediate.dense", "8,8", 64},
        {"encoder.layer.0.output.dense", "8,8", 64},
        {"encoder.layer.0.output.LayerNorm", "8", 8},
    };
    static char text[8 + 4096 + 64 * sizeof(float)];
    size_t n = 8;
    for (size_t i = 0; i < sizeof tensors / sizeof tensors[0]; i++) {
        bool whole = strstr(tensors[i].name, ".weight") != NULL;
        n += (size_t)snprintf(
            text + n, sizeof text - n, "%c\"%s%s\":{\"dtype\":\"F32\",\"shape\":[%s],\"data_offsets\":[0,%zu]}",
            i == 0 ? '{' : ',', tensors[i].name, whole ? "" : ".weight", tensors[i].count == 0 ? "8" : tensors[i].shape,
            (tensors[i].count == 0 ? 8 : tensors[i].count) * sizeof(float));
        if (!whole)
            n += (size_t)snprintf(text + n, sizeof text - n,
                                  ",\"%s.bias\":{\"dtype\":\"F32\",\"shape\":[8],\"data_offsets\":[0,32]}",
                                  tensors[i].name);
    }
    text[n++] = '}';
    text[0] = (char)((n - 8) & 0xff);
    text[1] = (char)((n - 8) >> 8);
    memset(text + n, 0, 64 * sizeof(float));
    write_file("model.safetensors", text, n + 64 * sizeof(float));
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *where) {
    (void)st;
    (void)kind;
    (void)where;
    return remove(path);
}

static void remove_folder(void) {
    nftw(root, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    (void)argc;
    (void)argv;
    char path[128], why[MODEL_WHY] = "";
    snprintf(root, sizeof root, "/tmp/offload-fuzz-model-XXXXXX");
    MUST(mkdtemp(root) != NULL);
    atexit(remove_folder);
    snprintf(folder, sizeof folder, "%s/tiny", root);
    snprintf(path, sizeof path, "%s/1_Pooling", folder);
    MUST(mkdir(folder, 0700) == 0 && mkdir(path, 0700) == 0);
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++)
        write_file(files[i].file, files[i].text, strlen(files[i].text));
    write_tensors();
    struct model *m = model_open(folder, why);
    if (m == NULL)
        fprintf(stderr, "%s\n", why);
    MUST(m != NULL);
    model_free(m);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char why[MODEL_WHY];
    struct input in = {data, size};
    unsigned which = take_u8(&in) % FUZZED;
    write_file(files[which].file, in.data, in.size);
    memset(why, 0, sizeof why);
    struct model *m = model_open(folder, why);
    if (m == NULL)
        MUST(why[0] != '\0' && strlen(why) < MODEL_WHY && strchr(why, '\n') == NULL);
    else {
        MUST(m->hidden == 8 && m->heads > 0 && m->hidden % m->heads == 0 && m->layers == 1 && m->intermediate == 8);
        MUST(m->max_tokens >= 3 && m->max_tokens <= m->positions && m->positions == 4 && m->vocabulary == 8);
        MUST(m->words[63] == 0 && m->places[31] == 0 && m->layer[0].down.weight[63] == 0 && m->prompt != NULL);
        model_drop_layers(m);
        model_free(m);
    }
    write_file(files[which].file, files[which].text, strlen(files[which].text));
    return 0;
}
