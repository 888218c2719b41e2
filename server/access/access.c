/* access.c: see access.h. Front end.
 *
 *     credentials: hash, user, certificate ──► caller ◄── name
 *
 * A new file makes all credentials anew; the callers stay. Nothing is changed before all memory is there. */
#include "server/access/access.h"

#include <ctype.h>
#include <nettle/memops.h>
#include <nettle/sha2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/table.h"
#include "base/textfile.h"
#include "server/access/keys.h"
#include "server/access/quota.h"
#include "server/model/model.h"

#define FIND_BYTES       8     /* of a hash, by which it is found; then all of it is compared */
#define MAX_CERTIFICATES 10000 /* callers that are known by their certificates alone */

struct caller {
    char name[ACCESS_MAX_NAME + 1];
    struct key_grant grant; /* scopes 0: the present file does not have it */
    struct bucket requests, cpu, bytes;
    uint64_t request_count, body_bytes, refusals[QUOTAS];
    int64_t cpu_ns;
    char policy[CALLER_FIELD_SIZE]; /* RateLimit-Policy; "": it has no quotas */
    UT_hash_handle hh;
};

/* What somebody can show. */
struct credential {
    enum key_kind kind;
    union {
        uint8_t hash[HASH_SIZE];
        uid_t uid;
        const char *name; /* the caller's */
    };
    struct caller *caller;
    UT_hash_handle hh;
};

/* The credentials of a file. */
struct credentials {
    struct credential *all, *tables[3]; /* by kind; the elements are in `all`, heap */
};

struct access {
    bool on, takes_any_certificate;
    struct caller *callers; /* hash by name */
    size_t certificates;    /* callers that have no line */
    struct credentials credentials;
    struct label_count failures[METRICS_LABELS];
};

/* ---- callers ----------------------------------------------------------------------------------------------------- */

static struct caller *find_caller(const struct access *a, const char *name) {
    struct caller *c;
    HASH_FIND_STR(a->callers, name, c);
    return c;
}

/* Finds it, or makes it without any rights. NULL: memory ran out. */
static struct caller *make_caller(struct access *a, const char *name) {
    struct caller *c = find_caller(a, name);
    if (c != NULL)
        return c;
    c = calloc(1, sizeof *c);
    if (c == NULL)
        return NULL;
    snprintf(c->name, sizeof c->name, "%s", name);
    HASH_ADD_STR(a->callers, name, c);
    if (HASH_HOLDS(c))
        return c;
    free(c);
    return NULL;
}

/* ---- RateLimit fields -------------------------------------------------------------------------------------------- */

const char *access_quota_name(enum access_quota quota) {
    static const char *const names[QUOTAS] = {"requests", "jobs", "cpu", "bytes"};
    return names[quota];
}

/* The units that the draft knows; it lets a service have more of them. */
static const char *const units[QUOTAS] = {NULL, "concurrent-requests", "cpu-seconds", "content-bytes"};

static const struct bucket *bucket_of(const struct caller *c, enum access_quota quota) {
    return quota == QUOTA_REQUESTS ? &c->requests
           : quota == QUOTA_CPU    ? &c->cpu
           : quota == QUOTA_BYTES  ? &c->bytes
                                   : NULL;
}

/* A text that grows to its end: these fields go with every answer, and printf would take longer than all else of it. */
struct field_text {
    char *to;
    size_t used;
};

static void put_text(struct field_text *t, const char *text) {
    size_t size = strlen(text), room = CALLER_FIELD_SIZE - 1 - t->used;
    size = size < room ? size : room;
    memcpy(t->to + t->used, text, size);
    t->used += size;
    t->to[t->used] = '\0';
}

static void put_number(struct field_text *t, const char *before, uint64_t n) {
    char digits[24], *at = digits + sizeof digits - 1;
    *at = '\0';
    do
        *--at = (char)('0' + n % 10);
    while ((n /= 10) > 0);
    put_text(t, before);
    put_text(t, at);
}

/* "name" as a structured field has it (RFC 8941), after what is there. */
static void put_name(struct field_text *t, enum access_quota quota) {
    put_text(t, t->used > 0 ? ", \"" : "\"");
    put_text(t, access_quota_name(quota));
    put_text(t, "\"");
}

