/* handler.h: all that a job type sees of offload. It is also the ABI between the two.
 *
 * A handler is one C file in handlers/. It includes this header and its own library, keeps everything `static`, and
 * ends in one exported `const struct handler`. It is listed in handlers/host/registry.c. Read handlers/echo.c first,
 * which is the smallest one, then handlers/collatz.c.
 *
 * The service calls the four functions of a handler, and each of them in whatever process suits it:
 *
 *     load    zygote, once      builds tables and models; the workers share them copy-on-write (but see HANDLER_SPAWN)
 *     plan    worker            makes checked params into 1..HANDLER_MAX_CHUNKS chunks, each with a cost
 *     run     worker            makes one chunk into one part; it is called again, elsewhere, if its worker dies
 *     merge   express worker    makes the parts, in the order of their chunks, into the result; also a single part
 *
 *     run_batch  worker         optional: runs many short calls in one go; each is what run gets
 *
 * plan, run and merge must depend on their inputs alone. No state is kept between two calls, because the next call can
 * happen in another process. A job that has nothing to do (an empty range) plans one chunk all the same, so that merge
 * has a part.
 *
 * Integers follow one rule in both directions: they are JSON numbers up to +-(2^53-1) and decimal strings beyond that
 * (ProtoJSON's rule for 64-bit fields). Both forms are accepted for any integer, and so are 1e3 and 10.0.
 *
 * A handler runs in one thread. All functions below are called from that thread, during plan, run or merge.
 */
#ifndef OFFLOAD_HANDLER_H
#define OFFLOAD_HANDLER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* It is raised with every change of a struct or a function below. The service does not start with a handler of another
 * ABI. */
#define HANDLER_ABI 4

#define HANDLER_MAX_CHUNKS     4096     /* chunks that one plan may have */
#define HANDLER_MAX_COMMON     1024     /* bytes that plan_common takes in all */
#define HANDLER_MAX_DIGITS     4096     /* decimal digits of an integer parameter without bounds */
#define HANDLER_MAX_LAST_WORDS 2047     /* bytes of call_loss.last_words that are kept */
#define HANDLER_CHUNK_NS       30000000 /* what a chunk should cost; from 20 to 50 ms no throughput is lost */
#define HANDLER_MAX_MEDIA_TYPE 127      /* bytes of a media type (RFC 9110, section 8.3.1) */

/* ---- parameters -------------------------------------------------------------------------------------------------- */

enum param_kind {
    PARAM_INTEGER, /* min/max: decimal text or NULL; read with param_i64, param_u64, param_digits */
    PARAM_BOOLEAN, /* read with param_bool */
    PARAM_ENUM,    /* one of choices; read with param_choice */
    PARAM_TEXT,    /* a string; read with param_text */
    PARAM_TEXTS,   /* a string or an array of strings; read with param_texts, param_text_at */
    PARAM_NUMBERS, /* an array of integers of any size, and of reals if PARAM_REALS; param_numbers */
    PARAM_JSON,    /* a JSON value, of any kind or of those in flags; read with param_json */
    PARAM_BYTES    /* binary data, an attachment of the job; choices: the media types that are taken, "image/png" or
                    * "image/", NULL: all; min/max: its size in bytes, decimal; read with param_attachment */
};

enum {                     /* param_spec.flags */
       PARAM_REQUIRED = 1, /* must be given (in the forms it belongs to) */
       PARAM_REALS = 2,    /* PARAM_NUMBERS: 0.5 is accepted too */
       PARAM_IN_PLACE = 4, /* PARAM_BYTES: run may write to the data, if they are this job's alone; see call_map_own */
       PARAM_TOKENS = 8,   /* PARAM_TEXTS: token ids are accepted too, see param_is_tokens */
       PARAM_NULL = 16,    /* PARAM_JSON: the kinds of value that are accepted; none of them: all are */
       PARAM_BOOL = 32,    /* likewise: true and false */
       PARAM_NUMBER = 64,  /* likewise */
       PARAM_STRING = 128, /* likewise */
       PARAM_ARRAY = 256,  /* likewise */
       PARAM_OBJECT = 512  /* likewise */
};

/* One row of a handler's parameter table. The checks, their messages, the JSON Schema of GET /v1/types and the help of
 * the command line are made from it. The table ends with a row without a name.
 *
 * A job type that can be called in several ways ({"start","stop"} or {"numbers"}) names them in handler.forms. Each row
 * says, as a bit mask, to which of them its parameter belongs. */
