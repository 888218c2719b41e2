/* encoder.c: how fast the encoder of embeddings is, without HTTP.
 *
 *     encoder FOLDER [--precision auto] [--row mix] [--tokens 1024] [--processes 1] [--seconds 5]
 *     encoder FOLDER --texts FILE [--vectors FILE] [...]
 *
 * FOLDER is a model's. Each process makes calls of at most `tokens` tokens, until the time is over. Rows: short (about 10
 * tokens), mix (lognormal, mean 56), long (256), and single: calls of one short text. Their words are random, since only
 * the lengths of texts matter, and there is no tokenizer.
 *
 * --texts takes the lines of a file instead, from the first to the last and over again, each time by the tokenizer; the
 * time ends after a last line. --vectors writes their vectors to a file, as floats of this machine.
 *
 * Prints one line of JSON, with the median time of a call and the most private memory of a process. cpu_seconds are those
 * of all processes, while they measured. */
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "handlers/embed/encoder.h"
#include "handlers/embed/tokenizer.h"

#define TEXTS          768
#define MOST_TEXTS     4096
#define MOST_CALLS     1000000
#define MOST_PROCESSES 64

struct options {
    const char *folder, *precision, *row, *texts, *vectors;
    size_t tokens, processes;
    double seconds;
};

struct tally {
    uint64_t texts, tokens, private_bytes;
    double seconds, cpu_seconds, median_ms;
    bool failed;
};

