/* options.h: the options of a submission. One table, option_specs, says all there is to say of each of them. Everything
 * that has to do with options is made from it: parsing and its messages, the bytes that travel between processes, the
 * store's columns, the members that a Job document shows, and the JSON Schema.
 *
 * To add an option: add a field to struct submission_options, a row to option_specs in options.c, the schema to
 * openapi.yaml (a test compares the two), and read the field where the option has its effect. A column that a database
 * lacks is added when the store opens it. Raise WIRE_VERSION (pool/wire.h).
 *
 * No state; any thread and process. */
#ifndef OFFLOAD_HOST_OPTIONS_H
#define OFFLOAD_HOST_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attributes.h"
#include "base/buf.h"

#define OPTIONS_MAX_PRIORITY 7
#define OPTIONS_MAX_WEBHOOK  2048
/* A value that the client did not give, and for which the front end has a default of its own. */
#define OPTION_UNSET         INT64_C(-1)

/* Every field is an int64_t or, for a text, a char * on the heap or NULL. */
struct submission_options {
    int64_t priority;         /* 0, the most urgent, to OPTIONS_MAX_PRIORITY; or OPTION_UNSET */
    int64_t timeout_ms;       /* or OPTION_UNSET */
    int64_t queue_timeout_ms; /* 0: none */
    int64_t max_attempts;
    int64_t ttl_ms;   /* or OPTION_UNSET */
    int64_t chunks;   /* as many as the client wants; 0: the handler decides */
    int64_t delay_ms; /* 0: may start at once */
    int64_t isolated; /* 1: each process that works for this job works for no other */
    char *webhook;    /* 1..OPTIONS_MAX_WEBHOOK bytes, not checked any further; or NULL */
};

enum option_spec_kind { OPTION_INTEGER, OPTION_CHOICE, OPTION_STRING };

struct option_spec {
    const char *name; /* as clients write it; NULL: behind the last row */
    enum option_spec_kind kind;
    size_t offset;              /* of the field in struct submission_options */
    int64_t min, max;           /* INTEGER: of what clients write, not below 0; STRING: bytes */
    int64_t scale;              /* INTEGER: the field is what the client wrote times this */
    int64_t fallback;           /* INTEGER, CHOICE: the field if it is not given; may be OPTION_UNSET */
    const char *const *choices; /* CHOICE: the field is the index of the word; ends with NULL */
    const char *noun;           /* STRING: what it is, for messages: "a URL" */
    const char *column;         /* in the store's table of jobs; NULL: it is not stored */
    bool shown;                 /* a Job document has it */
    const char *help;           /* one sentence */
};
extern const struct option_spec option_specs[];

/* The options of a submission that gives none. */
void options_init(struct submission_options *o);
void options_deinit(struct submission_options *o);
/* Makes *to, which is initialised or zeroed, a copy with texts of its own. False if memory ran out: *to is as it was. */
MUST_CHECK bool options_copy(struct submission_options *to, const struct submission_options *from);

/* One field, by its row. */
int64_t option_number(const struct submission_options *o, const struct option_spec *spec); /* INTEGER, CHOICE */
void option_set_number(struct submission_options *o, const struct option_spec *spec, int64_t value);
/* The value that is nearest to this one among those that a job can have: for what a database says. It may come from another
 * build, or be damaged. A job in a database that lacks the column of an option without a fallback gets the least value. */
int64_t option_clamp(const struct option_spec *spec, int64_t value);                           /* INTEGER, CHOICE */
const char *option_string(const struct submission_options *o, const struct option_spec *spec); /* STRING; may be NULL */
/* Keeps a copy of the text, which may be NULL. False if memory ran out. */
MUST_CHECK bool option_set_string(struct submission_options *o, const struct option_spec *spec, const char *text);

/* For a copy of the struct whose texts live in memory of the caller's: how many bytes they need, and moving them there.
 * The second returns the end of what it wrote. Such a copy must not be given to options_deinit. */
size_t options_text_size(const struct submission_options *o);
char *options_place_texts(struct submission_options *o, char *to);

/* Reads the member "options" of a submission (NULL: there is none) into *o, which it initialises. What is wrong is added to
 * faults. Private to handlers/host. */
struct json_t;
struct faults;
void options_parse(struct json_t *value, struct submission_options *o, struct faults *faults);

/* Appends the options as bytes for another process of this binary, a multiple of 8 of them. */
void options_pack(const struct submission_options *o, struct buf *to);
/* Reads these bytes, at an address that is a multiple of 8. False if they are not the options of any submission: a worker
 * is not believed. Then *o needs no options_deinit. */
MUST_CHECK bool options_unpack(const void *bytes, size_t size, struct submission_options *o);

/* Appends the members that a Job document shows, each with a comma in front: ,"priority":3 */
void options_render(const struct submission_options *o, struct buf *out);
/* Appends the JSON Schema 2020-12 of the member "options". */
void host_describe_options(struct buf *out);

#endif
