/* problem.c: see problem.h. Front end. */
#include "server/model/problem.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_FAULT  (64 * 1024) /* bytes; an honest worker's fault has no more */
#define MAX_ERRORS 20

static const struct problem problems[PROBLEM_COUNT] = {
    [PROBLEM_BAD_REQUEST] = {"bad_request", 400, "Bad request",
                             "The head of the request is not HTTP/1.1 (RFC 9112). `field` names the header that is "
                             "wrong, if it is one."},
    [PROBLEM_BODY_TOO_LARGE] =
        {"body_too_large", 413, "Body too large",
         "The body exceeds limit_bytes (--max-body), or has more data parts than --max-parts. Send less, or raise "
         "the limit."},
    [PROBLEM_CANCELLED] = {"cancelled", 409, "Job was cancelled", "Somebody cancelled the job; it has no result."},
    [PROBLEM_DRAINING] = {"draining", 503, "Service is draining",
                          "The service is shutting down and takes no new jobs. Retry elsewhere or later."},
    [PROBLEM_DUPLICATE_KEY] = {"duplicate_key", 400, "Duplicate object key",
                               "An object names the same member twice. See line and column."},
    [PROBLEM_EXPECTATION_FAILED] = {"expectation_failed", 417, "Expectation failed",
                                    "The Expect header asks for something other than 100-continue."},
    [PROBLEM_FORBIDDEN] =
        {"forbidden", 403, "Not allowed",
         "The key does not have the scope that the request needs; or the request comes from a web page "
         "of another origin that --cors-origin does not name. See detail."},
    [PROBLEM_GONE] = {"gone", 410, "Job is gone", "The job was deleted or has expired."},
    [PROBLEM_HANDLER_FAILED] = {"handler_failed", 500, "Job failed",
                                "The job's own code reported a failure. See detail."},
    [PROBLEM_HEADER_TOO_LARGE] = {"header_too_large", 431, "Request header too large",
                                  "The request's head exceeds limit_bytes (--max-header)."},
    [PROBLEM_IDEMPOTENCY_MISMATCH] = {"idempotency_mismatch", 422, "Idempotency-Key was used for another request",
                                      "The key belongs to a job that a different body or query made. Use a new key."},
    [PROBLEM_INTERNAL_ERROR] = {"internal_error", 500, "Internal error",
                                "The service could not do its part. See its log."},
    [PROBLEM_INVALID_IDEMPOTENCY_KEY] = {"invalid_idempotency_key", 400, "Invalid Idempotency-Key",
                                         "It is one string, quoted or bare: 1 to 255 characters of printable ASCII."},
    [PROBLEM_INVALID_JSON] = {"invalid_json", 400, "Body is not JSON",
                              "The body is not JSON as RFC 8259 defines it. See line and column."},
    [PROBLEM_INVALID_PARAMS] =
        {"invalid_params", 422, "Invalid job",
         "Members are missing, unknown or have values that cannot be used. See errors; each has a "
         "JSON Pointer (RFC 6901). GET /v1/types describes what is expected."},
    [PROBLEM_INVALID_QUERY] = {"invalid_query", 400, "Invalid query",
                               "A query parameter is unknown or has a wrong value."},
    [PROBLEM_JOB_TIMEOUT] = {"job_timeout", 504, "Job ran out of time",
                             "The job ran longer than options.timeout_ms (default --job-timeout) and was stopped."},
    [PROBLEM_MEMORY_LIMIT] =
        {"memory_limit", 507, "Job ran out of memory",
         "A worker exceeded --max-job-memory, or memory ran out, while it ran this job; or what it made does not fit "
         "within --max-memory."},
    [PROBLEM_METHOD_NOT_ALLOWED] = {"method_not_allowed", 405, "Method not allowed", "See the Allow header."},
    [PROBLEM_MISDIRECTED_REQUEST] =
        {"misdirected_request", 421, "Misdirected request",
         "The Host header names a host that this service is not: localhost, an address, or one of --allowed-host."},
    [PROBLEM_NOT_FOUND] = {"not_found", 404, "Not found",
                           "There is nothing at this path, or it is no longer remembered."},
    [PROBLEM_NOT_IMPLEMENTED] =
        {"not_implemented", 501, "Not implemented",
         "The request needs something that the service does not have, such as a transfer coding other than chunked."},
    [PROBLEM_NOT_UTF8] = {"not_utf8", 400, "Body is not UTF-8", "JSON is UTF-8 (RFC 8259 section 8.1)."},
    [PROBLEM_OVER_MEMORY] = {"over_memory", 429, "Memory budget is spent",
                             "The service holds as many bytes as --max-memory allows, or its jobs hold as many open "
                             "files as the limit of the process (RLIMIT_NOFILE) leaves them. No job was accepted, or "
                             "the answer was too large to be made now; retry later."},
    [PROBLEM_OVER_QUOTA] =
        {"over_quota", 429, "Quota is used up",
         "The client has used all that it may have for now: see detail. `violated-policies` names the quotas of a key, "
         "as "
         "RateLimit-Policy does. Nothing was accepted; Retry-After says when there is something again."},
    [PROBLEM_PRECONDITION_FAILED] =
        {"precondition_failed", 412, "Precondition failed",
         "The job is not in a state that If-Match or If-None-Match allows, so nothing was done. GET it for its ETag."},
    [PROBLEM_QUEUE_FULL] =
        {"queue_full", 429, "Queue is full",
         "As many jobs wait as --max-queue, --max-queue-age or, with delay_ms, --max-delayed allows. Nothing was "
         "accepted; retry later."},
    [PROBLEM_QUEUE_TIMEOUT] = {"queue_timeout", 503, "Job was not started in time",
                               "The job waited longer than its options.queue_timeout_ms. Retry later."},
    [PROBLEM_RANGE_NOT_SATISFIABLE] = {"range_not_satisfiable", 416, "Range not satisfiable",
                                       "The Range header names no byte of the result."},
    [PROBLEM_REQUEST_TIMEOUT] = {"request_timeout", 408, "Request timed out", "The request did not arrive in time."},
    [PROBLEM_STARTING] = {"starting", 503, "Service is starting", "Workers are not ready yet. Retry in a moment."},
    [PROBLEM_STORE_UNAVAILABLE] =
        {"store_unavailable", 503, "Store is unavailable",
         "Jobs cannot be recorded at present: /readyz?verbose says why. Nothing was accepted; retry later."},
    [PROBLEM_TOO_DEEP] = {"too_deep", 400, "JSON is nested too deeply",
                          "Arrays and objects are nested deeper than --max-json-depth allows."},
    [PROBLEM_TOO_MANY_CONNECTIONS] =
        {"too_many_connections", 503, "Too many connections",
         "As many clients are connected as --max-connections, or --max-connections-per-address, "
         "allows. Retry later."},
    [PROBLEM_UNAUTHORIZED] = {"unauthorized", 401, "A key is needed",
                              "Send `Authorization: Bearer KEY`, or show a certificate if the service takes some. Its "
                              "operator has the keys: `offload keygen NAME` makes one."},
    [PROBLEM_UNKNOWN_TYPE] = {"unknown_type", 422, "Unknown job type", "GET /v1/types lists the types there are."},
    [PROBLEM_UNSUPPORTED_MEDIA_TYPE] =
        {"unsupported_media_type", 415, "Unsupported media type",
         "Send the job as application/json or multipart/form-data, or its data alone as the body, with "
         "?type=T in the query; without a content coding, or with gzip, deflate or zstd."},
    [PROBLEM_URI_TOO_LONG] = {"uri_too_long", 414, "URI too long",
                              "The target of the request is longer than the service reads."},
    [PROBLEM_VERSION_NOT_SUPPORTED] = {"version_not_supported", 505, "HTTP version not supported",
                                       "The service speaks HTTP/1.1 and HTTP/1.0."},
    [PROBLEM_WORKER_CRASHED] =
        {"worker_crashed", 500, "Worker crashed",
         "The process that ran the job died, each time it was tried. The job's `lost` says how."},
};

