/* api_world.h: the world around the routes about jobs, for the tests of server/api: requests without libmicrohttpd,
 * over the world of the jobs (jobs_world.h) and a store that answers when the test says so (store_late.h). The linker
 * takes the functions below and leaves the objects of server/http/ in the archive. A request is answered once at most,
 * and each that is neither answered nor suspended is a failure. A test file includes this header, which includes the
 * others.
 *
 *     static void a_job_that_ends_is_the_answer(void **state) {
 *         (void)state;
 *         struct http_request r;
 *         post(&r, NULL, NULL);                  // no Prefer, no Idempotency-Key
 *         dispatch();
 *         reply_done(LAST, "{}");
 *         assert_answered(&r, 200);
 *         end_request(&r);                       // what libmicrohttpd does when the answer is sent
 *     }
 */
#ifndef OFFLOAD_TESTS_API_WORLD_H
#define OFFLOAD_TESTS_API_WORLD_H

#include "tests/unit/jobs_world.h"
#include "tests/unit/store_late.h"

#include "server/api/deferred.h"
#include "server/api/jobs.h"
#include "server/api/submit.h"

/* ---- requests ---------------------------------------------------------------------------------------------------- */

enum { FAKE_HEADERS = 8 };

struct http_request {
    const char *names[FAKE_HEADERS], *values[FAKE_HEADERS]; /* that the client sent; NULL ends them */
    const char *body;
    struct blob *large; /* the body, if it is a large one */
    const struct http_part *parts;
    uint32_t part_count;
    const uint8_t *data_hash; /* or NULL */
    void *state;
    bool suspended, answered, abandoned;
    unsigned status;
    char headers[1024]; /* of the answer: "name: value\n" */
    char text[4096];    /* the answer's body, cut */
    struct http_stream *stream;
    bool woken; /* since it was read last */
};

static bool closing; /* in http_close */

const char *http_path(const struct http_request *r) {
    (void)r;
    return "/v1/jobs";
}

const char *http_header(struct http_request *r, const char *name) {
    for (int i = 0; i < FAKE_HEADERS && r->names[i] != NULL; i++)
        if (strcmp(r->names[i], name) == 0)
            return r->values[i];
    return strcmp(name, "Content-Type") == 0 ? "application/json" : NULL;
}

void http_each_header(struct http_request *r, const char *name, void (*f)(void *arg, const char *value), void *arg) {
    const char *value = http_header(r, name);
    if (value != NULL)
        f(arg, value);
}

void http_each_query(struct http_request *r, void (*f)(void *arg, const char *name, const char *value), void *arg) {
    (void)r, (void)f, (void)arg;
}

const char *http_query(struct http_request *r, const char *name) {
    (void)r, (void)name;
    return NULL;
}

uint32_t http_part_count(const struct http_request *r) {
    return r->part_count;
}

const struct http_part *http_part(const struct http_request *r, uint32_t i) {
    return &r->parts[i];
}

const uint8_t *http_data_hash(const struct http_request *r) {
    return r->data_hash;
}

void http_take_body(struct http_request *r, enum http_body_kind kind) {
    (void)r, (void)kind;
}

void http_spool_to_files(struct http_request *r) {
    (void)r;
}

bool http_peer(const struct http_request *r, uid_t *uid, gid_t *gid) {
    (void)r, (void)uid, (void)gid;
    return false;
}

void http_hash_data(struct http_request *r) {
    (void)r;
}

void http_reject(struct http_request *r, enum problem_code code, char *members) {
    (void)r, (void)code, (void)members;
    fail_msg("rejected");
}

void http_reject_because(struct http_request *r, enum problem_code code, const char *detail) {
    (void)r, (void)code, (void)detail;
    fail_msg("rejected");
}

bool http_body_is_large(const struct http_request *r) {
    return r->large != NULL;
}

const char *http_small_body(const struct http_request *r, size_t *size) {
    *size = r->large != NULL ? 0 : strlen(r->body);
    return r->large != NULL ? "" : r->body;
}

struct slice http_body(const struct http_request *r) {
    struct slice all = {r->large, 0, r->large == NULL ? 0 : r->large->size};
    return r->large != NULL ? slice_ref(&all) : slice_copy(r->body, strlen(r->body));
}

void http_reject_with(struct http_request *r, enum problem_code code, const char *detail, char *members) {
    (void)r, (void)code, (void)detail, (void)members;
    fail_msg("rejected");
}

/* There are no keys in this world: nobody has a name. */
void *http_caller(const struct http_request *r) {
    (void)r;
    return NULL;
}

const char *http_client_subject(const struct http_request *r) {
    (void)r;
    return NULL;
}

void http_set_caller(struct http_request *r, void *caller) {
    (void)r, (void)caller;
    fail_msg("somebody is known");
}

uint64_t http_body_announced(const struct http_request *r) {
    (void)r;
    return 0;
}

