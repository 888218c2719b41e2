/* options.c: the options of a submission (options.h). It runs in the front end, in workers for large bodies, and in the
 * thread of the store. */
#include "handlers/host/options.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "handlers/handler.h"
#include "handlers/host/jsontext.h"
#include "handlers/host/number.h"
#include "handlers/host/params.h"

#define AT(field)   offsetof(struct submission_options, field), sizeof(((struct submission_options *)NULL)->field)
#define YEAR_S      INT64_C(31536000)
#define PADDED(n)   (((size_t)(n) + 7) & ~(size_t)7)
#define NO_STRING   INT64_C(-1) /* is packed in the place of the size if there is no string */
#define LARGEST_INT NUMBER_MAX_EXACT

static const char *const isolation[] = {"pool", "fresh", NULL};

const struct option_spec option_specs[] = {
    {"priority", OPTION_INTEGER, AT(priority), 0, OPTIONS_MAX_PRIORITY, 1, OPTION_UNSET, .column = "priority",
     .shown = true, .help = "Urgency (RFC 9218): 0 is the most urgent; by default, what the Priority header says"},
    {"timeout_ms", OPTION_INTEGER, AT(timeout_ms), 1, LARGEST_INT, 1, OPTION_UNSET, .column = "timeout_ms",
     .help = "How long the job may run; by default, the service's --job-timeout"},
    {"queue_timeout_ms", OPTION_INTEGER, AT(queue_timeout_ms), 0, LARGEST_INT, 1, 0, .column = "queue_timeout_ms",
     .help = "The job fails if it has not started within this time; 0 is no limit"},
    {"max_attempts", OPTION_INTEGER, AT(max_attempts), 1, 100, 1, 3, .column = "max_attempts",
     .help = "How often a chunk is tried if its worker is lost"},
    {"ttl_s", OPTION_INTEGER, AT(ttl_ms), 0, YEAR_S, 1000, OPTION_UNSET, .column = "ttl_ms",
     .help = "How long the job is kept after its end; by default, the service's --result-ttl"},
    {"chunks", OPTION_INTEGER, AT(chunks), 0, HANDLER_MAX_CHUNKS, 1, 0, .column = "wanted_chunks",
     .help = "How many chunks the job is divided into; 0 leaves that to the service"},
    {"delay_ms", OPTION_INTEGER, AT(delay_ms), 0, YEAR_S * 1000, 1, 0, /* stored as not_before_ms */
     .help = "The job does not start before this time is over"},
    {"isolation", OPTION_CHOICE, AT(isolated), .choices = isolation, .column = "fresh",
     .help = "With fresh, new processes work for this job, and for no other"},
    {"webhook", OPTION_STRING, AT(webhook), 1, OPTIONS_MAX_WEBHOOK, .noun = "a URL", .column = "webhook",
     .help = "The URL that gets a request when the job ends"},
    {NULL},
};

#define FOR_EACH_OPTION(spec) for (const struct option_spec *spec = option_specs; spec->name != NULL; spec++)

/* ---- fields ------------------------------------------------------------------------------------------------------ */

static const void *field(const struct submission_options *o, const struct option_spec *spec) {
    return (const char *)o + spec->offset;
}

int64_t option_number(const struct submission_options *o, const struct option_spec *spec) {
    const void *at = field(o, spec);
    switch (spec->size) {
    case sizeof(int8_t): return *(const int8_t *)at;
    case sizeof(int32_t): return *(const int32_t *)at;
    default: return *(const int64_t *)at;
    }
}

void option_set_number(struct submission_options *o, const struct option_spec *spec, int64_t value) {
    void *at = (char *)o + spec->offset;
    switch (spec->size) {
    case sizeof(int8_t): *(int8_t *)at = (int8_t)value; break;
    case sizeof(int32_t): *(int32_t *)at = (int32_t)value; break;
    default: *(int64_t *)at = value;
    }
}