const struct problem *problem_get(enum problem_code code) {
    return &problems[code];
}

enum problem_code problem_find(const char *name, size_t size) {
    for (int i = 0; i < PROBLEM_COUNT; i++)
        if (strlen(problems[i].code) == size && memcmp(problems[i].code, name, size) == 0)
            return (enum problem_code)i;
    return PROBLEM_COUNT;
}

/* Appends a path as a JSON string with a URI reference. What RFC 3986 (section 3.3) does not allow in a path is
 * percent-encoded, and so is a second "/" at the start, which would begin a host. */
static void put_reference(struct buf *out, const char *path) {
    static const char hex[] = "0123456789ABCDEF";
    buf_putc(out, '"');
    for (const char *at = path; *at != '\0'; at++) {
        unsigned char c = (unsigned char)*at;
        bool allowed = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       strchr("-._~!$&'()*+,;=:@/", c) != NULL;
        if (allowed && !(at == path + 1 && path[0] == '/' && c == '/'))
            buf_putc(out, (char)c);
        else
            buf_append(out, (char[]){'%', hex[c >> 4], hex[c & 15]}, 3);
    }
    buf_putc(out, '"');
}

void problem_write(struct buf *out, enum problem_code code, const char *detail, const char *members,
                   const char *instance) {
    const struct problem *p = &problems[code];
    const char *text = detail == NULL ? p->help : detail;
    buf_printf(out, "{\"type\":\"/problems/%s\",\"title\":\"%s\",\"status\":%u,\"code\":\"%s\",\"detail\":", p->code,
               p->title, p->status, p->code);
    buf_json_string(out, text, strlen(text));
    if (instance != NULL) {
        buf_puts(out, ",\"instance\":");
        put_reference(out, instance);
    }
    if (members != NULL) {
        buf_putc(out, ',');
        buf_puts(out, members);
    }
    buf_putc(out, '}');
}