uint64_t http_body_received(const struct http_request *r) {
    (void)r;
    return 0;
}

void *http_state(const struct http_request *r) {
    return r->state;
}

void http_set_state(struct http_request *r, void *state) {
    r->state = state;
}

bool http_is_answered(const struct http_request *r) {
    return r->answered;
}

bool http_is_closing(const struct http *h) {
    (void)h;
    return closing;
}

void http_set_header(struct http_request *r, const char *name, const char *value) {
    size_t n = strlen(r->headers);
    snprintf(r->headers + n, sizeof r->headers - n, "%s: %s\n", name, value);
}

void http_keep_headers(struct http_request *r) {
    (void)r;
}

void http_set_header_f(struct http_request *r, const char *name, const char *format, ...) {
    char value[512];
    va_list args;
    va_start(args, format);
    vsnprintf(value, sizeof value, format, args);
    va_end(args);
    http_set_header(r, name, value);
}

static void give_answer(struct http_request *r, unsigned status, const void *body, size_t size) {
    if (r->abandoned)
        return;
    assert_false(r->answered);
    r->answered = true;
    r->suspended = false;
    r->status = status;
    snprintf(r->text, sizeof r->text, "%.*s", (int)size, size == 0 ? "" : (const char *)body);
}

struct buf http_answer_room(struct http_request *r) {
    (void)r;
    return (struct buf){0};
}

void http_answer(struct http_request *r, unsigned status, const char *media_type, struct buf *body) {
    (void)media_type;
    give_answer(r, status, body->data, body->size);
    buf_deinit(body);
}

void http_answer_static(struct http_request *r, unsigned status, const char *media_type, const void *body,
                        size_t size) {
    (void)media_type;
    give_answer(r, status, body, size);
}

void http_answer_slice(struct http_request *r, const char *media_type, const struct slice *body, const char *tag) {
    const unsigned char *bytes = slice_map(body);
    (void)media_type, (void)tag;
    give_answer(r, 200, bytes, body->size);
    slice_unmap(body, bytes);
}

void http_answer_problem(struct http_request *r, enum problem_code code, const char *detail, const char *members) {
    (void)detail, (void)members;
    const struct problem *p = problem_get(code);
    give_answer(r, p->status, p->code, strlen(p->code));
}

void http_answer_problem_document(struct http_request *r, enum problem_code code, struct buf *document) {
    http_answer(r, problem_get(code)->status, "application/problem+json", document);
}

/* The conditions themselves are http's; here a request has one if it has If-Match, and its value is the whole tag. */
bool http_has_precondition(struct http_request *r) {
    return http_header(r, "If-Match") != NULL;
}

bool http_precondition_fails(struct http_request *r, const char *etag, size_t significant) {
    const char *wanted = http_header(r, "If-Match");
    return wanted != NULL && (significant > 0 ? strncmp(wanted, etag, significant) : strcmp(wanted, etag)) != 0;
}

bool http_is_known(struct http_request *r, const char *etag) {
    (void)r, (void)etag;
    return false;
}

void http_answer_stream(struct http_request *r, unsigned status, const char *media_type, struct http_stream *s) {
    (void)media_type;
    r->stream = s;
    give_answer(r, status, "", 0);
}

void http_hold_stream(struct http_request *r, size_t bytes) {
    (void)r, (void)bytes;
}

bool http_make_room(struct http_request *r, size_t bytes) {
    (void)r, (void)bytes;
    return true;
}

void http_wake_stream(struct http_request *r) {
    r->woken = true;
}

void http_suspend(struct http_request *r) {
    assert_false(r->answered);
    r->suspended = true;
}

void http_abandon(struct http_request *r) {
    r->abandoned = r->abandoned || r->suspended;
    r->suspended = false;
}

/* ---- the server -------------------------------------------------------------------------------------------------- */

static struct server server;
static struct store_ops api_ops; /* late_ops, find_key and get */

/* The store's answer about the key that was looked up last; see answer_key. */
static struct {
    bool later; /* else it answers at once that it has no such key */
    store_key_found *found;
    void *arg;
} lookup;

static void find_key(struct store *s, const char *tenant, const char *key, store_key_found *found, void *arg) {
    (void)s, (void)tenant, (void)key;
    assert_null(lookup.found);
    if (!lookup.later) {
        found(arg, STORE_NOT_FOUND, NULL, NULL);
        return;
    }
    lookup.found = found;
    lookup.arg = arg;
}

static inline void answer_key(enum store_result result, const struct id *job) {
    static const uint8_t hash[STORE_HASH_SIZE]; /* of raw bodies: see write_plan */
    store_key_found *found = lookup.found;
    assert_non_null(found);
    lookup.found = NULL;
    found(lookup.arg, result, job, hash);
}

/* Of the job that was asked for last, and is not live. */
static struct {
    store_found *found;
    void *arg;
} get;

