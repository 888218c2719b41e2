/* model.c: reads the folder of a model (model.h). It runs in the zygote, once for each model.
 *
 * Four steps: the settings, which decide the shapes; the tokenizer; the tensors, which must have these shapes; and the
 * prompt, which the tokenizer must be able to cut. What the settings mean is what sentence-transformers makes of them
 * (https://sbert.net). What it would do and the encoder cannot is refused, so that no vector differs from its own. */
#include "handlers/embed/model.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "handlers/embed/settings.h"
#include "handlers/embed/weights.h"

enum {
    SUBFOLDER = 64, /* bytes of the name of a folder in the folder, with its end */
    MAX_PATH = 4096,
    MAX_VOCABULARY = 1 << 20,
    MAX_INTERMEDIATE = 8 * MODEL_MAX_HIDDEN,
    MAX_TYPES = 1 << 16,
    MAX_PROMPT = 4096, /* bytes */
    MIN_TOKENS = 3,    /* [CLS], one token, [SEP] */
    KERNEL_STEP = 8,   /* the products run over so many columns at a time */
    HEAD_STEP = 4,     /* the same, for those of attention */
};

#define WEIGHTS "model.safetensors"

_Static_assert((int)SETTINGS_WHY == (int)MODEL_WHY, "a reason of the settings is one of the model");

/* What model_open returns is the first member. */
struct parts {
    struct model model;
    struct weights *weights;
    char *prompt;
};

/* While it is read. */
struct loading {
    const char *folder;
    char *why;
    struct parts *parts;
    struct model *model;         /* the parts' */
    bool plain;                  /* no modules.json */
    char transformer[SUBFOLDER]; /* the folder of config.json and the tensors: mostly "" */
    char pooling[SUBFOLDER];     /* "1_Pooling" */
    bool include_prompt;         /* pooling counts the tokens of the prompt */
    bool lower;                  /* sentence_bert_config.json asks for lower case */
    uint32_t types;              /* rows of the token types */
};

/* Opens a file of a folder in the folder ("": the folder itself). */
static int open_settings(const struct loading *l, const char *subfolder, const char *file, struct settings *s) {
    char relative[SUBFOLDER + 64];
    snprintf(relative, sizeof relative, "%s%s%s", subfolder, subfolder[0] == '\0' ? "" : "/", file);
    return settings_open(s, l->folder, l->model->name, relative, l->why);
}

/* Reads a file by a function. If there is none it does nothing, or fails with `missing`. */
static int with_settings(struct loading *l, const char *subfolder, const char *file, const char *missing,
                         int (*read)(struct loading *l, const struct settings *s)) {
    struct settings s;
    int result = open_settings(l, subfolder, file, &s);
    if (result == 0 && s.root != NULL)
        result = read(l, &s);
    else if (result == 0 && missing != NULL)
        result = settings_fail(&s, "%s", missing);
    settings_close(&s);
    return result;
}

static int need_object(const struct settings *s) {
    return json_is_object(s->root) ? 0 : settings_fail(s, "is not a JSON object");
}

/* ---- config.json ------------------------------------------------------------------------------------------------- */

static int check_type(const struct settings *s) {
    static const struct {
        const char *type, *reason;
    } others[] = {
        {"albert", ": its layers share their weights"},     {"camembert", ": it counts positions from 2"},
        {"deberta", ": its positions are relative"},        {"deberta-v2", ": its positions are relative"},
        {"distilbert", ": its layers are of another form"}, {"modernbert", ": its positions are rotations"},
        {"mpnet", ": its positions are relative"},          {"nomic_bert", ": its positions are rotations"},
        {"roberta", ": it counts positions from 2"},        {"xlm-roberta", ": it counts positions from 2"},
    };
    const char *type = "", *reason = "";
    if (settings_need(s, "model_type") != 0 || settings_text(s, "model_type", &type) != 0)
        return -1;
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
        if (strcmp(type, others[i].type) == 0)
            reason = others[i].reason;
    if (strcmp(type, "bert") != 0)
        return settings_fail(s, "model_type is \"%s\", and only \"bert\" is served%s", settings_show(type).text,
                             reason);
    return 0;
}