struct param_spec {
    const char *name;
    enum param_kind kind;
    unsigned flags;
    unsigned forms;             /* bit i: it belongs to forms[i]; 0: it belongs to all */
    const char *min, *max;      /* PARAM_INTEGER: inclusive, decimal; NULL: up to HANDLER_MAX_DIGITS digits */
    const char *fallback;       /* JSON text of the value that is used if none is given; NULL: there is none */
    const char *const *choices; /* PARAM_ENUM: ends with NULL */
    const char *help;           /* one line, no full stop */
};

struct bytes {
    const void *data; /* read-only; valid until the function returns; what run and merge get is aligned to 8 */
    size_t size;
};

/* The parameters of one call, checked against the table. They live until plan returns, and so does all that the
 * functions below return a pointer to. */
struct params;

/* Did the client give it? False for a value that came from the fallback. */
bool param_given(const struct params *p, const char *name);
/* Each returns false (or NULL, 0, -1) if the parameter was not given and has no fallback, or if its value does not fit
 * the C type. Text is UTF-8 and ends with a NUL. It can have NULs inside, too, so mind the size. */
bool param_i64(const struct params *p, const char *name, int64_t *value);
bool param_u64(const struct params *p, const char *name, uint64_t *value);
const char *param_digits(const struct params *p, const char *name); /* canonical: "-12", never "-0", "+1", "007" */
bool param_bool(const struct params *p, const char *name);
int param_choice(const struct params *p, const char *name); /* index into choices */
const char *param_text(const struct params *p, const char *name, size_t *size);
size_t param_texts(const struct params *p, const char *name); /* how many */
bool param_is_list(const struct params *p, const char *name); /* PARAM_TEXTS: ["x"], not "x" */
const char *param_text_at(const struct params *p, const char *name, size_t i, size_t *size);
/* PARAM_TOKENS: the client gave token ids, as an array of integers or as an array of such arrays. Then each text is the
 * ids of one array: int32_t, not negative, in this machine's byte order, and not aligned. */
bool param_is_tokens(const struct params *p, const char *name);
const char *param_json(const struct params *p, const char *name, size_t *size); /* compact JSON text */
/* With HANDLER_WHOLE_PARAMS, which has no other way to read them: all parameters that the client gave, as the compact
 * JSON text of an object. */
const char *params_json(const struct params *p, size_t *size);

/* Binary data that came with a job: a data part of its request, base64 text, the result of another job, or memory that a
 * local client shares. All jobs keep them outside of their parameters, in pages that every process maps (call_map). */
struct attachment {
    uint32_t index; /* which of the job's attachments it is; chunks can have it in their bytes */
    uint64_t size;
    const char *media_type; /* in lower case, without parameters: "image/png"; "": the client has not said it */
};
/* False if the parameter was not given. */
bool param_attachment(const struct params *p, const char *name, struct attachment *out);

/* An array of numbers. Most of them take one or two bytes, so they are read one after the other. */
struct numbers {
    bool any_real;  /* some member was written as a real (0.5, 1.0, 1e3); it matters only with PARAM_REALS */
    bool any_large; /* some member is an integer beyond 64 bits */
    size_t count;
    struct bytes packed; /* read with numbers_begin and numbers_next */
};
/* False if the parameter was not given and has no fallback: then *out is all zeros. */
bool param_numbers(const struct params *p, const char *name, struct numbers *out);

struct number {
    enum { NUMBER_INTEGER, NUMBER_REAL, NUMBER_LARGE } kind;
    int64_t integer;    /* NUMBER_INTEGER */
    double real;        /* NUMBER_REAL: finite; with PARAM_REALS, of a member that was written as a real */
    const char *digits; /* NUMBER_LARGE: an integer beyond 64 bits, canonical; valid until the reader goes on */
    size_t size;        /* of the digits */
};
struct number_reader {
    const unsigned char *at, *end; /* private, as all members are */
    uint64_t left;
    char room[HANDLER_MAX_DIGITS + 2];
};
/* Starts to read the numbers, which are borrowed. */
void numbers_begin(struct number_reader *r, const struct numbers *n);
/* 1 with the next number, or 0 at the end, or -1 if the bytes are damaged, which those of a parameter never are. */
int numbers_next(struct number_reader *r, struct number *n);
/* Passes over `count` numbers. 0, or -1 if there are not so many, or the bytes are damaged. */
int numbers_skip(struct number_reader *r, size_t count);

