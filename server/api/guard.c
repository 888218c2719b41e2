/* guard.c: see guard.h. Front end. What a client may use is looked at before its body is read; but its jobs and its CPU
 * time only when a job is made, if the body is short, or an Idempotency-Key may already have made it. */
#include "server/api/guard.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

#define LONG_BODY (32 * 1024) /* bytes */

/* ---- who it is --------------------------------------------------------------------------------------------------- */

static const char *scope_name(enum access_scope scope) {
    return scope == ACCESS_SUBMIT ? "submit" : scope == ACCESS_READ ? "read" : "admin";
}

/* RFC 6750, section 3. */
static void reject_unknown(struct server *s, struct http_request *r, bool has_key, const char *detail) {
    access_count_failure(s->access, has_key ? "wrong_key" : "no_key");
    http_set_header(r, "WWW-Authenticate",
                    has_key ? "Bearer realm=\"offload\", error=\"invalid_token\"" : "Bearer realm=\"offload\"");
    http_reject_because(r, PROBLEM_UNAUTHORIZED, detail);
}

/* Who sends the request; NULL: it is rejected. A key that is sent counts alone: a wrong one is never replaced by what
 * else is known of the client. */
static struct caller *identify(struct server *s, struct http_request *r) {
    const char *header = http_header(r, "Authorization");
    uid_t uid;
    gid_t gid;
    struct caller *c = NULL;
    if (header != NULL) {
        size_t size;
        const char *token = access_read_token(header, &size);
        c = token == NULL ? NULL : access_by_token(s->access, token, size);
        if (c == NULL)
            reject_unknown(s, r, true,
                           token == NULL ? "the Authorization header is not of the form `Bearer KEY`"
                                         : "the key is not known; it may have been replaced");
        return c;
    }
    const char *subject = http_client_subject(r);
    if (subject != NULL)
        c = access_by_certificate(s->access, subject);
    else if (http_peer(r, &uid, &gid))
        c = access_by_user(s->access, uid);
    if (c == NULL)
        reject_unknown(s, r, false,
                       subject == NULL
                           ? NULL
                           : "no key has the name in the client's certificate: with --keys it needs a `cert` line");
    return c;
}

/* ---- what it may do ---------------------------------------------------------------------------------------------- */

static bool check_scope(struct server *s, struct http_request *r, const struct caller *c, enum access_scope scope) {
    if (caller_may(c, scope))
        return true;
    access_count_failure(s->access, "scope");
    http_set_header_f(r, "WWW-Authenticate", "Bearer realm=\"offload\", error=\"insufficient_scope\", scope=\"%s\"",
                      scope_name(scope));
    http_reject_because(r, PROBLEM_FORBIDDEN,
                        scope == ACCESS_SUBMIT ? "the key does not have the scope `submit`, which this needs"
                                               : "the key does not have the scope `read`, which this needs");
    return false;
}

/* ---- what it may use --------------------------------------------------------------------------------------------- */

/* How many of its jobs are queued or run; 0 if that does not matter. */
static uint64_t jobs_of(const struct server *s, const struct caller *c) {
    return caller_counts_jobs(c) ? jobs_of_tenant(s->jobs, caller_name(c)) : 0;
}

static void set_fields(struct server *s, struct http_request *r, struct caller *c, int64_t now_ns) {
    char limits[CALLER_FIELD_SIZE];
    const char *policy = caller_policy(c);
    if (policy == NULL)
        return;
    caller_write_limits(c, jobs_of(s, c), now_ns, limits);
    http_set_header(r, "RateLimit-Policy", policy);
    http_set_header(r, "RateLimit", limits);
}

static void set_wait(struct http_request *r, uint64_t s) {
    http_set_header_f(r, "Retry-After", "%llu", (unsigned long long)s);
}

#define MEMBERS_SIZE 64
static void write_members(char to[MEMBERS_SIZE], enum access_quota quota) {
    snprintf(to, MEMBERS_SIZE, "\"violated-policies\":[\"%s\"]", access_quota_name(quota));
}

static const char *detail_of(enum access_quota quota) {
    static const char *const details[QUOTAS] = {
        [QUOTA_REQUESTS] = "the key has sent as many requests as its quota `rate` allows",
        [QUOTA_JOBS] = "as many jobs of the key are queued or run as its quota `jobs` allows",
        [QUOTA_CPU] = "the jobs of the key have used the CPU time that its quota `cpu` allows",
        [QUOTA_BYTES] = "the key has sent as many bytes as its quota `bytes` allows",
    };
    return details[quota];
}

/* From `begin` or `more`. */
static void reject_over(struct http_request *r, struct caller *c, enum access_quota quota, uint64_t wait_s) {
    char members[MEMBERS_SIZE];
    caller_count_refusal(c, quota);
    set_wait(r, wait_s);
    write_members(members, quota);
    http_reject_with(r, PROBLEM_OVER_QUOTA, detail_of(quota), strdup(members));
}