/* What the encoder computes in one way only. */
static int check_kinds(const struct settings *s) {
    const char *activation = "gelu", *positions = "absolute";
    bool decoder = false;
    if (settings_text(s, "hidden_act", &activation) != 0 ||
        settings_text(s, "position_embedding_type", &positions) != 0 || settings_flag(s, "is_decoder", &decoder) != 0)
        return -1;
    if (strcmp(activation, "gelu") != 0)
        return settings_fail(s, "hidden_act is \"%s\", and only \"gelu\", the exact one, is served",
                             settings_show(activation).text);
    if (strcmp(positions, "absolute") != 0)
        return settings_fail(s, "position_embedding_type is \"%s\", and only \"absolute\" is served",
                             settings_show(positions).text);
    return decoder ? settings_fail(s, "is_decoder is true, and only encoders are served") : 0;
}

static int read_sizes(struct loading *l, const struct settings *s) {
    struct model *m = l->model;
    const struct {
        const char *key;
        uint32_t low, high, *value;
    } sizes[] = {
        {"hidden_size", KERNEL_STEP, MODEL_MAX_HIDDEN, &m->hidden},
        {"num_hidden_layers", 1, MODEL_MAX_LAYERS, &m->layers},
        {"num_attention_heads", 1, MODEL_MAX_HIDDEN / HEAD_STEP, &m->heads},
        {"intermediate_size", KERNEL_STEP, MAX_INTERMEDIATE, &m->intermediate},
        {"vocab_size", 1, MAX_VOCABULARY, &m->vocabulary},
        {"max_position_embeddings", MIN_TOKENS, MODEL_MAX_POSITIONS, &m->positions},
    };
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        if (settings_need(s, sizes[i].key) != 0 ||
            settings_integer(s, sizes[i].key, sizes[i].low, sizes[i].high, sizes[i].value) != 0)
            return -1;
    if (m->hidden % KERNEL_STEP != 0 || m->intermediate % KERNEL_STEP != 0)
        return settings_fail(s, "hidden_size is %u and intermediate_size %u; only multiples of %d are served",
                             m->hidden, m->intermediate, KERNEL_STEP);
    if (m->hidden % m->heads != 0 || m->hidden / m->heads % HEAD_STEP != 0)
        return settings_fail(s, "hidden_size is %u, which %u heads cannot share in multiples of %d", m->hidden,
                             m->heads, HEAD_STEP);
    return 0;
}

static int read_config(struct loading *l, const struct settings *s) {
    double epsilon = 1e-12;
    l->types = 2;
    if (need_object(s) != 0 || check_type(s) != 0 || check_kinds(s) != 0 || read_sizes(l, s) != 0 ||
        settings_integer(s, "type_vocab_size", 1, MAX_TYPES, &l->types) != 0 ||
        settings_real(s, "layer_norm_eps", 1e-20, 0.1, &epsilon) != 0)
        return -1;
    l->model->epsilon = (float)epsilon;
    return 0;
}

/* ---- modules.json and 1_Pooling/config.json ---------------------------------------------------------------------- */

/* A class is named by its Python module, which has moved between versions: "sentence_transformers.models.Pooling". */
static bool is_module(const char *type, const char *class) {
    static const char package[] = "sentence_transformers.";
    const char *last = strrchr(type, '.');
    return strncmp(type, package, sizeof package - 1) == 0 && last != NULL && strcmp(last + 1, class) == 0;
}

/* Only a name, so that no path leads out of the folder. */
static int read_subfolder(const struct settings *s, const struct settings *module, char *to) {
    const char *path = "";
    if (settings_text(module, "path", &path) != 0)
        return -1;
    if (path[0] == '.' || strchr(path, '/') != NULL || strcmp(settings_show(path).text, path) != 0)
        return settings_fail(s, "has the path \"%s\", which is not the name of a folder in it",
                             settings_show(path).text);
    snprintf(to, SUBFOLDER, "%s", path);
    return 0;
}