static void late_get(struct store *s, const struct id *id, const char *tenant, store_found *found, void *arg) {
    (void)s, (void)id, (void)tenant;
    assert_null(get.found);
    get.found = found;
    get.arg = arg;
}

static inline void answer_get(struct record *r) {
    store_found *found = get.found;
    assert_non_null(found);
    get.found = NULL;
    found(get.arg, r == NULL ? STORE_NOT_FOUND : STORE_OK, r);
}

static inline int open_api(void **state) {
    int rc = open_late(state);
    api_ops = late_ops;
    api_ops.find_key = find_key;
    api_ops.get = late_get;
    late.store.ops = &api_ops;
    memset(&lookup, 0, sizeof lookup);
    memset(&get, 0, sizeof get);
    closing = false;
    server = (struct server){.loop = loop,
                             .jobs = jobs,
                             .store = &late.store,
                             .idempotency = idempotency_new(&late.store),
                             .handlers_loaded = true,
                             .config = {.max_sync = 4,
                                        .max_json_depth = 64,
                                        .stream_buffer = 1 << 20,
                                        .key_ttl_ns = NS_PER_S,
                                        .sync_wait_ns = 10 * NS_PER_S,
                                        .max_wait_ns = 60 * NS_PER_S}};
    return rc;
}

static inline int close_api(void **state) {
    assert_int_equal(server.waiting, 0);
    int rc = close_world(state); /* closes the store, which answers what is open */
    idempotency_free(server.idempotency);
    return rc;
}

#define API_TEST(name) cmocka_unit_test_setup_teardown(name, open_api, close_api)

/* ---- clients ----------------------------------------------------------------------------------------------------- */

static inline void add_header(struct http_request *r, const char *name, const char *value) {
    int n = 0;
    while (r->names[n] != NULL)
        n++;
    assert_true(n + 1 < FAKE_HEADERS);
    r->names[n] = name;
    r->values[n] = value;
}

static inline void submit_http(struct http_request *r) {
    api_submit(&server, r, (struct route_match){0});
    assert_true(r->answered || r->suspended);
}

/* POST /v1/jobs. prefer, key: the headers, or NULL. */
static inline void post(struct http_request *r, const char *prefer, const char *key) {
    *r = (struct http_request){.body = "{\"type\":\"plain\"}"};
    if (prefer != NULL)
        add_header(r, "Prefer", prefer);
    if (key != NULL)
        add_header(r, "Idempotency-Key", key);
    submit_http(r);
}

/* The same with a body that a worker has to parse. */
static inline void post_large(struct http_request *r, const char *prefer, const char *key) {
    *r = (struct http_request){.large = blob_copy("{...}", 5)};
    if (prefer != NULL)
        add_header(r, "Prefer", prefer);
    if (key != NULL)
        add_header(r, "Idempotency-Key", key);
    submit_http(r);
}

/* A request about one job. */
static inline void ask(struct http_request *r, route_handler *handler, const struct id *job, const char *prefer) {
    char id[ID_TEXT_SIZE];
    *r = (struct http_request){.body = ""};
    if (prefer != NULL)
        add_header(r, "Prefer", prefer);
    id_format(job, id);
    handler(&server, r, (struct route_match){id, strlen(id)});
    assert_true(r->answered || r->suspended);
}

/* The request is over: it was answered, or its connection has ended. */
static inline void end_request(struct http_request *r) {
    if (r->stream != NULL)
        r->stream->close(r->stream);
    deferred_on_done(&server, r);
    assert_null(r->state);
    blob_unref(r->large);
}

static inline void hang_up(struct http_request *r) {
    assert_true(r->suspended);
    deferred_on_hangup(&server, r);
    assert_true(r->abandoned);
    end_request(r);
}

static inline struct deferred_request *deferred_of(const struct http_request *r) {
    return r->state;
}

static inline enum deferred_state state_of(const struct http_request *r) {
    return deferred_of(r)->state;
}

static inline struct job *job_of(const struct http_request *r) {
    assert_non_null(deferred_of(r)->waiter.job);
    return deferred_of(r)->waiter.job;
}

static inline void expire(struct http_request *r) {
    fire(&deferred_of(r)->timer);
}

/* What the client reads of a stream until nothing more is there. Returns whether the stream has ended. */
static inline bool read_stream(struct http_request *r) {
    char *to = r->text;
    ssize_t n;
    r->woken = false;
    while ((n = r->stream->read(r->stream, to, sizeof r->text - 1 - (size_t)(to - r->text))) > 0)
        to += n;
    *to = '\0';
    return n == HTTP_STREAM_END;
}

static inline void assert_answered(const struct http_request *r, unsigned status) {
    assert_true(r->answered);
    assert_false(r->suspended);
    assert_int_equal(r->status, status);
}

static inline void assert_waits(const struct http_request *r) {
    assert_false(r->answered);
    assert_true(r->suspended);
}

#endif