/* ---- a call ------------------------------------------------------------------------------------------------------ */

struct call; /* the running plan, run or merge; or one call of a batch */

/* The `data` of the handler that is called. */
const void *call_data(const struct call *c);

enum call_error {
    CALL_INVALID = 1, /* the params are wrong: the client gets 422 invalid_params with `pointer` */
    CALL_FAILED,      /* the work failed: 500 handler_failed */
    CALL_MEMORY,      /* malloc failed: 507 memory_limit */
    CALL_NOT_FOUND    /* the params name what is not there: 404 not_found with `pointer`; for HANDLER_HIDDEN only */
};
/* Says why the call fails, and returns -1, so that `return call_fail(...)` reads well. Only the first reason counts, of
 * which at most 500 bytes are kept. `pointer` is for CALL_INVALID and CALL_NOT_FOUND (otherwise NULL): a JSON pointer
 * (RFC 6901) that starts at the params object: "/numbers/3". */
int call_fail(struct call *c, enum call_error error, const char *pointer, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* call_fail with CALL_FAILED, for code that has exceptions. The client gets `exception` (the class) and `detail` (the
 * message); the Job also shows the traceback. Any of them may be NULL. They are UTF-8 and are cut at a character: 200
 * bytes of the exception, 2000 of the detail, and the last 8 KiB of the traceback. The items of a map keep their
 * tracebacks as long as those of a group are 16 KiB together. */
int call_fail_exception(struct call *c, const char *exception, const char *detail, const char *traceback);

/* Reports how far this chunk is. It is one store to shared memory, and so cheap enough for every millisecond of
 * work. */
void call_progress(struct call *c, uint64_t done, uint64_t total);
/* Adds to handler.counters[counter]. It is one addition in shared memory. */
void call_count(struct call *c, unsigned counter, uint64_t n);
/* True once the job was cancelled or is out of time: free what you hold and return -1. Call it at least every 10 ms. A
 * worker that does not stop is killed with SIGTERM, then with SIGKILL. */
bool call_cancelled(const struct call *c);
/* 0 in the chunk's first attempt, 1 after one lost worker, ... */
unsigned call_attempt(const struct call *c);
/* When the job will be stopped, in ns since 1970 (CLOCK_REALTIME); 0: that is not known. */
int64_t call_deadline(const struct call *c);
/* Adds text to the log of the job (GET /v1/jobs/{id}/log): whole lines, which end with a newline. What is not UTF-8 is
 * shown as U+FFFD. */
void call_log(struct call *c, const char *text, size_t size);

/* Maps a piece of an attachment for reading; the mapping is there until the function that was called returns (of a
 * batch: until batch_done). Pages come in when they are read. NULL after call_fail: there is no such piece, or no memory.
 * If the client shares the memory and makes it shorter meanwhile, reading it kills the worker with SIGBUS, which is a
 * lost attempt. */
const void *call_map(struct call *c, uint32_t attachment, uint64_t offset, size_t size);
/* The same for reading and writing. What is written is seen by all calls of the job, and stays if this attempt is lost:
 * the next attempt must find out how far it came. NULL, without call_fail, if it cannot be written in place: others may
 * have the data too, or they are on disk. Of a plan_output it always can. */
void *call_map_own(struct call *c, uint32_t attachment, uint64_t offset, size_t size);
/* A descriptor with the data of an attachment, which are at *offset of it: read-only, CLOEXEC; the caller closes it. -1
 * after call_fail. For code that passes data on to another process. */
int call_open(struct call *c, uint32_t attachment, uint64_t *offset, uint64_t *size);

/* How a process died that worked for a call. */
struct call_loss {
    const char *cause; /* "signal", "exit", "oom", "memory", "timeout" or "protocol": as in `lost` of a Job */
    int signal;        /* 0: none */
    int exit_code;     /* -1: none */
    uint64_t max_rss_bytes, cpu_ms;
    const char *last_words; /* the end of what it printed; NULL or "": nothing */
};
/* Says that this attempt is lost, as it is when a worker dies, and returns -1: the chunk is run again, up to the job's
 * max_attempts, and `lost` of the Job shows why. The worker lives on. Copies *how, of whose last words the end is kept:
 * HANDLER_MAX_LAST_WORDS bytes. No effect after call_fail. */
int call_lost(struct call *c, const struct call_loss *how);
/* Says that a process has died which worked for this call and for others, so that nobody knows to whom this is due. The
 * handler does the calls again; no attempt is lost. The service counts it and logs it. Copies *how, as call_lost does.
 * No effect if the cause is not known. */
void call_process_died(struct call *c, const struct call_loss *how);

/* ---- plan: what to do -------------------------------------------------------------------------------------------- */

/* The client's options.chunks: so many chunks should be made, if that is possible. 0: the handler decides, and should
 * make chunks that cost about HANDLER_CHUNK_NS each. */
unsigned plan_wanted_chunks(const struct call *c);
/* Adds a chunk and copies its bytes. cost_ns: how long run will take on this machine, roughly. 0, or -1 after
 * call_fail. */
int plan_chunk(struct call *c, const void *bytes, size_t size, uint64_t cost_ns);
/* Adds a chunk of the next `count` numbers, and passes over them. run reads them with chunk_numbers. 0, or -1 after
 * call_fail. */
int plan_number_chunk(struct call *c, struct number_reader *r, size_t count, uint64_t cost_ns);
/* Adds bytes that every run and the merge get beside their own (which op, how many dimensions), and copies them. 0, or
 * -1 after call_fail. */
int plan_common(struct call *c, const void *bytes, size_t size);

/* Adds an attachment of `size` zero bytes, which run can write to (call_map_own): for a result that the chunks fill in
 * together, or notes that outlive a lost attempt. Its index is in *attachment. 0, or -1 after call_fail. A job with one
 * begins anew after a restart of the service. */
int plan_output(struct call *c, uint64_t size, uint32_t *attachment);

/* ---- run: one chunk -> one part ---------------------------------------------------------------------------------- */

/* Reads a chunk of plan_number_chunk: count and packed are filled in. False if the chunk is not one. */
bool chunk_numbers(struct bytes chunk, struct numbers *out);
/* Appends to the chunk's part. Returns -1 after call_fail(CALL_MEMORY). */
int part_write(struct call *c, const void *bytes, size_t size);
/* Instead of part_write, for a large part: its memory, `size` zero bytes, to be written until run returns. It leaves this
 * process without a copy. Once. NULL after call_fail. */
void *part_map(struct call *c, size_t size);
/* Likewise: the part is a piece of that memfd, which is sealed against every change: nobody may have it mapped for
 * writing. Takes the descriptor, in any case. 0, or -1 after call_fail. */
int part_adopt(struct call *c, int fd, uint64_t offset, uint64_t size);

/* ---- run_batch: many chunks -> their parts ----------------------------------------------------------------------- */

#define BATCH_MAX 256 /* calls of a batch that can be under way at once */

struct batch;

/* Takes the next call of the batch: what run gets, with a call of its own, for part_write, call_fail and so on. Up to
 * BATCH_MAX calls can be under way at once. NULL: there is no call now. If all calls that were taken are done, the
 * batch is at its end, and run_batch returns; otherwise finish some, and ask again: work can have come meanwhile. */
struct call *batch_next(struct batch *b, struct bytes *common, struct bytes *chunk);
/* The first call that is under way is done: `returned` is what run would return. Its result can leave at once. */
void batch_done(struct batch *b, int returned);

/* ---- merge: the parts -> a JSON result --------------------------------------------------------------------------- */

/* This writer can only make well-formed JSON. It puts the commas, and a call that is out of place (a value where a name
 * is due, an end without a begin) fails the job. The result must be one value. */
void json_begin_object(struct call *c);
void json_end_object(struct call *c);
void json_begin_array(struct call *c);
void json_end_array(struct call *c);
void json_name(struct call *c, const char *name);
void json_bool(struct call *c, bool value);
void json_u64(struct call *c, uint64_t value);                 /* a number up to 2^53-1, a string beyond */
void json_i64(struct call *c, int64_t value);                  /* likewise */
void json_digits(struct call *c, const char *digits);          /* an integer as decimal text: always a string */
void json_double(struct call *c, double value);                /* shortest that reads back; infinities as "Infinity" */
void json_float(struct call *c, float value);                  /* likewise for 32 bits */
void json_text(struct call *c, const char *text, size_t size); /* UTF-8, escaped */
void json_u64_array(struct call *c, const uint64_t *values,
                    size_t count); /* all numbers or, if one is beyond 2^53-1, all strings */
void json_float_array(struct call *c, const float *values, size_t count);
/* Writes a value that is JSON already, from param_json, as it is, without white space around it. */
void json_verbatim(struct call *c, const char *json, size_t size);

/* ---- merge: a result that is not JSON ----------------------------------------------------------------------------- */

/* Each makes the result of the job bytes of that media type (at most HANDLER_MAX_MEDIA_TYPE bytes); only one of them can
 * be called, once. A JSON value can be written as well: then it is a summary, which the Job shows as its `result`. 0, or
 * -1 after call_fail. */
/* The bytes are copied. */
int result_bytes(struct call *c, const char *media_type, const void *bytes, size_t size);
/* A piece of a part, or of an attachment, as it is: nothing is copied. */
int result_part(struct call *c, const char *media_type, size_t part, uint64_t offset, uint64_t size);
int result_attachment(struct call *c, const char *media_type, uint32_t attachment, uint64_t offset, uint64_t size);

/* ---- the handler ------------------------------------------------------------------------------------------------- */

enum {                   /* handler.flags */
       HANDLER_TEST = 1, /* offered only with --enable-test-types */
       /* It must not be forked after load (threads, a GPU, a runtime that breaks in a fork). Each of its jobs gets
        * isolated workers, executed anew, in which load, plan, run and merge are called. */
       HANDLER_SPAWN = 2,
       /* plan reads its parameters with params_json. They are checked against the table, and then kept as JSON, so they
        * outlive a change of the table. */
       HANDLER_WHOLE_PARAMS = 4,
       HANDLER_OPEN_PARAMS = 8, /* with HANDLER_WHOLE_PARAMS: names that are not in the table are taken, too */
       /* The service's own: no client can name it, and its jobs are in no list and are not remembered. */
       HANDLER_HIDDEN = 16,
       /* With run_batch, which is quicker for the chunks of several jobs together than for one after the other. They are
        * given to it together, with those of other types that have this flag and the same run_batch, while more jobs wait
        * than there are workers, whatever a chunk costs. Chunks of 1 ms and more leave the express workers free. */
       HANDLER_JOINS = 32
};

/* "embeddings_tokens_total", and one sentence. */
struct handler_counter {
    const char *name, *help;
};

struct handler {
    unsigned abi;     /* HANDLER_ABI */
    const char *name; /* [a-z][a-z0-9_-]*, the "type" of a job */
    const char *summary;
    unsigned flags;
    const char *const *forms; /* the names of the ways to call it, ends with NULL; NULL: there is one */
    const struct param_spec *params;
    /* The media types that a result can have which is not JSON; ends with NULL. NULL: it is always JSON. */
    const char *const *results;
    /* The name of a PARAM_ENUM whose choice number i gives results[i]; one more choice gives JSON. If the client does not
     * give it, the service chooses by the header Accept. NULL: there is none. */
    const char *result_param;

    /* Called once, in the zygote, before there is any worker: for tables, models, calibration (at most some 50 ms). 0,
     * or -1 after a line on stderr: then the service does not start. May be NULL. With HANDLER_SPAWN it is called at
     * the start of each process that is made for a job of this type. It has a minute, and its failure is a lost attempt
     * of that job. */
    int (*load)(void);
    /* Called with params that the table allows. Each of the three returns 0, or -1 after call_fail or
     * call_cancelled. */
    int (*plan)(struct call *c, const struct params *p);
    int (*run)(struct call *c, struct bytes common, struct bytes chunk);
    int (*merge)(struct call *c, struct bytes common, const struct bytes *parts, size_t count);

    /* Runs calls that are expected to be short (or any, with HANDLER_JOINS), of one type or of those that it is joined
     * with: the short jobs of a datagram, or the items of a map. It takes them with batch_next and finishes each with
     * batch_done, in the order in which it took them. NULL: run is called for each of them. */
    void (*run_batch)(struct batch *b);
    const void *data; /* the handler's own; see call_data. Several types can share their functions so */
    /* What call_count counts, for GET /metrics; ends with a row without a name. Of the types that are built in alone. */
    const struct handler_counter *counters;
    /* What plan and run do, in a word each, for the header Server-Timing. NULL: it says "plan" and "run" alone. */
    const char *plan_is, *run_is;
};

#endif