void problem_put_error(struct buf *members, const char *pointer, const char *detail) {
    buf_puts(members, "\"errors\":[{\"pointer\":");
    buf_json_string(members, pointer, strlen(pointer));
    buf_puts(members, ",\"detail\":");
    buf_json_string(members, detail, strlen(detail));
    buf_puts(members, "}]");
}

/* ---- looking into a document ------------------------------------------------------------------------------------- */

/* Where a member whose value is a string begins: at the comma before it. Within a string each quote is escaped, so the
 * text is found nowhere else. NULL: there is none. */
static const char *find_member(const struct buf *document, const char *name) {
    char text[32];
    int n = snprintf(text, sizeof text, ",\"%s\":\"", name);
    return document->size == 0 ? NULL : memmem(document->data, document->size, text, (size_t)n);
}

/* Appends the string that begins at the quote `at`. Returns where the document goes on; NULL: it is cut off. */
static const char *copy_string(const struct buf *document, const char *at, struct buf *out) {
    const char *end = at + 1;
    const char *stop = document->data + document->size;
    while (end < stop && *end != '"')
        end += *end == '\\' ? 2 : 1;
    if (end >= stop)
        return NULL;
    buf_append(out, at, (size_t)(end + 1 - at));
    return end + 1;
}

void problem_copy_member(const struct buf *document, const char *name, struct buf *out) {
    const char *at = find_member(document, name);
    if (at != NULL)
        copy_string(document, at + strlen(name) + 4, out); /* at the quote */
}

/* Behind a text that stands outside of strings, if it begins with a comma. NULL: it is not there. */
static const char *find_behind(const struct buf *document, const char *text) {
    size_t size = strlen(text);
    const char *at = document->size == 0 ? NULL : memmem(document->data, document->size, text, size);
    return at == NULL ? NULL : at + size;
}