const char *option_string(const struct submission_options *o, const struct option_spec *spec) {
    return *(char *const *)field(o, spec);
}

static void point_to(struct submission_options *o, const struct option_spec *spec, char *text) {
    memcpy((char *)o + spec->offset, &text, sizeof text);
}

/* Takes the text. */
static void replace_text(struct submission_options *o, const struct option_spec *spec, char *text) {
    free(*(char *const *)field(o, spec));
    point_to(o, spec, text);
}

bool option_set_string(struct submission_options *o, const struct option_spec *spec, const char *text) {
    char *copy = text == NULL ? NULL : strdup(text);
    if (text != NULL && copy == NULL)
        return false;
    replace_text(o, spec, copy);
    return true;
}

void options_init(struct submission_options *o) {
    memset(o, 0, sizeof *o);
    FOR_EACH_OPTION(spec) {
        if (spec->kind != OPTION_STRING)
            option_set_number(o, spec, spec->fallback);
    }
}

void options_deinit(struct submission_options *o) {
    FOR_EACH_OPTION(spec) {
        if (spec->kind == OPTION_STRING)
            replace_text(o, spec, NULL);
    }
}

bool options_copy(struct submission_options *to, const struct submission_options *from) {
    struct submission_options copy = *from;
    bool good = true;
    FOR_EACH_OPTION(spec) {
        if (spec->kind != OPTION_STRING)
            continue;
        point_to(&copy, spec, NULL);
        good = good && option_set_string(&copy, spec, option_string(from, spec));
    }
    if (!good) {
        options_deinit(&copy);
        return false;
    }
    options_deinit(to);
    *to = copy;
    return true;
}

size_t options_text_size(const struct submission_options *o) {
    size_t size = 0;
    FOR_EACH_OPTION(spec) {
        const char *text = spec->kind == OPTION_STRING ? option_string(o, spec) : NULL;
        size += text == NULL ? 0 : strlen(text) + 1;
    }
    return size;
}

char *options_place_texts(struct submission_options *o, char *to) {
    FOR_EACH_OPTION(spec) {
        const char *text = spec->kind == OPTION_STRING ? option_string(o, spec) : NULL;
        if (text == NULL)
            continue;
        size_t size = strlen(text) + 1;
        memcpy(to, text, size);
        point_to(o, spec, to);
        to += size;
    }
    return to;
}

int64_t option_clamp(const struct option_spec *spec, int64_t value) {
    int64_t min = 0, max = 0;
    if (spec->kind == OPTION_INTEGER) {
        min = spec->min * spec->scale;
        max = spec->max * spec->scale;
    } else {
        while (spec->choices[max + 1] != NULL)
            max++;
    }
    return value < min ? min : value > max ? max : value;
}

/* ---- JSON -> fields ---------------------------------------------------------------------------------------------- */

static void parse_integer(const struct option_spec *spec, const json_t *value, const struct place *at,
                          struct submission_options *o, struct faults *faults) {
    char min[24], max[24];
    struct integer integer;
    int64_t number;
    snprintf(min, sizeof min, "%" PRId64, spec->min);
    snprintf(max, sizeof max, "%" PRId64, spec->max);
    if (params_read_integer(value, min, max, at, &integer, faults) &&
        number_to_i64(integer.digits, integer.size, &number))
        option_set_number(o, spec, number * spec->scale);
}

static void parse_choice(const struct option_spec *spec, const json_t *value, const struct place *at,
                         struct submission_options *o, struct faults *faults) {
    const char *text = jsontext_is_text(value) ? json_string_value(value) : "";
    struct buf words = {0};
    for (int64_t i = 0; spec->choices[i] != NULL; i++) {
        if (strcmp(text, spec->choices[i]) == 0 && strlen(text) == json_string_length(value)) {
            option_set_number(o, spec, i);
            buf_deinit(&words);
            return;
        }
        const char *comma = i == 0 ? "" : spec->choices[i + 1] == NULL ? " or " : ", ";
        buf_printf(&words, "%s\"%s\"", comma, spec->choices[i]);
    }
    faults_add(faults, at, "must be %s", words.failed ? "another word" : words.data);
    buf_deinit(&words);
}

