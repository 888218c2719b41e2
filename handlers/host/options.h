/* options.h: the options of a submission. The table option_specs has a row for each of them. All that has to do with
 * options is made from this table: parsing and its messages, the bytes that travel between processes, the columns of
 * the store, the members that a Job document shows, and the JSON Schema.
 *
 * To add an option, add a field to struct submission_options, a row to option_specs in options.c, and the schema to
 * openapi.yaml (a test compares the two). Read the field where the option has its effect. Raise WIRE_VERSION
 * (pool/wire.h). The store adds the column to a database that lacks it.
 *
 * There is no state here: any thread of any process may call these functions. */
#ifndef OFFLOAD_HOST_OPTIONS_H
#define OFFLOAD_HOST_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attributes.h"
#include "base/buf.h"

#define OPTIONS_MAX_PRIORITY 7
#define OPTIONS_MAX_WEBHOOK  2048
/* The value of an option that the client did not give, if the front end has a default for it. */
#define OPTION_UNSET         INT64_C(-1)

/* A number is an int8_t, int32_t or int64_t that has room for all values of its row and for OPTION_UNSET. A text is a
 * char * on the heap, or NULL. Each job that waits has this struct, so it is small and has no holes. */
struct submission_options {
    int64_t timeout_ms;       /* or OPTION_UNSET */
    int64_t queue_timeout_ms; /* 0: none */
    int64_t ttl_ms;           /* or OPTION_UNSET */
    int64_t delay_ms;         /* 0: the job can start at once */
    char *webhook;            /* 1..OPTIONS_MAX_WEBHOOK bytes that are not checked any further; or NULL */
    int32_t max_attempts;
    int32_t chunks;  /* how many the client wants; 0: the handler decides */
    int8_t priority; /* 0, the most urgent, to OPTIONS_MAX_PRIORITY; or OPTION_UNSET */
    int8_t isolated; /* 1: only isolated workers work for this job */
};

enum option_spec_kind { OPTION_INTEGER, OPTION_CHOICE, OPTION_STRING };

struct option_spec {
    const char *name; /* as clients write it; NULL: the end of the table */
    enum option_spec_kind kind;
    size_t offset, size;        /* of the field in struct submission_options */
    int64_t min, max;           /* INTEGER: bounds of what clients write, not below 0; STRING: bounds of its bytes */
    int64_t scale;              /* INTEGER: the field is what the client wrote times this */
    int64_t fallback;           /* INTEGER, CHOICE: the field if the client gives none; may be OPTION_UNSET */
    const char *const *choices; /* CHOICE: the field is the index of the word; ends with NULL */
    const char *noun;           /* STRING: what it is, for messages: "a URL" */
    const char *column;         /* of the store's table of jobs; NULL: it is not stored */
    bool shown;                 /* it is in a Job document */
    const char *help;           /* one sentence */
};
extern const struct option_spec option_specs[];

/* Sets the options of a submission that gives none. */
void options_init(struct submission_options *o);
/* Frees the texts. */
void options_deinit(struct submission_options *o);
/* Makes *to, which is initialised or zeroed, a copy with its own texts. False if memory ran out: then *to is as it
 * was. */
MUST_CHECK bool options_copy(struct submission_options *to, const struct submission_options *from);

/* The field that a row is about. The kinds in the comments are those of the rows that each function takes. */
int64_t option_number(const struct submission_options *o, const struct option_spec *spec); /* INTEGER, CHOICE */
void option_set_number(struct submission_options *o, const struct option_spec *spec, int64_t value);
/* The value nearest to this one that a job can have. It is for numbers from a database, which can come from another
 * build or be damaged. A job from a database that lacks the column of an option without a fallback gets the least
 * value. */
int64_t option_clamp(const struct option_spec *spec, int64_t value); /* INTEGER, CHOICE */
/* The text, which belongs to *o; or NULL. */
const char *option_string(const struct submission_options *o, const struct option_spec *spec); /* STRING */
/* Copies the text, which may be NULL. False if memory ran out: then the field is as it was. */
MUST_CHECK bool option_set_string(struct submission_options *o, const struct option_spec *spec, const char *text);

/* For a copy of the struct whose texts are in memory of the caller. The first says how many bytes they need. The second
 * moves them there and returns the end of what it wrote. The texts of such a copy are not on the heap: never call
 * options_deinit. */
size_t options_text_size(const struct submission_options *o);
char *options_place_texts(struct submission_options *o, char *to);

/* Reads the member "options" of a submission (NULL: there is none) into *o, which has the defaults. It adds what is wrong
 * to *faults. Private to handlers/host. */
struct json_span;
struct faults;
void options_parse(const struct json_span *value, struct submission_options *o, struct faults *faults);

/* Appends the options as bytes for another process of this program: a multiple of 8 bytes. */
void options_pack(const struct submission_options *o, struct buf *to);
/* Reads these bytes, at an address that is a multiple of 8. False if options_pack cannot have made them, for a worker
 * is not trusted. Then *o needs no options_deinit. */
MUST_CHECK bool options_unpack(const void *bytes, size_t size, struct submission_options *o);

/* Appends the members of a Job document, each behind a comma: ,"priority":3 */
void options_render(const struct submission_options *o, struct buf *out);
/* Appends the JSON Schema 2020-12 of the member "options". */
void host_describe_options(struct buf *out);

#endif