static void write_policy(struct caller *c) {
    struct field_text t = {c->policy, 0};
    c->policy[0] = '\0';
    for (enum access_quota i = 0; i < QUOTAS; i++) {
        const struct bucket *b = bucket_of(c, i);
        uint64_t amount = b == NULL ? c->grant.jobs : (uint64_t)b->rate.amount;
        if (amount == 0)
            continue;
        put_name(&t, i);
        put_number(&t, ";q=", amount);
        if (b != NULL)
            put_number(&t, ";w=", b->rate.window_s);
        if (units[i] != NULL) {
            put_text(&t, ";qu=\"");
            put_text(&t, units[i]);
            put_text(&t, "\"");
        }
    }
}

const char *caller_policy(const struct caller *c) {
    return c->policy[0] == '\0' ? NULL : c->policy;
}

void caller_write_limits(struct caller *c, uint64_t jobs, int64_t now_ns, char to[CALLER_FIELD_SIZE]) {
    struct bucket *const buckets[QUOTAS] = {&c->requests, NULL, &c->cpu, &c->bytes};
    struct field_text t = {to, 0};
    to[0] = '\0';
    for (enum access_quota i = 0; i < QUOTAS; i++) {
        struct bucket *b = buckets[i];
        if (b == NULL ? c->grant.jobs == 0 : !(b->rate.amount > 0))
            continue;
        put_name(&t, i);
        if (b == NULL) {
            put_number(&t, ";r=", jobs < c->grant.jobs ? c->grant.jobs - jobs : 0);
        } else {
            uint64_t left, more_s;
            bucket_look(b, i == QUOTA_CPU, now_ns, &left, &more_s);
            put_number(&t, ";r=", left);
            put_number(&t, ";t=", more_s);
        }
    }
}

static void grant(struct caller *c, const struct key_grant *g, int64_t now_ns) {
    c->grant = *g;
    bucket_set(&c->requests, g->rate, now_ns);
    bucket_set(&c->cpu, g->cpu, now_ns);
    bucket_set(&c->bytes, g->bytes, now_ns);
    write_policy(c);
}

/* ---- the file ---------------------------------------------------------------------------------------------------- */

static void credentials_deinit(struct credentials *c) {
    for (size_t i = 0; i < 3; i++)
        HASH_CLEAR(hh, c->tables[i]);
    free(c->all);
    *c = (struct credentials){NULL, {NULL, NULL, NULL}};
}

static bool add_credential(struct credentials *to, struct credential *c, const struct key_line *line,
                           struct caller *caller) {
    c->kind = line->kind;
    c->caller = caller;
    if (line->kind == KEY_HASH) {
        memcpy(c->hash, line->hash, sizeof c->hash);
        HASH_ADD(hh, to->tables[KEY_HASH], hash, FIND_BYTES, c);
    } else if (line->kind == KEY_UID) {
        c->uid = line->uid;
        HASH_ADD(hh, to->tables[KEY_UID], uid, sizeof c->uid, c);
    } else {
        c->name = caller->name;
        HASH_ADD_KEYPTR(hh, to->tables[KEY_CERTIFICATE], c->name, strlen(c->name), c);
    }
    return HASH_HOLDS(c);
}

/* 0, or -1: memory ran out. */
static int make_credentials(struct access *a, const struct keys *keys, struct credentials *to) {
    *to = (struct credentials){.all = calloc(keys->count + 1, sizeof *to->all)};
    bool good = to->all != NULL;
    for (size_t i = 0; good && i < keys->count; i++) {
        struct caller *caller = make_caller(a, keys->lines[i].name);
        good = caller != NULL && add_credential(to, &to->all[i], &keys->lines[i], caller);
    }
    if (!good)
        credentials_deinit(to);
    return good ? 0 : -1;
}

static int read_file(const char *path, struct keys *keys, struct buf *error) {
    struct buf text = {0}, why = {0};
    *keys = (struct keys){NULL, 0, 0};
    int rc = textfile_read(&text, path, &why);
    if (rc == 0)
        rc = keys_parse(keys, text.data, text.size, &why);
    textfile_wipe(&text);
    if (rc == 0 && keys->count == 0) {
        buf_puts(&why, "holds no key; `offload keygen NAME` prints one, and its line");
        rc = -1;
    }
    if (rc != 0)
        buf_printf(error, "--keys %s: %s", path, why.data == NULL || why.failed ? "out of memory" : why.data);
    buf_deinit(&why);
    return rc;
}

int access_check(const struct access_config *config, struct buf *error) {
    struct keys keys;
    if (config->keys_file == NULL)
        return 0;
    int rc = read_file(config->keys_file, &keys, error);
    keys_deinit(&keys);
    return rc;
}

