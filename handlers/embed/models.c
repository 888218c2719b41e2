/* models.c: see models.h. */
#include "handlers/embed/models.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "handlers/hash384.h"
#include "handlers/models.h"

#define PREFERRED "all-MiniLM-L6-v2"
#define HASH384   "hash-384"

enum { COMPARED_TEXTS = 64, COMPARED_TOKENS = 96 };

static struct embed_model models[MODELS_MAX] = {
    {.name = HASH384, .dimensions = HASH384_DIMENSIONS, .call_cost_ns = 1000, .unit_cost_ns = 50}};
static size_t model_count = 1;

/* ---- the folders ------------------------------------------------------------------------------------------------- */

/* The release of hash-384 is the day of its first version. */
static const struct embeddings_model built_in = {HASH384, 1795219200, "offload"};

static struct embeddings_model listed[MODELS_MAX] = {{HASH384, 1795219200, "offload"}};
static size_t listed_count = 1;

const struct embeddings_model *embeddings_models(size_t *count) {
    *count = listed_count;
    return listed;
}

static const char *model_dir(void) {
    const char *dir = getenv("HANDLER_MODEL_DIR");
    return dir == NULL ? "" : dir;
}

/* False if it is no model: it has neither of these. Older folders have their config.json one folder deeper. A link to
 * nowhere counts: the load then says that the file is missing. */
static bool stat_config(const char *name, struct stat *config) {
    static const char *const marks[] = {"config.json", "modules.json"};
    char path[PATH_MAX];
    for (int i = 0; i < 2 && name[0] != '.'; i++)
        if (snprintf(path, sizeof path, "%s/%s/%s", model_dir(), name, marks[i]) < (int)sizeof path &&
            (stat(path, config) == 0 || lstat(path, config) == 0))
            return true;
    return false;
}

static int is_model(const struct dirent *entry) {
    struct stat config;
    return stat_config(entry->d_name, &config);
}

/* What is neither a model nor a file nor hidden. */
static int is_skipped(const struct dirent *entry) {
    char path[PATH_MAX];
    struct stat st;
    return entry->d_name[0] != '.' && !is_model(entry) &&
           snprintf(path, sizeof path, "%s/%s", model_dir(), entry->d_name) < (int)sizeof path &&
           (stat(path, &st) != 0 || S_ISDIR(st.st_mode));
}

/* The preferred model comes first. */
static int in_order(const struct dirent **a, const struct dirent **b) {
    int first = strcmp((*b)->d_name, PREFERRED) == 0, second = strcmp((*a)->d_name, PREFERRED) == 0;
    return first != second ? first - second : strcmp((*a)->d_name, (*b)->d_name);
}

/* 0, or -1 with errno. */
static int list_name(const char *name) {
    struct stat config;
    if (listed_count == MODELS_MAX - 1)
        errno = E2BIG;
    if (listed_count == MODELS_MAX - 1 || !stat_config(name, &config))
        return -1;
    listed[listed_count] = (struct embeddings_model){strdup(name), config.st_mtime, "local"};
    return listed[listed_count].name != NULL && ++listed_count > 0 ? 0 : -1;
}

int embeddings_find_models(void) {
    struct dirent **found = NULL;
    int count = model_dir()[0] == '\0' ? 0 : scandir(model_dir(), &found, is_model, in_order), rc = count < 0 ? -1 : 0;
    for (size_t i = 0; i < listed_count; i++)
        if (strcmp(listed[i].name, HASH384) != 0)
            free((char *)(uintptr_t)listed[i].name);
    listed_count = 0;
    for (int i = 0; i < count; i++) {
        if (rc == 0)
            rc = list_name(found[i]->d_name);
        free(found[i]);
    }
    free(found);
    listed[listed_count++] = built_in;
    return rc;
}

void embeddings_skipped(void (*tell)(const char *name)) {
    struct dirent **found = NULL;
    int count = model_dir()[0] == '\0' ? 0 : scandir(model_dir(), &found, is_skipped, alphasort);
    for (int i = 0; i < count; i++) {
        tell(found[i]->d_name);
        free(found[i]);
    }
    free(found);
}

/* ---- load -------------------------------------------------------------------------------------------------------- */

static uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

/* The time of the quickest of some rounds. The others were disturbed, or warmed up the caches. */
static uint64_t measure_hash384_ns(struct hash384 *model, const char *text, size_t size) {
    uint64_t best = UINT64_MAX;
    for (int round = 0; round < 10; round++) {
        struct hash384_extent extent;
        float vector[HASH384_DIMENSIONS];
        uint64_t start = now_ns();
        if (hash384_read(model, text, size, &extent) == 0)
            hash384_embed(model, HASH384_DIMENSIONS, true, vector);
        uint64_t taken = now_ns() - start;
        best = taken < best ? taken : best;
    }
    return best;
}