static int read_modules(struct loading *l, const struct settings *s) {
    static const char *const classes[] = {"Transformer", "Pooling", "Normalize"};
    char *const paths[] = {l->transformer, l->pooling, (char[SUBFOLDER]){""}};
    size_t count = json_array_size(s->root);
    l->plain = false;
    for (size_t i = 0; i < count; i++) {
        const char *type = "";
        struct settings module = *s;
        module.root = json_array_get(s->root, i);
        if (settings_text(&module, "type", &type) != 0)
            return -1;
        if (i > 2 || !is_module(type, classes[i]))
            return settings_fail(s, "has the module \"%s\"; served are Transformer, Pooling and perhaps Normalize",
                                 settings_show(type).text);
        if (read_subfolder(s, &module, paths[i]) != 0)
            return -1;
    }
    if (count < 2)
        return settings_fail(s, "has no list of at least a Transformer and a Pooling");
    if (l->pooling[0] == '\0')
        return settings_fail(s, "has no path for its Pooling");
    l->model->normalize = count == 3;
    return 0;
}

/* Until version 6 there was a flag for each mode, since then there is the name of a mode, or a list of them. */
static int read_mode(const struct settings *s, const char **mode) {
    static const char *const flags[][2] = {
        {"pooling_mode_cls_token", "cls"},
        {"pooling_mode_max_tokens", "max"},
        {"pooling_mode_mean_tokens", "mean"},
        {"pooling_mode_mean_sqrt_len_tokens", "mean_sqrt_len_tokens"},
        {"pooling_mode_weightedmean_tokens", "weightedmean"},
        {"pooling_mode_lasttoken", "lasttoken"},
    };
    const json_t *named = json_object_get(s->root, "pooling_mode");
    if (json_array_size(named) > 1)
        return settings_fail(s, "joins several poolings; one is served");
    if (named != NULL && !json_is_null(named)) {
        *mode = json_string_value(json_is_array(named) ? json_array_get(named, 0) : named);
        return *mode != NULL ? 0 : settings_fail(s, "pooling_mode is not a text");
    }
    for (size_t i = 0; i < sizeof flags / sizeof flags[0]; i++) {
        bool on = false;
        if (settings_flag(s, flags[i][0], &on) != 0)
            return -1;
        if (on && *mode != NULL)
            return settings_fail(s, "joins several poolings; one is served");
        *mode = on ? flags[i][1] : *mode;
    }
    return 0;
}

static int read_pooling(struct loading *l, const struct settings *s) {
    const char *mode = NULL;
    uint32_t hidden = l->model->hidden;
    if (need_object(s) != 0 || read_mode(s, &mode) != 0 ||
        settings_integer(s, "word_embedding_dimension", hidden, hidden, &hidden) != 0 ||
        settings_integer(s, "embedding_dimension", hidden, hidden, &hidden) != 0 ||
        settings_flag(s, "include_prompt", &l->include_prompt) != 0)
        return -1;
    mode = mode == NULL ? "mean" : mode;
    l->model->pooling = strcmp(mode, "cls") == 0 ? MODEL_CLS : MODEL_MEAN;
    if (l->model->pooling == MODEL_MEAN && strcmp(mode, "mean") != 0)
        return settings_fail(s, "pools by \"%s\"; only mean and cls are served", settings_show(mode).text);
    return 0;
}

/* ---- how long a text may be, and what comes before it ------------------------------------------------------------- */

static int read_model_max_length(struct loading *l, const struct settings *s) {
    double most = l->model->max_tokens;
    if (need_object(s) != 0 || settings_real(s, "model_max_length", MIN_TOKENS, HUGE_VAL, &most) != 0)
        return -1;
    if (most < l->model->max_tokens)
        l->model->max_tokens = (uint32_t)most;
    return 0;
}