int access_configure(struct access *a, const struct access_config *config, struct buf *error) {
    struct keys keys = {NULL, 0, 0};
    struct credentials credentials;
    struct caller *c, *next;
    int64_t now_ns = clock_monotonic_ns();
    if (config->keys_file != NULL && read_file(config->keys_file, &keys, error) != 0)
        return -1;
    if (make_credentials(a, &keys, &credentials) != 0) {
        buf_printf(error, "--keys %s: out of memory", config->keys_file == NULL ? "" : config->keys_file);
        keys_deinit(&keys);
        return -1;
    }
    HASH_ITER(hh, a->callers, c, next) {
        c->grant.scopes = 0;
    }
    for (size_t i = 0; i < keys.count; i++) {
        c = credentials.all[i].caller;
        if (c->grant.scopes == 0)
            grant(c, &keys.lines[i].grant, now_ns);
        if (keys.lines[i].kind == KEY_CERTIFICATE && !config->takes_certificates)
            LOG(LOG_WARN, "key_without_use", LOG_STR("name", caller_name(c)),
                LOG_STR("reason", "its line wants a certificate, and there is no --tls-client-ca"));
    }
    credentials_deinit(&a->credentials);
    a->credentials = credentials;
    a->takes_any_certificate = config->takes_certificates && config->keys_file == NULL;
    a->on = config->takes_certificates || config->keys_file != NULL;
    keys_deinit(&keys);
    return 0;
}

struct access *access_new(void) {
    return calloc(1, sizeof(struct access));
}

void access_free(struct access *a) {
    struct caller *c, *next;
    if (a == NULL)
        return;
    credentials_deinit(&a->credentials);
    HASH_ITER(hh, a->callers, c, next) {
        HASH_DEL(a->callers, c);
        free(c);
    }
    free(a);
}

bool access_is_on(const struct access *a) {
    return a->on;
}

/* ---- who it is --------------------------------------------------------------------------------------------------- */

/* RFC 9110, section 11.2. strspn would make such a table for each call. */
static const bool is_token68[256] = {
    ['-'] = true, ['.'] = true, ['_'] = true, ['~'] = true, ['+'] = true, ['/'] = true, ['='] = true, ['0'] = true,
    ['1'] = true, ['2'] = true, ['3'] = true, ['4'] = true, ['5'] = true, ['6'] = true, ['7'] = true, ['8'] = true,
    ['9'] = true, ['A'] = true, ['B'] = true, ['C'] = true, ['D'] = true, ['E'] = true, ['F'] = true, ['G'] = true,
    ['H'] = true, ['I'] = true, ['J'] = true, ['K'] = true, ['L'] = true, ['M'] = true, ['N'] = true, ['O'] = true,
    ['P'] = true, ['Q'] = true, ['R'] = true, ['S'] = true, ['T'] = true, ['U'] = true, ['V'] = true, ['W'] = true,
    ['X'] = true, ['Y'] = true, ['Z'] = true, ['a'] = true, ['b'] = true, ['c'] = true, ['d'] = true, ['e'] = true,
    ['f'] = true, ['g'] = true, ['h'] = true, ['i'] = true, ['j'] = true, ['k'] = true, ['l'] = true, ['m'] = true,
    ['n'] = true, ['o'] = true, ['p'] = true, ['q'] = true, ['r'] = true, ['s'] = true, ['t'] = true, ['u'] = true,
    ['v'] = true, ['w'] = true, ['x'] = true, ['y'] = true, ['z'] = true,
};

const char *access_read_token(const char *header, size_t *size) {
    static const char scheme[] = "bearer";
    size_t n = 0;
    while (n < sizeof scheme - 1 && tolower((unsigned char)header[n]) == scheme[n])
        n++;
    if (n < sizeof scheme - 1 || header[n] != ' ')
        return NULL;
    while (header[n] == ' ')
        n++;
    const char *token = header + n;
    *size = 0;
    while (is_token68[(unsigned char)token[*size]])
        ++*size;
    const char *rest = token + *size;
    rest += strspn(rest, " \t"); /* no part of the field's value (RFC 9112, section 5.1) */
    return *size > 0 && *size <= ACCESS_MAX_TOKEN && *rest == '\0' ? token : NULL;
}

/* The table only finds who it could be. Which hash a token has cannot be chosen, so how long that takes says nothing of
 * the others. */