/* The jobs and the CPU time. 0: it can make a job; else in how many seconds to ask again, and by which quota. */
static uint64_t wait_for_job(struct server *s, struct caller *c, int64_t now_ns, enum access_quota *quota) {
    *quota = QUOTA_JOBS;
    if (caller_has_all_jobs(c, jobs_of(s, c)))
        return jobs_tenant_retry_after_s(s->jobs, caller_name(c));
    *quota = QUOTA_CPU;
    return caller_begin_job(c, now_ns);
}

/* False: no wait would help a body of that size, and it is rejected. */
static bool check_size(struct http_request *r, const struct caller *c, uint64_t bytes) {
    uint64_t largest = caller_largest_body(c);
    char members[MEMBERS_SIZE];
    if (bytes <= largest)
        return true;
    snprintf(members, sizeof members, "\"limit_bytes\":%llu", (unsigned long long)largest);
    http_reject_with(r, PROBLEM_BODY_TOO_LARGE, "the body is larger than all that the key's quota `bytes` allows",
                     strdup(members));
    return false;
}

/* A request without a body uses none of that quota, so it is not refused by it. */
static bool check_body(struct http_request *r, struct caller *c, int64_t now_ns) {
    uint64_t bytes = http_body_announced(r);
    if (bytes == 0 && http_header(r, "Transfer-Encoding") == NULL)
        return true;
    if (!check_size(r, c, bytes))
        return false;
    uint64_t wait_s = caller_begin_body(c, bytes, now_ns);
    if (wait_s > 0)
        reject_over(r, c, QUOTA_BYTES, wait_s);
    return wait_s == 0;
}

/* False: it is rejected. */
static bool check_quotas(struct server *s, struct http_request *r, struct caller *c, bool submits, int64_t now_ns) {
    enum access_quota quota;
    uint64_t wait_s = caller_begin_request(c, now_ns);
    if (wait_s > 0) {
        reject_over(r, c, QUOTA_REQUESTS, wait_s);
        return false;
    }
    bool is_long = http_body_announced(r) > LONG_BODY; /* else there is time when it has come */
    if (submits && is_long && http_header(r, "Idempotency-Key") == NULL) {
        wait_s = wait_for_job(s, c, now_ns, &quota);
        if (wait_s > 0) {
            reject_over(r, c, quota, wait_s);
            return false;
        }
    }
    return check_body(r, c, now_ns);
}

/* ---- for the routes ---------------------------------------------------------------------------------------------- */

bool guard_begin(struct server *s, struct http_request *r, enum access_scope scope, bool submits) {
    if (!access_is_on(s->access))
        return true;
    struct caller *c = identify(s, r);
    if (c == NULL || !check_scope(s, r, c, scope))
        return false;
    int64_t now_ns = loop_now_ns(s->loop);
    bool good = check_quotas(s, r, c, submits, now_ns);
    set_fields(s, r, c, now_ns);
    if (good)
        http_set_caller(r, c);
    return good;
}

void guard_more(struct server *s, struct http_request *r, size_t size) {
    struct caller *c = http_caller(r);
    uint64_t received = http_body_received(r);
    if (c == NULL)
        return;
    uint64_t wait_s = caller_take_body(c, size, received, loop_now_ns(s->loop));
    if (!check_size(r, c, received) || wait_s == 0)
        return;
    reject_over(r, c, QUOTA_BYTES, wait_s);
    http_keep_headers(r);
}

void guard_done(struct http_request *r) {
    struct caller *c = http_caller(r);
    if (c == NULL)
        return;
    uint64_t announced = http_body_announced(r), received = http_body_received(r);
    if (received < announced)
        caller_return_body(c, announced - received, clock_monotonic_ns());
}

bool guard_admits_job(struct server *s, struct caller *c, struct http_request *r) {
    enum access_quota quota;
    char members[MEMBERS_SIZE];
    uint64_t wait_s = c == NULL ? 0 : wait_for_job(s, c, loop_now_ns(s->loop), &quota);
    if (wait_s == 0)
        return true;
    caller_count_refusal(c, quota);
    if (r == NULL)
        return false;
    set_wait(r, wait_s);
    write_members(members, quota);
    http_answer_problem(r, PROBLEM_OVER_QUOTA, detail_of(quota), members);
    return false;
}

const char *guard_tenant(const struct http_request *r) {
    const struct caller *c = http_caller(r);
    return c == NULL ? NULL : caller_name(c);
}

const char *guard_view(const struct http_request *r) {
    const struct caller *c = http_caller(r);
    return c == NULL ? NULL : caller_view(c);
}

static uint64_t count_jobs(void *arg, const char *name) {
    return jobs_of_tenant(arg, name);
}

void guard_write_metrics(struct server *s, struct buf *out) {
    access_write_metrics(s->access, (size_t)s->config.max_key_metrics, count_jobs, s->jobs, out);
}