/* max_seq_length comes before the tokenizer's model_max_length, even if it is larger. */
static int read_sentence_bert_config(struct loading *l, const struct settings *s) {
    const char *task = "feature-extraction";
    double most = 0;
    if (need_object(s) != 0 || settings_text(s, "transformer_task", &task) != 0 ||
        settings_flag(s, "do_lower_case", &l->lower) != 0 ||
        settings_real(s, "max_seq_length", MIN_TOKENS, HUGE_VAL, &most) != 0)
        return -1;
    if (strcmp(task, "feature-extraction") != 0)
        return settings_fail(s, "transformer_task is \"%s\", and only \"feature-extraction\" is served",
                             settings_show(task).text);
    if (most > 0)
        l->model->max_tokens = most < l->model->positions ? (uint32_t)most : l->model->positions;
    return 0;
}

/* The prompt of that name. A model may have "query" and "document" without a text. */
static int read_default_prompt(const struct settings *s, const char *name, const char **prompt) {
    struct settings prompts = *s;
    prompts.root = json_object_get(s->root, "prompts");
    if (json_object_get(prompts.root, name) == NULL && strcmp(name, "query") != 0 && strcmp(name, "document") != 0)
        return settings_fail(s, "default_prompt_name is \"%s\", and prompts has none of that name",
                             settings_show(name).text);
    return settings_text(&prompts, name, prompt);
}

static int read_prompts(struct loading *l, const struct settings *s) {
    const char *type = "SentenceTransformer", *name = NULL, *prompt = "";
    if (need_object(s) != 0 || settings_text(s, "model_type", &type) != 0 ||
        settings_text(s, "default_prompt_name", &name) != 0)
        return -1;
    if (strcmp(type, "SentenceTransformer") != 0)
        return settings_fail(s, "model_type is \"%s\", and only \"SentenceTransformer\" is served",
                             settings_show(type).text);
    if (name != NULL && read_default_prompt(s, name, &prompt) != 0)
        return -1;
    if (prompt[0] != '\0' && !l->include_prompt)
        return settings_fail(s, "has a default prompt that pooling leaves out (include_prompt), which is not served");
    if (strlen(prompt) > MAX_PROMPT)
        return settings_fail(s, "has a default prompt of more than %d bytes", MAX_PROMPT);
    l->parts->prompt = strdup(prompt);
    l->model->prompt = l->parts->prompt;
    return l->model->prompt != NULL ? 0 : settings_fail(s, "does not fit into the memory");
}

/* ---- all settings ------------------------------------------------------------------------------------------------ */

/* The name is shown in messages, answers and metrics. */
static int read_name(struct loading *l) {
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
    size_t end = strlen(l->folder);
    while (end > 0 && l->folder[end - 1] == '/')
        end--;
    size_t begin = end;
    while (begin > 0 && l->folder[begin - 1] != '/')
        begin--;
    const char *name = l->folder + begin;
    if (end == begin || end - begin >= MODEL_NAME || name[0] == '.' || strspn(name, letters) < end - begin) {
        snprintf(l->why, MODEL_WHY, "%s: the folder's name must have 1 to %d letters, digits or ._-, and no . in front",
                 settings_show(name).text, MODEL_NAME - 1);
        return -1;
    }
    memcpy(l->model->name, name, end - begin);
    return 0;
}

static int read_settings(struct loading *l) {
    l->plain = true;
    l->include_prompt = true;
    l->model->prompt = "";
    if (read_name(l) != 0 || with_settings(l, "", "modules.json", NULL, read_modules) != 0 ||
        with_settings(l, l->transformer, "config.json", "is missing", read_config) != 0)
        return -1;
    l->model->max_tokens = l->model->positions;
    if (with_settings(l, l->transformer, "tokenizer_config.json", NULL, read_model_max_length) != 0)
        return -1;
    if (l->plain) /* sentence-transformers then looks at nothing else, and takes the mean */
        return 0;
    if (with_settings(l, l->transformer, "sentence_bert_config.json", NULL, read_sentence_bert_config) != 0 ||
        with_settings(l, l->pooling, "config.json", "is missing", read_pooling) != 0)
        return -1;
    return with_settings(l, "", "config_sentence_transformers.json", NULL, read_prompts);
}