struct caller *access_by_token(struct access *a, const char *token, size_t size) {
    uint8_t hash[HASH_SIZE];
    struct sha256_ctx
        context; /* of Nettle, which needs no memory for it: else a good key could be taken for a wrong one */
    struct credential *c;
    sha256_init(&context);
    sha256_update(&context, size, (const uint8_t *)token);
    sha256_digest(&context, sizeof hash, hash);
    HASH_FIND(hh, a->credentials.tables[KEY_HASH], hash, FIND_BYTES, c);
    bool same = c != NULL && memeql_sec(c->hash, hash, sizeof hash) != 0;
    explicit_bzero(hash, sizeof hash);
    explicit_bzero(&context, sizeof context);
    return same ? c->caller : NULL;
}

struct caller *access_by_user(struct access *a, uid_t uid) {
    struct credential *c;
    HASH_FIND(hh, a->credentials.tables[KEY_UID], &uid, sizeof uid, c);
    return c == NULL ? NULL : c->caller;
}

struct caller *access_by_certificate(struct access *a, const char *common_name) {
    struct credential *known;
    HASH_FIND(hh, a->credentials.tables[KEY_CERTIFICATE], common_name, strlen(common_name), known);
    if (known != NULL || !a->takes_any_certificate)
        return known == NULL ? NULL : known->caller;
    if (!keys_is_name(common_name))
        return NULL;
    struct caller *c = find_caller(a, common_name);
    if (c == NULL && a->certificates < MAX_CERTIFICATES) {
        c = make_caller(a, common_name);
        a->certificates += c != NULL;
    }
    if (c != NULL && c->grant.scopes == 0) {
        const struct key_grant g = keys_default_grant();
        grant(c, &g, clock_monotonic_ns());
    }
    return c;
}

void access_count_failure(struct access *a, const char *why) {
    metrics_count(a->failures, why);
}

/* ---- what it may do ---------------------------------------------------------------------------------------------- */

const char *caller_name(const struct caller *c) {
    return c->name;
}

bool caller_may(const struct caller *c, enum access_scope scope) {
    return (c->grant.scopes & ((unsigned)scope | ACCESS_ADMIN)) != 0;
}

const char *caller_view(const struct caller *c) {
    return caller_may(c, ACCESS_ADMIN) ? NULL : c->name;
}

unsigned access_weight(const struct access *a, const char *name) {
    const struct caller *c = find_caller(a, name);
    return c == NULL || c->grant.weight == 0 ? 1 : c->grant.weight;
}

/* ---- what it may use --------------------------------------------------------------------------------------------- */

uint64_t caller_begin_request(struct caller *c, int64_t now_ns) {
    c->request_count++;
    return bucket_take(&c->requests, 1, now_ns) ? 0 : bucket_wait_s(&c->requests, 1, now_ns);
}

static void charge_body(struct caller *c, uint64_t bytes, int64_t now_ns) {
    bucket_charge(&c->bytes, (double)bytes, now_ns);
    c->body_bytes += bytes;
}

uint64_t caller_begin_body(struct caller *c, uint64_t bytes, int64_t now_ns) {
    uint64_t wait_s = bucket_wait_s(&c->bytes, (double)bytes, now_ns);
    if (wait_s == 0)
        charge_body(c, bytes, now_ns);
    return wait_s;
}

uint64_t caller_take_body(struct caller *c, uint64_t more, uint64_t received, int64_t now_ns) {
    bool has = bucket_has(&c->bytes, (double)more, now_ns);
    charge_body(c, more, now_ns);
    return has ? 0 : bucket_wait_s(&c->bytes, (double)received, now_ns);
}

uint64_t caller_begin_job(struct caller *c, int64_t now_ns) {
    return bucket_wait_s(&c->cpu, 0, now_ns);
}

bool caller_counts_jobs(const struct caller *c) {
    return c->grant.jobs > 0;
}

bool caller_has_all_jobs(const struct caller *c, uint64_t jobs) {
    return c->grant.jobs > 0 && jobs >= c->grant.jobs;
}

uint64_t caller_largest_body(const struct caller *c) {
    return c->grant.bytes.amount > 0 ? (uint64_t)c->grant.bytes.amount : UINT64_MAX;
}

void caller_return_body(struct caller *c, uint64_t bytes, int64_t now_ns) {
    bucket_charge(&c->bytes, -(double)bytes, now_ns);
    c->body_bytes -= bytes;
}

void access_charge_cpu(struct access *a, const char *name, int64_t cpu_ns, int64_t now_ns) {
    struct caller *c = find_caller(a, name);
    if (c == NULL || cpu_ns <= 0)
        return;
    c->cpu_ns += cpu_ns;
    bucket_charge(&c->cpu, (double)cpu_ns / (double)NS_PER_S, now_ns);
}