static void parse_string(const struct option_spec *spec, const json_t *value, const struct place *at,
                         struct submission_options *o, struct faults *faults) {
    int64_t size = (int64_t)json_string_length(value);
    if (!jsontext_is_text(value))
        faults_add(faults, at, "must be a string, not %s", jsontext_kind(value));
    else if (size < spec->min || size > spec->max)
        faults_add(faults, at, "must be %s of %" PRId64 " to %" PRId64 " bytes", spec->noun, spec->min, spec->max);
    else if ((int64_t)strlen(json_string_value(value)) != size)
        faults_add(faults, at, "must not contain U+0000");
    else if (!option_set_string(o, spec, json_string_value(value)))
        faults_add_no_memory(faults, at);
}

static void report_unknown(const char *name, const struct place *at, struct faults *faults) {
    struct buf known = {0};
    FOR_EACH_OPTION(spec) {
        const char *comma = spec == option_specs ? "" : spec[1].name == NULL ? " and " : ", ";
        buf_printf(&known, "%s%s", comma, spec->name);
    }
    faults_add(faults, at, "\"%.60s\" is not an option; there are %s", name, known.failed ? "others" : known.data);
    buf_deinit(&known);
}

static void parse_option(const struct json_span *value, const struct place *at, struct submission_options *o,
                         struct faults *faults) {
    static void (*const by_kind[])(const struct option_spec *spec, const json_t *value, const struct place *at,
                                   struct submission_options *o, struct faults *faults) = {
        [OPTION_INTEGER] = parse_integer, [OPTION_CHOICE] = parse_choice, [OPTION_STRING] = parse_string};
    FOR_EACH_OPTION(spec) {
        if (strcmp(spec->name, at->name) == 0) {
            json_t *v = jsontext_shallow(value);
            if (v != NULL)
                by_kind[spec->kind](spec, v, at, o, faults);
            else
                faults_add_no_memory(faults, at);
            json_decref(v);
            return;
        }
    }
    report_unknown(at->name, at, faults);
}

void options_parse(const struct json_span *options, struct submission_options *o, struct faults *faults) {
    static const struct place root = {.name = "options"};
    char text[JSONTEXT_NAME_ROOM];
    struct place at = {.up = &root, .name = text};
    struct json_span name, value;
    if (options == NULL)
        return;
    if (*options->at != '{') {
        json_t *v = jsontext_shallow(options);
        faults_add(faults, &root, "must be an object, not %s", v == NULL ? "this" : jsontext_kind(v));
        json_decref(v);
        return;
    }
    for (const char *next = options->at + 1; scan_next_member(&next, options->end, &name, &value);) {
        scan_string(&name, text, sizeof text);
        parse_option(&value, &at, o, faults);
        if (faults_full(faults))
            return;
    }
}

/* ---- between processes ------------------------------------------------------------------------------------------- */

/* The fields are packed in the order of the rows:
 *
 *     INTEGER, CHOICE   int64
 *     STRING            int64 size, or NO_STRING; then so many bytes, padded with zeros to a multiple of 8 */

void options_pack(const struct submission_options *o, struct buf *to) {
    static const char zeros[8];
    FOR_EACH_OPTION(spec) {
        const char *text = spec->kind == OPTION_STRING ? option_string(o, spec) : NULL;
        int64_t number = spec->kind != OPTION_STRING ? option_number(o, spec)
                         : text == NULL              ? NO_STRING
                                                     : (int64_t)strlen(text);
        buf_append(to, &number, sizeof number);
        if (text != NULL) {
            buf_append(to, text, (size_t)number);
            buf_append(to, zeros, PADDED(number) - (size_t)number);
        }
    }
}