/* Sets the reason to "FOLDER/FILE: ...". Returns -1. */
static int fail_in(const struct loading *l, const char *file, const char *reason) {
    snprintf(l->why, MODEL_WHY, "%s/%s: %s", l->model->name, file, reason);
    return -1;
}

/* A file's path; false if it is too long. */
static bool path_of(const struct loading *l, const char *file, char path[MAX_PATH]) {
    const char *slash = l->transformer[0] == '\0' ? "" : "/";
    return snprintf(path, MAX_PATH, "%s%s%s%s%s", l->folder, slash, l->transformer, file[0] == '\0' ? "" : "/", file) <
           MAX_PATH;
}

/* ---- the tokenizer ----------------------------------------------------------------------------------------------- */

/* sentence-transformers lower-cases by do_lower_case, too. Here the tokenizer alone decides, so it must do so itself. */
static int check_case(const struct loading *l) {
    enum { ROOM = 32 };
    static const char letters[][14] = {"A B C D E F G", "a b c d e f g"};
    uint32_t ids[2][ROOM] = {{0}};
    ptrdiff_t n = 0;
    for (int i = 0; i < 2 && n >= 0; i++)
        n = tokenizer_encode(l->model->tokenizer, letters[i], sizeof letters[i] - 1, ids[i], ROOM);
    if (n < 0)
        return fail_in(l, "tokenizer.json", "does not fit into the memory");
    if (memcmp(ids[0], ids[1], sizeof ids[0]) != 0)
        return fail_in(l, "sentence_bert_config.json", "do_lower_case is true, but the tokenizer keeps upper case");
    return 0;
}

/* Each text must have room behind the prompt. */
static int check_prompt(const struct loading *l) {
    uint32_t ids[2];
    const struct model *m = l->model;
    ptrdiff_t n = tokenizer_encode(m->tokenizer, m->prompt, strlen(m->prompt), ids, 2);
    if (n < 0)
        return fail_in(l, "tokenizer.json", "does not fit into the memory");
    if (n >= (ptrdiff_t)m->max_tokens)
        return fail_in(l, "config_sentence_transformers.json", "has a default prompt that leaves no room for a text");
    return 0;
}

static int open_tokenizer(struct loading *l) {
    char path[MAX_PATH], reason[TOKENIZER_WHY] = "";
    struct model *m = l->model;
    if (!path_of(l, "", path))
        return fail_in(l, "tokenizer.json", "has a path that is too long");
    m->tokenizer = tokenizer_open(path, reason);
    if (m->tokenizer == NULL) {
        snprintf(l->why, MODEL_WHY, "%s: %s", m->name, reason);
        return -1;
    }
    if (tokenizer_vocabulary(m->tokenizer) > m->vocabulary) {
        snprintf(l->why, MODEL_WHY, "%s: the tokenizer has %u tokens, and vocab_size of config.json is %u", m->name,
                 tokenizer_vocabulary(m->tokenizer), m->vocabulary);
        return -1;
    }
    return l->lower && check_case(l) != 0 ? -1 : check_prompt(l);
}

/* ---- tensors ----------------------------------------------------------------------------------------------------- */

/* Of a layer if `layer` is not NULL. */
static int take(const struct loading *l, const char *layer, const char *name, const char *kind, uint32_t rows,
                uint32_t columns, const float **numbers) {
    char full[100], reason[WEIGHTS_WHY] = "";
    snprintf(full, sizeof full, "%s%s", layer == NULL ? "" : layer, name);
    const struct weights_wanted wanted = {full, kind, rows, columns, .dropped = layer != NULL};
    return weights_take(l->parts->weights, &wanted, numbers, reason) == 0 ? 0 : fail_in(l, WEIGHTS, reason);
}