void caller_count_refusal(struct caller *c, enum access_quota quota) {
    c->refusals[quota]++;
}

/* ---- metrics ----------------------------------------------------------------------------------------------------- */

struct metrics_view {
    const struct access *access;
    size_t most;
    uint64_t (*jobs)(void *arg, const char *name);
    void *arg;
};

static void add_one(struct metric_out *to, uint64_t value, int64_t unit, const char *name) {
    if (unit == 1)
        metric_add(to, value, name, NULL);
    else
        metric_add_real(to, (double)value / (double)unit, name, NULL);
}

/* A sample for each key: its value, in so large units. */
static void add_by_key(struct metric_out *to, const struct metrics_view *v, int64_t unit,
                       uint64_t (*value)(const struct metrics_view *v, const struct caller *c)) {
    size_t n = 0;
    uint64_t rest = 0;
    for (const struct caller *c = v->access->callers; c != NULL; c = c->hh.next) {
        if (n++ < v->most)
            add_one(to, value(v, c), unit, c->name);
        else
            rest += value(v, c);
    }
    if (n > v->most)
        add_one(to, rest, unit, KEYS_OTHERS);
}

static uint64_t requests_of(const struct metrics_view *v, const struct caller *c) {
    (void)v;
    return c->request_count;
}

static uint64_t body_bytes_of(const struct metrics_view *v, const struct caller *c) {
    (void)v;
    return c->body_bytes;
}

static uint64_t cpu_ns_of(const struct metrics_view *v, const struct caller *c) {
    (void)v;
    return (uint64_t)c->cpu_ns;
}

static uint64_t jobs_of(const struct metrics_view *v, const struct caller *c) {
    return v->jobs(v->arg, c->name);
}

static void read_requests(struct metric_out *to, const void *field) {
    add_by_key(to, field, 1, requests_of);
}

static void read_body_bytes(struct metric_out *to, const void *field) {
    add_by_key(to, field, 1, body_bytes_of);
}

static void read_cpu(struct metric_out *to, const void *field) {
    add_by_key(to, field, NS_PER_S, cpu_ns_of);
}

static void read_jobs(struct metric_out *to, const void *field) {
    add_by_key(to, field, 1, jobs_of);
}

static void read_refusals(struct metric_out *to, const void *field) {
    const struct metrics_view *v = field;
    size_t n = 0;
    uint64_t rest[QUOTAS] = {0};
    for (const struct caller *c = v->access->callers; c != NULL; c = c->hh.next, n++) {
        for (enum access_quota i = 0; i < QUOTAS; i++) {
            if (n < v->most && c->refusals[i] > 0)
                metric_add(to, c->refusals[i], c->name, access_quota_name(i));
            else
                rest[i] += c->refusals[i];
        }
    }
    for (enum access_quota i = 0; i < QUOTAS; i++)
        if (rest[i] > 0)
            metric_add(to, rest[i], KEYS_OTHERS, access_quota_name(i));
}

static void read_failures(struct metric_out *to, const void *field) {
    const struct metrics_view *v = field;
    metric_read_label_counts(to, v->access->failures);
}

static const struct metric rows[] = {
    {"offload_key_requests_total", METRIC_COUNTER, read_requests, .label = "key", .help = "Requests with this key."},
    {"offload_key_jobs", METRIC_GAUGE, read_jobs, .label = "key", .help = "Jobs of this key that are queued or run."},
    {"offload_key_cpu_seconds_total", METRIC_COUNTER, read_cpu, .label = "key",
     .help = "CPU time that the jobs of this key have used; of tasks that did not end, the time for which a worker was "
             "busy."},
    {"offload_key_body_bytes_total", METRIC_COUNTER, read_body_bytes, .label = "key",
     .help = "Bytes of the bodies that came with this key."},
    {"offload_key_refused_total", METRIC_COUNTER, read_refusals, .label = "key", .second_label = "quota",
     .help = "Requests that a quota of this key has refused."},
    {"offload_auth_failures_total", METRIC_COUNTER, read_failures, .label = "reason",
     .help = "Requests without a key, with a wrong one, or without the scope that they need."},
};

void access_write_metrics(const struct access *a, size_t most, uint64_t (*jobs)(void *arg, const char *name), void *arg,
                          struct buf *out) {
    const struct metrics_view view = {a, most, jobs, arg};
    if (a->on)
        METRICS_WRITE_TABLE(out, rows, &view);
}
