/* access.h: who may call: the names that the keys file has, or a certificate, and what they may do and use. This room
 * knows neither HTTP nor jobs. The interface of this room. Front end, the event loop's thread.
 *
 *     a token, a user id, a certificate's name ──► a caller: name, scopes, quotas
 *
 * A caller is known by its name. It lives as long as `struct access`, also when a new file no longer has it, because
 * requests point to it; then it may do nothing. */
#ifndef OFFLOAD_ACCESS_H
#define OFFLOAD_ACCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/attributes.h"
#include "base/buf.h"
#include "server/access/scope.h"

#define ACCESS_MAX_TOKEN 256 /* bytes of a key */

enum access_quota { QUOTA_REQUESTS, QUOTA_JOBS, QUOTA_CPU, QUOTA_BYTES, QUOTAS };

struct access;
struct caller;

struct access_config {
    const char *keys_file;   /* NULL: there is none */
    bool takes_certificates; /* clients' certificates are verified: without a keys file each may submit and read */
};

struct access *access_new(void); /* NULL: memory ran out. Nobody is asked for a key yet */
void access_free(struct access *a);
/* Takes the configuration, and reads the file. 0; or -1 with one line in `error`, which names the file and the line of the
 * fault, and all is as it was before. */
MUST_CHECK int access_configure(struct access *a, const struct access_config *config, struct buf *error);
/* The same without a struct access, to find faults. */
MUST_CHECK int access_check(const struct access_config *config, struct buf *error);
/* False: there are neither keys nor certificates, and everybody may do everything. */
bool access_is_on(const struct access *a);

/* ---- who it is ---- */

/* The token of an Authorization header (RFC 6750): what stands behind "Bearer", *size bytes of header, which white space
 * can follow. NULL: the header has another scheme or form. */
const char *access_read_token(const char *header, size_t *size);
/* Each returns NULL if nobody is known by that. Tokens are compared by their hashes, in constant time. */
struct caller *access_by_token(struct access *a, const char *token, size_t size);
struct caller *access_by_user(struct access *a, uid_t uid);
/* common_name: UTF-8 without control characters. One with a quote or a backslash is nobody's. */
struct caller *access_by_certificate(struct access *a, const char *common_name);
/* Somebody was not let in. why: "no_key", "wrong_key", "scope". A constant. */
void access_count_failure(struct access *a, const char *why);

/* ---- what it may do ---- */

const char *caller_name(const struct caller *c);
/* Also with ACCESS_ADMIN alone. */
bool caller_may(const struct caller *c, enum access_scope scope);
/* Of the jobs whose tenant that is it sees nothing else. NULL: it sees all jobs. */
const char *caller_view(const struct caller *c);
unsigned access_weight(const struct access *a, const char *name); /* 1 to 100; 1 if the name is not known */

/* ---- what it may use ---- */

/* These are the only ones that can refuse: they say in how many seconds it is worth to try again; 0: go on.
 * jobs: how many of its jobs are queued or run. Times are monotonic. */
uint64_t caller_begin_request(struct caller *c, int64_t now_ns);              /* takes one of its requests */
uint64_t caller_begin_body(struct caller *c, uint64_t bytes, int64_t now_ns); /* 0: it is not known how many come */
/* More of a body that did not say how long it is; `received` of it have come by now. They are charged in any case. */
uint64_t caller_take_body(struct caller *c, uint64_t more, uint64_t received, int64_t now_ns);
uint64_t caller_begin_job(struct caller *c, int64_t now_ns);     /* its CPU time */
bool caller_counts_jobs(const struct caller *c);                 /* false: it does not matter how many jobs it has */
bool caller_has_all_jobs(const struct caller *c, uint64_t jobs); /* true: no further one */
/* The most bytes that a body can have; UINT64_MAX: no limit. */
uint64_t caller_largest_body(const struct caller *c);
/* So many bytes that caller_begin_body was told of have not come. */
void caller_return_body(struct caller *c, uint64_t bytes, int64_t now_ns);
void access_charge_cpu(struct access *a, const char *name, int64_t cpu_ns, int64_t now_ns);
void caller_count_refusal(struct caller *c, enum access_quota quota);

const char *access_quota_name(enum access_quota quota); /* "requests", "jobs", "cpu", "bytes" */
/* The values of the RateLimit-Policy and RateLimit fields (draft-ietf-httpapi-ratelimit-headers-10). NULL: it has no
 * quotas, so there are no such fields. Room for CALLER_FIELD_SIZE. */
#define CALLER_FIELD_SIZE 256
const char *caller_policy(const struct caller *c);
void caller_write_limits(struct caller *c, uint64_t jobs, int64_t now_ns, char to[CALLER_FIELD_SIZE]);

/* Appends the metrics of this room. `jobs` says how many of a name's jobs are queued or run. Names beyond `most` are
 * added up in one row. */
void access_write_metrics(const struct access *a, size_t most, uint64_t (*jobs)(void *arg, const char *name), void *arg,
                          struct buf *out);

#endif