static int measure_hash384(void) {
    static const char sentence[] = "The cost of a text grows with its length; so does that of one in Köln or Москва. ";
    enum { REPEATS = 25 };
    char sample[REPEATS * (sizeof sentence - 1)];
    struct hash384 *model = hash384_new();
    if (!model) {
        fprintf(stderr, "embeddings: no memory for the model hash-384\n");
        return -1;
    }
    for (size_t i = 0; i < REPEATS; i++)
        memcpy(sample + i * (sizeof sentence - 1), sentence, sizeof sentence - 1);
    models[0].call_cost_ns = measure_hash384_ns(model, "a", 1) + 1;
    models[0].unit_cost_ns = measure_hash384_ns(model, sample, sizeof sample) / sizeof sample + 1;
    hash384_free(model);
    return 0;
}

static bool always(void *arg) {
    (void)arg;
    return true;
}

/* What a call with one text of so many tokens takes, ns. 0: no memory (ENOMEM), or its vector is not finite (ERANGE). */
static uint64_t measure_encoder_ns(const struct embed_model *m, struct encoder_scratch *scratch, uint32_t tokens) {
    uint32_t ids[64];
    uint64_t best = UINT64_MAX;
    float *vector = malloc(m->dimensions * sizeof *vector);
    for (uint32_t i = 0; i < tokens; i++)
        ids[i] = (i + 1) * 7919 % m->files->vocabulary;
    for (int round = 0; vector != NULL && round < 2; round++) {
        uint64_t start = now_ns();
        if (encoder_run(m->encoder, scratch, ids, (uint32_t[]){0, tokens}, 1, vector, always, NULL) != 0)
            break;
        uint64_t taken = now_ns() - start;
        best = taken < best ? taken : best;
    }
    bool finite = best == UINT64_MAX || encoder_all_finite(vector, m->dimensions);
    free(vector);
    errno = finite ? ENOMEM : ERANGE;
    return best == UINT64_MAX || !finite ? 0 : best;
}

/* 0, or -1 with errno as above. */
static int measure_encoder(struct embed_model *m) {
    struct encoder_scratch *scratch = encoder_scratch_new();
    uint32_t most = m->files->max_tokens < 32 ? m->files->max_tokens : 32, least = most < 4 ? 1 : most / 4;
    uint64_t small_ns = scratch == NULL ? 0 : measure_encoder_ns(m, scratch, least);
    uint64_t large_ns = small_ns == 0 ? 0 : measure_encoder_ns(m, scratch, most);
    encoder_scratch_free(scratch);
    if (large_ns == 0)
        return -1;
    m->unit_cost_ns = large_ns / most + 1;
    if (large_ns > small_ns && most > least)
        m->unit_cost_ns = (large_ns - small_ns) / (most - least) + 1;
    m->call_cost_ns = small_ns > m->unit_cost_ns * least ? small_ns - m->unit_cost_ns * least : 1;
    return 0;
}

/* How many random tokens text `number` has between its special ones: none, one to three, some, or many. Most texts are
 * short, because the error of those is the largest. */
static uint32_t compared_tokens(uint32_t number) {
    if (number < 40)
        return number == 0 ? 0 : 1 + number % 3;
    return number < 56 ? 4 + 2 * (number - 40) : 32 + 8 * (number - 56);
}

/* Returns how many ids the text has. */
static uint32_t make_text(const struct model *m, uint32_t number, uint32_t ids[COMPARED_TOKENS]) {
    uint32_t special[2] = {0}, seed = number, count = 0;
    tokenizer_encode(m->tokenizer, "", 0, special, 2);
    ids[count++] = special[0];
    for (uint32_t left = compared_tokens(number); left > 0 && count + 1 < COMPARED_TOKENS; left--)
        if (count + 1 < m->max_tokens)
            ids[count++] = (seed = seed * 1103515245 + 12345) / 64 % m->vocabulary;
    ids[count++] = special[1];
    return count;
}

/* The cosine of the vectors of a text, by both encoders. NaN with errno: there is no memory (ENOMEM), or one of them is
 * not finite (ERANGE). */