struct reader {
    const char *at;
    size_t left;
};

static bool read_number(struct reader *r, int64_t *number) {
    if (r->left < sizeof *number)
        return false;
    memcpy(number, r->at, sizeof *number);
    r->at += sizeof *number;
    r->left -= sizeof *number;
    return true;
}

static bool read_string(struct reader *r, const struct option_spec *spec, int64_t size, struct submission_options *o) {
    if (size == NO_STRING)
        return true;
    if (size < spec->min || size > spec->max || PADDED(size) > r->left)
        return false;
    char *text = strndup(r->at, (size_t)size); /* it ends at a NUL, which is not allowed there */
    r->at += PADDED(size);
    r->left -= PADDED(size);
    replace_text(o, spec, text);
    return text != NULL && (int64_t)strlen(text) == size;
}

bool options_unpack(const void *bytes, size_t size, struct submission_options *o) {
    struct reader r = {bytes, size};
    bool good = true;
    options_init(o);
    FOR_EACH_OPTION(spec) {
        int64_t number = 0;
        good = good && read_number(&r, &number);
        if (good && spec->kind == OPTION_STRING)
            good = read_string(&r, spec, number, o);
        else if (good && (number == spec->fallback || number == option_clamp(spec, number)))
            option_set_number(o, spec, number);
        else
            good = false;
    }
    if (good && r.left == 0)
        return true;
    options_deinit(o);
    return false;
}

/* ---- fields -> JSON ---------------------------------------------------------------------------------------------- */

void options_render(const struct submission_options *o, struct buf *out) {
    FOR_EACH_OPTION(spec) {
        if (!spec->shown || (spec->kind == OPTION_STRING && option_string(o, spec) == NULL))
            continue;
        buf_puts(out, ",\"");
        buf_puts(out, spec->name);
        buf_puts(out, "\":");
        const char *text = spec->kind == OPTION_STRING   ? option_string(o, spec)
                           : spec->kind == OPTION_CHOICE ? spec->choices[option_number(o, spec)]
                                                         : NULL;
        if (text != NULL)
            buf_json_string(out, text, strlen(text));
        else
            buf_u64(out, (uint64_t)(option_number(o, spec) / spec->scale));
    }
}

static void describe_value(const struct option_spec *spec, struct buf *out) {
    switch (spec->kind) {
    case OPTION_INTEGER:
        buf_printf(out,
                   "\"anyOf\":[{\"type\":\"integer\",\"minimum\":%" PRId64 ",\"maximum\":%" PRId64
                   "},{\"type\":\"string\",\"pattern\":\"^[0-9]+$\"}]",
                   spec->min, spec->max);
        if (spec->fallback != OPTION_UNSET)
            buf_printf(out, ",\"default\":%" PRId64, spec->fallback / spec->scale);
        break;
    case OPTION_CHOICE:
        buf_puts(out, "\"enum\":[");
        for (size_t i = 0; spec->choices[i] != NULL; i++)
            buf_printf(out, "%s\"%s\"", i > 0 ? "," : "", spec->choices[i]);
        buf_printf(out, "],\"default\":\"%s\"", spec->choices[spec->fallback]);
        break;
    case OPTION_STRING:
        buf_printf(out, "\"type\":\"string\",\"minLength\":%" PRId64 ",\"maxLength\":%" PRId64, spec->min, spec->max);
        break;
    }
}

void host_describe_options(struct buf *out) {
    buf_puts(out, "{\"type\":\"object\",\"additionalProperties\":false,\"properties\":{");
    FOR_EACH_OPTION(spec) {
        buf_printf(out, "%s\"%s\":{\"description\":", spec == option_specs ? "" : ",", spec->name);
        buf_json_string(out, spec->help, strlen(spec->help));
        buf_putc(out, ',');
        describe_value(spec, out);
        buf_putc(out, '}');
    }
    buf_puts(out, "}}");
}