void problem_first_error(const struct buf *document, struct buf *pointer, struct buf *detail) {
    static const char next[] = ",\"detail\":";
    const size_t size = sizeof next - 1;
    const char *at = find_behind(document, ",\"errors\":[{\"pointer\":"), *stop = document->data + document->size;
    at = at == NULL ? NULL : copy_string(document, at, pointer);
    if (at != NULL && (size_t)(stop - at) > size && memcmp(at, next, size) == 0)
        copy_string(document, at + size, detail);
}

/* The document ends with a brace, which stops the number. */
static bool read_number(const struct buf *document, const char *text, uint64_t *number) {
    const char *at = find_behind(document, text);
    *number = 0;
    for (; at != NULL && at < document->data + document->size && *at >= '0' && *at <= '9'; at++)
        *number = *number * 10 + (uint64_t)(*at - '0');
    return *number > 0;
}

bool problem_place(const struct buf *document, uint64_t *line, uint64_t *column) {
    return read_number(document, ",\"line\":", line) && read_number(document, ",\"column\":", column);
}

size_t problem_without_traceback(const struct buf *document) {
    const char *at = find_member(document, "traceback");
    return at == NULL ? document->size : (size_t)(at - document->data);
}

/* ---- faults ------------------------------------------------------------------------------------------------------ */

static void put_string(struct buf *out, const char *name, json_t *value) {
    buf_printf(out, "\"%s\":", name);
    buf_json_string(out, json_string_value(value), json_string_length(value));
}

static bool put_errors(struct buf *out, json_t *errors) {
    size_t i;
    json_t *e;
    if (json_array_size(errors) > MAX_ERRORS)
        return false;
    buf_puts(out, "\"errors\":[");
    json_array_foreach(errors, i, e) {
        json_t *pointer = json_object_get(e, "pointer"), *detail = json_object_get(e, "detail");
        if (!json_is_string(pointer) || !json_is_string(detail))
            return false;
        buf_puts(out, i == 0 ? "{" : ",{");
        put_string(out, "pointer", pointer);
        buf_putc(out, ',');
        put_string(out, "detail", detail);
        buf_putc(out, '}');
    }
    buf_putc(out, ']');
    return true;
}

static bool put_members(struct buf *out, json_t *fault) {
    static const char *const places[] = {"line", "column", "position"};
    json_t *errors = json_object_get(fault, "errors");
    if (errors != NULL && (!json_is_array(errors) || !put_errors(out, errors)))
        return false;
    for (int i = 0; i < 3; i++) {
        json_t *place = json_object_get(fault, places[i]);
        if (!json_is_integer(place))
            continue;
        buf_printf(out, "%s\"%s\":%lld", out->size > 0 ? "," : "", places[i], (long long)json_integer_value(place));
    }
    for (int i = 0; i < 2; i++) { /* the traceback comes last, see problem_without_traceback */
        json_t *text = json_object_get(fault, i == 0 ? "exception" : "traceback");
        if (!json_is_string(text))
            continue;
        if (out->size > 0)
            buf_putc(out, ',');
        put_string(out, i == 0 ? "exception" : "traceback", text);
    }
    return !out->failed;
}

int problem_read_fault(const void *json, size_t size, struct problem_fault *f) {
    struct buf members = {0};
    json_error_t error;
    *f = (struct problem_fault){PROBLEM_INTERNAL_ERROR, NULL, NULL};
    json_t *fault = size > MAX_FAULT ? NULL : json_loadb(json, size, JSON_ALLOW_NUL, &error);
    json_t *code = json_object_get(fault, "code"), *detail = json_object_get(fault, "detail");
    bool ok = json_is_string(code) && json_is_string(detail) && put_members(&members, fault);
    if (ok) {
        f->code = problem_find(json_string_value(code), json_string_length(code));
        f->detail = strdup(json_string_value(detail));
        f->members = members.size > 0 ? buf_steal(&members, NULL) : NULL;
        ok = f->code != PROBLEM_COUNT && f->detail != NULL;
    }
    buf_deinit(&members);
    json_decref(fault);
    return ok ? 0 : -1;
}

void problem_fault_deinit(struct problem_fault *f) {
    free(f->detail);
    free(f->members);
    f->detail = f->members = NULL;
}