static double read_clock(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static double now(void) {
    return read_clock(CLOCK_MONOTONIC);
}

static double cpu_now(void) {
    return read_clock(CLOCK_PROCESS_CPUTIME_ID);
}

/* ---- texts ------------------------------------------------------------------------------------------------------- */

/* The same numbers in each run (xorshift). */
static uint64_t seed = 88172645463325252u;
static double uniform(void) {
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return ((double)(seed >> 11) + 0.5) / 9007199254740992.0;
}

static double normal(void) {
    return sqrt(-2 * log(uniform())) * cos(6.283185307179586 * uniform());
}

static size_t length_of(const char *row, size_t most) {
    double length = 256;
    if (strcmp(row, "mix") == 0)
        length = exp(log(55.6) - 0.8 * 0.8 / 2 + 0.8 * normal());
    if (strcmp(row, "short") == 0 || strcmp(row, "single") == 0)
        length = 7 + floor(6 * uniform());
    return length < 3 ? 3 : length > (double)most ? most : (size_t)lrint(length);
}

struct texts {
    uint32_t *ids, starts[MOST_TEXTS + 1];
    size_t count;
    char *lines[MOST_TEXTS]; /* of --texts */
    size_t sizes[MOST_TEXTS];
    const struct tokenizer *tokenizer; /* NULL: the ids are random, and stay as they are */
    size_t most_tokens;
};

static void make_texts(struct texts *t, const struct model *m, const char *row) {
    t->count = TEXTS;
    for (size_t i = 0; i < TEXTS; i++)
        t->starts[i + 1] = t->starts[i] + (uint32_t)length_of(row, m->max_tokens);
    t->ids = calloc(t->starts[TEXTS], sizeof *t->ids);
    if (t->ids == NULL)
        exit(1);
    for (uint32_t i = 0; i < t->starts[TEXTS]; i++)
        t->ids[i] = (uint32_t)(uniform() * m->vocabulary);
}

static void read_lines(struct texts *t, const char *path) {
    FILE *f = fopen(path, "r");
    size_t room = 0;
    ssize_t size;
    while (f != NULL && t->count < MOST_TEXTS && (size = getline(&t->lines[t->count], &room, f)) > 0) {
        t->sizes[t->count] = (size_t)size - (t->lines[t->count][size - 1] == '\n');
        t->count++;
        room = 0;
    }
    if (f == NULL || t->count == 0) {
        fprintf(stderr, "encoder: %s has no texts\n", path);
        exit(1);
    }
    fclose(f);
}

/* All lines become tokens. */
static void tokenize(struct texts *t) {
    for (size_t i = 0; i < t->count; i++) {
        uint32_t *to = t->ids + t->starts[i];
        ptrdiff_t found = tokenizer_encode(t->tokenizer, t->lines[i], t->sizes[i], to, t->most_tokens);
        if (found < 0)
            exit(1);
        t->starts[i + 1] = t->starts[i] + (uint32_t)((size_t)found < t->most_tokens ? (size_t)found : t->most_tokens);
    }
}

static void read_texts(struct texts *t, const struct model *m, const struct options *o) {
    char why[TOKENIZER_WHY];
    read_lines(t, o->texts);
    t->most_tokens = m->max_tokens;
    t->ids = calloc(t->count * t->most_tokens, sizeof *t->ids);
    t->tokenizer = tokenizer_open(o->folder, why);
    if (t->ids == NULL || t->tokenizer == NULL)
        exit(1);
    tokenize(t);
}

/* ---- calls ------------------------------------------------------------------------------------------------------- */

static bool always(void *arg) {
    (void)arg;
    return true;
}

static uint64_t private_bytes(void) {
    FILE *f = fopen("/proc/self/smaps_rollup", "r");
    uint64_t kb = 0, one;
    char line[200];
    while (f != NULL && fgets(line, sizeof line, f) != NULL)
        if (sscanf(line, "Private_Dirty: %lu kB", &one) == 1)
            kb += one;
    if (f != NULL)
        fclose(f);
    return kb * 1024;
}

static int by_value(const void *a, const void *b) {
    const double *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

/* The texts of the call that begins with text `first`. */
static size_t texts_of_call(const struct texts *t, size_t first, const struct options *o) {
    size_t count = 1;
    while (strcmp(o->row, "single") != 0 && first + count < t->count &&
           t->starts[first + count + 1] - t->starts[first] <= o->tokens)
        count++;
    return count;
}

static void call(const struct encoder *e, struct encoder_scratch *s, const struct texts *t, size_t first, size_t count,
                 float *vectors, struct tally *out) {
    uint32_t starts[MOST_TEXTS + 1];
    for (size_t i = 0; i <= count; i++)
        starts[i] = t->starts[first + i] - t->starts[first];
    if (encoder_run(e, s, t->ids + t->starts[first], starts, count, vectors, always, NULL) != 0)
        out->failed = true;
    out->texts += count;
    out->tokens += starts[count];
}

/* Every text once more, or up to the time `end` where they are random. Returns when it ended. */
static double pass(const struct encoder *e, struct encoder_scratch *s, struct texts *t, const struct options *o,
                   double end, double *times, size_t *calls, float *vectors, struct tally *out) {
    double at = now();
    if (t->tokenizer != NULL)
        tokenize(t);
    for (size_t first = 0; first < t->count && *calls < MOST_CALLS && (t->tokenizer != NULL || at < end);) {
        size_t count = texts_of_call(t, first, o);
        call(e, s, t, first, count, vectors, out);
        first += count;
        times[*calls] = -at;
        at = now();
        times[(*calls)++] += at;
    }
    return at;
}

static void measure(const struct encoder *e, const struct model *m, struct texts *t, const struct options *o,
                    struct tally *out) {
    struct encoder_scratch *s = encoder_scratch_new();
    float *vectors = calloc(MOST_TEXTS, m->hidden * sizeof *vectors);
    double *times = calloc(MOST_CALLS, sizeof *times);
    size_t calls = 0;
    if (s == NULL || vectors == NULL || times == NULL)
        exit(1);
    call(e, s, t, 0, texts_of_call(t, 0, o), vectors, out);
    *out = (struct tally){0};
    double begin = now(), cpu_begin = cpu_now();
    for (double at = begin; at < begin + o->seconds && calls < MOST_CALLS;)
        at = pass(e, s, t, o, begin + o->seconds, times, &calls, vectors, out);
    out->seconds = now() - begin;
    out->cpu_seconds = cpu_now() - cpu_begin;
    out->private_bytes = private_bytes();
    qsort(times, calls, sizeof *times, by_value);
    out->median_ms = times[calls / 2] * 1000;
}

/* Writes the vectors of all texts, in their order. */
static bool write_vectors(const struct encoder *e, const struct model *m, const struct texts *t, const char *path) {
    struct encoder_scratch *s = encoder_scratch_new();
    float *vectors = calloc(t->count, m->hidden * sizeof *vectors);
    FILE *f = fopen(path, "w");
    bool done = s != NULL && vectors != NULL && f != NULL &&
                encoder_run(e, s, t->ids, t->starts, t->count, vectors, always, NULL) == 0 &&
                fwrite(vectors, m->hidden * sizeof *vectors, t->count, f) == t->count;
    if (f != NULL && fclose(f) != 0)
        done = false;
    free(vectors);
    encoder_scratch_free(s);
    return done;
}

/* ---- processes --------------------------------------------------------------------------------------------------- */

static struct tally add_up(const struct tally *tallies, size_t count) {
    struct tally all = {0};
    for (size_t i = 0; i < count; i++) {
        const struct tally *t = &tallies[i];
        all.texts += t->texts;
        all.tokens += t->tokens;
        all.cpu_seconds += t->cpu_seconds;
        all.failed |= t->failed || t->seconds == 0;
        all.seconds += t->seconds / (double)count;
        all.median_ms += t->median_ms / (double)count;
        all.private_bytes = t->private_bytes > all.private_bytes ? t->private_bytes : all.private_bytes;
    }
    return all;
}

static struct tally measure_all(const struct encoder *e, const struct model *m, const struct options *o) {
    static struct texts texts;
    struct tally *tallies =
        mmap(NULL, MOST_PROCESSES * sizeof *tallies, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (tallies == MAP_FAILED)
        exit(1);
    if (o->texts != NULL)
        read_texts(&texts, m, o);
    else
        make_texts(&texts, m, o->row);
    for (size_t i = 0; i < o->processes; i++) {
        if (fork() != 0)
            continue;
        measure(e, m, &texts, o, &tallies[i]);
        _exit(0);
    }
    while (wait(NULL) > 0)
        ;
    struct tally all = add_up(tallies, o->processes);
    if (o->vectors != NULL && !write_vectors(e, m, &texts, o->vectors))
        all.failed = true;
    return all;
}

static enum precision precision_of(const char *name) {
    for (int i = 0; precision_names[i] != NULL; i++)
        if (strcmp(name, precision_names[i]) == 0)
            return (enum precision)i;
    fprintf(stderr, "encoder: there is no precision %s\n", name);
    exit(2);
}

static struct options read_options(int argc, char **argv) {
    struct options o = {.precision = "auto", .row = "mix", .tokens = 1024, .processes = 1, .seconds = 5};
    if (argc < 2 || argc % 2 != 0) {
        fputs("usage: encoder FOLDER [--precision P] [--row short|mix|long|single] [--tokens N] [--processes N] "
              "[--seconds S] [--texts FILE] [--vectors FILE]\n",
              stderr);
        exit(2);
    }
    o.folder = argv[1];
    for (int i = 2; i < argc; i += 2) {
        const char *value = argv[i + 1];
        if (strcmp(argv[i], "--precision") == 0)
            o.precision = value;
        else if (strcmp(argv[i], "--row") == 0)
            o.row = value;
        else if (strcmp(argv[i], "--texts") == 0)
            o.texts = value;
        else if (strcmp(argv[i], "--vectors") == 0)
            o.vectors = value;
        else if (strcmp(argv[i], "--tokens") == 0)
            o.tokens = strtoul(value, NULL, 10);
        else if (strcmp(argv[i], "--processes") == 0)
            o.processes = strtoul(value, NULL, 10) % MOST_PROCESSES;
        else if (strcmp(argv[i], "--seconds") == 0)
            o.seconds = strtod(value, NULL);
    }
    return o;
}

int main(int argc, char **argv) {
    struct options o = read_options(argc, argv);
    char why[MODEL_WHY];
    struct model *m = model_open(o.folder, why);
    struct encoder *e = m == NULL ? NULL : encoder_new(m, precision_of(o.precision), why);
    if (e == NULL) {
        fprintf(stderr, "encoder: %s\n", why);
        return 1;
    }
    model_drop_layers(m);
    struct tally t = measure_all(e, m, &o);
    printf("{\"model\": \"%s\", \"kernel\": \"%s\", \"row\": \"%s\", \"tokens_a_call\": %zu, \"processes\": %zu, "
           "\"texts\": %lu, \"tokens\": %lu, \"cpu_seconds\": %.4f, \"texts_per_s\": %.1f, \"tokens_per_s\": %.0f, "
           "\"call_p50_ms\": %.3f, \"private_mb\": %.1f}\n",
           m->name, encoder_kernel(e), o.row, o.tokens, o.processes, t.texts, t.tokens, t.cpu_seconds,
           (double)t.texts / t.seconds, (double)t.tokens / t.seconds, t.median_ms, (double)t.private_bytes / 1e6);
    encoder_free(e);
    model_free(m);
    return t.failed;
}