static int take_linear(const struct loading *l, const char *layer, const char *name, uint32_t outputs, uint32_t inputs,
                       struct linear *to) {
    to->outputs = outputs;
    to->inputs = inputs;
    if (take(l, layer, name, "weight", outputs, inputs, &to->weight) != 0)
        return -1;
    return take(l, layer, name, "bias", outputs, 0, &to->bias);
}

static int take_norm(const struct loading *l, const char *layer, const char *name, struct layer_norm *to) {
    if (take(l, layer, name, "weight", l->model->hidden, 0, &to->gain) != 0)
        return -1;
    return take(l, layer, name, "bias", l->model->hidden, 0, &to->shift);
}

static int take_layer(const struct loading *l, uint32_t number) {
    char layer[40];
    struct model_layer *to = &l->model->layer[number];
    uint32_t hidden = l->model->hidden, intermediate = l->model->intermediate;
    snprintf(layer, sizeof layer, "encoder.layer.%u.", number);
    if (take_linear(l, layer, "attention.self.query", hidden, hidden, &to->query) != 0 ||
        take_linear(l, layer, "attention.self.key", hidden, hidden, &to->key) != 0 ||
        take_linear(l, layer, "attention.self.value", hidden, hidden, &to->value) != 0 ||
        take_linear(l, layer, "attention.output.dense", hidden, hidden, &to->attended) != 0 ||
        take_norm(l, layer, "attention.output.LayerNorm", &to->attended_norm) != 0 ||
        take_linear(l, layer, "intermediate.dense", intermediate, hidden, &to->up) != 0 ||
        take_linear(l, layer, "output.dense", hidden, intermediate, &to->down) != 0)
        return -1;
    return take_norm(l, layer, "output.LayerNorm", &to->norm);
}

static int take_embeddings(const struct loading *l) {
    struct model *m = l->model;
    if (take(l, NULL, "embeddings.word_embeddings", "weight", m->vocabulary, m->hidden, &m->words) != 0 ||
        take(l, NULL, "embeddings.position_embeddings", "weight", m->positions, m->hidden, &m->places) != 0 ||
        take(l, NULL, "embeddings.token_type_embeddings", "weight", l->types, m->hidden, &m->kind) != 0)
        return -1;
    return take_norm(l, NULL, "embeddings.LayerNorm", &m->norm);
}

static int open_weights(const struct loading *l) {
    char path[MAX_PATH], reason[WEIGHTS_WHY] = "";
    struct model *m = l->model;
    if (!path_of(l, WEIGHTS, path))
        return fail_in(l, WEIGHTS, "has a path that is too long");
    l->parts->weights = weights_open(path, reason);
    if (l->parts->weights == NULL)
        return fail_in(l, WEIGHTS, reason);
    m->layer = calloc(m->layers, sizeof *m->layer);
    if (m->layer == NULL)
        return fail_in(l, WEIGHTS, "does not fit into the memory");
    int result = take_embeddings(l);
    for (uint32_t i = 0; i < m->layers && result == 0; i++)
        result = take_layer(l, i);
    return result;
}

/* ---- the model --------------------------------------------------------------------------------------------------- */

struct model *model_open(const char *folder, char why[MODEL_WHY]) {
    struct parts *parts = calloc(1, sizeof *parts);
    if (parts == NULL) {
        snprintf(why, MODEL_WHY, "a model does not fit into the memory");
        return NULL;
    }
    parts->model.memory = parts;
    struct loading l = {.folder = folder, .why = why, .parts = parts, .model = &parts->model};
    if (read_settings(&l) == 0 && open_tokenizer(&l) == 0 && open_weights(&l) == 0)
        return &parts->model;
    model_free(&parts->model);
    return NULL;
}

void model_drop_layers(struct model *m) {
    struct parts *parts = m->memory;
    memset(m->layer, 0, m->layers * sizeof *m->layer); /* whoever still reads them fails at once */
    weights_drop(parts->weights);
}

void model_free(struct model *m) {
    if (m == NULL)
        return;
    struct parts *parts = m->memory;
    tokenizer_free(m->tokenizer);
    free(m->layer);
    weights_close(parts->weights);
    free(parts->prompt);
    free(parts);
}