static double compare(const struct embed_model *m, const struct encoder *exact, struct encoder_scratch *scratch,
                      uint32_t number) {
    uint32_t ids[COMPARED_TOKENS];
    const uint32_t starts[] = {0, make_text(m->files, number, ids)};
    float *a = malloc(m->dimensions * sizeof *a), *b = malloc(m->dimensions * sizeof *b);
    double cosine = NAN;
    errno = ENOMEM;
    if (a != NULL && b != NULL && encoder_run(m->encoder, scratch, ids, starts, 1, a, always, NULL) == 0 &&
        encoder_run(exact, scratch, ids, starts, 1, b, always, NULL) == 0) {
        errno = ERANGE;
        cosine = 0;
        encoder_normalize(a, m->dimensions);
        encoder_normalize(b, m->dimensions);
        for (uint32_t i = 0; i < m->dimensions; i++)
            cosine += (double)a[i] * b[i];
    }
    free(a);
    free(b);
    return cosine;
}

/* Says how far int8 is off: users see it in the log before they see it in their results. Call it before the layers are
 * dropped. 0, or -1 with errno: ENOMEM, or ERANGE if a vector is not finite. */
static int report_error(const struct embed_model *m) {
    char why[MODEL_WHY];
    double worst = 1;
    if (encoder_precision(m->encoder) != PRECISION_INT8)
        return 0;
    struct encoder_scratch *scratch = encoder_scratch_new();
    struct encoder *exact = encoder_new(m->files, PRECISION_FP32, why);
    errno = ENOMEM;
    if (scratch == NULL || exact == NULL)
        worst = NAN;
    for (uint32_t i = 0; !isnan(worst) && i < COMPARED_TEXTS; i++) {
        double cosine = compare(m, exact, scratch, i);
        worst = cosine >= worst ? worst : cosine; /* NaN, too */
    }
    int error = errno;
    if (!isnan(worst))
        fprintf(
            stderr,
            "embeddings: %s: int8 is not exact: of %d texts of random tokens, short and long, the smallest cosine to "
            "fp32 is %.4f; real texts can be further off\n",
            m->name, COMPARED_TEXTS, worst);
    encoder_free(exact);
    encoder_scratch_free(scratch);
    errno = error;
    return isnan(worst) ? -1 : 0;
}

static enum precision wanted_precision(void) {
    const char *wanted = getenv("HANDLER_EMBEDDINGS_PRECISION");
    for (int i = 0; wanted != NULL && precision_names[i] != NULL; i++)
        if (strcmp(wanted, precision_names[i]) == 0)
            return (enum precision)i;
    return PRECISION_AUTO;
}

static int load_folder(struct embeddings_model *listed_as) {
    const char *name = listed_as->name;
    if (strlen(name) >= MODEL_NAME || strcmp(name, HASH384) == 0) {
        fprintf(stderr, "embeddings: %s/%s: a model cannot have this name: %s\n", model_dir(), name,
                strcmp(name, HASH384) == 0 ? "it is built in" : "it is too long");
        return -1;
    }
    char path[PATH_MAX], why[MODEL_WHY] = "the path is too long";
    struct model *files = NULL;
    struct encoder *encoder = NULL;
    struct embed_model *m = &models[model_count];
    if (snprintf(path, sizeof path, "%s/%s", model_dir(), name) < (int)sizeof path)
        files = model_open(path, why);
    if (files != NULL)
        encoder = encoder_new(files, wanted_precision(), why);
    if (encoder == NULL) {
        fprintf(stderr, "embeddings: %s cannot be served: %s\n", path, why);
        model_free(files);
        return -1;
    }
    if (why[0] != '\0')
        fprintf(stderr, "embeddings: %s: %s; it is served in %s\n", name, why, encoder_kernel(encoder));
    *m = (struct embed_model){.name = name, .dimensions = files->hidden, .files = files, .encoder = encoder};
    if (report_error(m) != 0 || measure_encoder(m) != 0) {
        fprintf(stderr, "embeddings: %s the model %s\n",
                errno == ERANGE ? "vectors that are not finite come from the weights of" : "there is no memory for",
                name);
        return -1;
    }
    model_drop_layers(files);
    listed_as->precision = precision_names[encoder_precision(encoder)];
    listed_as->kernel = encoder_kernel(encoder);
    model_count++;
    return 0;
}

int models_load(void) {
    if (measure_hash384() != 0)
        return -1;
    if (embeddings_find_models() != 0) {
        fprintf(stderr, "embeddings: %s: %s\n", model_dir(),
                errno == E2BIG ? "there are too many models" : strerror(errno));
        return -1;
    }
    for (size_t i = 0; i < listed_count - 1; i++)
        if (load_folder(&listed[i]) != 0)
            return -1;
    return 0;
}

/* ---- which one --------------------------------------------------------------------------------------------------- */

const struct embed_model *models_find(const char *name, size_t size) {
    for (size_t i = 0; i < model_count; i++)
        if (strlen(models[i].name) == size && memcmp(models[i].name, name, size) == 0)
            return &models[i];
    return NULL;
}

const struct embed_model *models_default(void) {
    return &models[model_count > 1 ? 1 : 0];
}
