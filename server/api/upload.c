/* upload.c: see upload.h. Front end. */
#include "server/api/upload.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/field.h"
#include "base/hash.h"

#define MAX_PAIRS     64 /* parameters of a query */
#define SMALL_TEXT    (32 * 1024)
#define CODINGS_TAKEN "gzip, deflate, zstd" /* for Accept-Encoding */

void upload_free(struct upload *u) {
    if (u == NULL)
        return;
    struct job *job = u->inflating.job;
    job_unwait(&u->inflating);
    if (job != NULL)
        job_cancel(job); /* the client has left */
    slice_deinit(&u->inflated);
    slice_deinit(&u->text);
    attachments_deinit(&u->data);
    submission_deinit(&u->submission);
    free(u);
}

struct upload *upload_make(struct http_request *r, struct upload **u) {
    if (*u == NULL)
        *u = calloc(1, sizeof **u);
    if (*u == NULL)
        http_answer_problem(r, PROBLEM_INTERNAL_ERROR, NULL, NULL);
    return *u;
}

/* ---- the head ---------------------------------------------------------------------------------------------------- */

/* Is it the media type of a Content-Type, whatever its parameters are? */
static bool is_type(const char *content_type, const char *media_type) {
    size_t n = strlen(media_type);
    return content_type != NULL && strncasecmp(content_type, media_type, n) == 0 &&
           strchr("; \t", content_type[n]) != NULL;
}

/* False: it cannot be taken. */
static bool body_kind(struct http_request *r, enum http_body_kind *kind) {
    const char *type = http_header(r, "Content-Type");
    *kind = is_type(type, "application/json")      ? HTTP_BODY_TEXT
            : is_type(type, "multipart/form-data") ? HTTP_BODY_FORM
                                                   : HTTP_BODY_DATA;
    return *kind != HTTP_BODY_DATA || http_query(r, "type") != NULL;
}

static void read_coding(void *arg, const char *line) {
    static const struct {
        const char *name;
        enum coding coding;
    } known[] = {{"gzip", CODING_GZIP}, {"x-gzip", CODING_GZIP}, {"deflate", CODING_DEFLATE}, {"zstd", CODING_ZSTD}};
    struct field_part rest = {line, strlen(line)}, name;
    enum coding *coding = arg;
    while (field_next(&rest, ',', &name)) {
        if (field_is(&name, "identity"))
            continue;
        enum coding one = CODING_OTHER;
        for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
            one = field_is(&name, known[i].name) ? known[i].coding : one;
        *coding = *coding == CODING_NONE ? one : CODING_OTHER;
    }
}

enum coding upload_coding(struct http_request *r) {
    enum coding coding = CODING_NONE;
    http_each_header(r, "Content-Encoding", read_coding, &coding);
    return coding;
}

/* A form is not inflated: its parts can be compressed, if they are worth it. */
bool upload_begin(struct http_request *r) {
    enum coding coding = upload_coding(r);
    enum http_body_kind kind;
    bool good = body_kind(r, &kind);
    if (coding == CODING_OTHER || (coding != CODING_NONE && kind == HTTP_BODY_FORM)) {
        /* RFC 9110, section 12.5.3 */
        http_set_header(r, "Accept-Encoding", kind == HTTP_BODY_FORM ? "identity" : CODINGS_TAKEN);
        http_reject(r, PROBLEM_UNSUPPORTED_MEDIA_TYPE, NULL);
    } else if (!good) {
        http_set_header(r, "Accept", "application/json, multipart/form-data"); /* section 12.5.1 */
        http_reject(r, PROBLEM_UNSUPPORTED_MEDIA_TYPE, NULL);
    } else {
        http_take_body(r, coding == CODING_NONE ? kind : HTTP_BODY_DATA);
        return kind != HTTP_BODY_TEXT;
    }
    return false;
}

void upload_begin_json(struct http_request *r) {
    enum coding coding = upload_coding(r);
    bool good = is_type(http_header(r, "Content-Type"), "application/json");
    if (coding == CODING_OTHER)
        http_set_header(r, "Accept-Encoding", CODINGS_TAKEN); /* RFC 9110, section 12.5.3 */
    if (!good)
        http_set_header(r, "Accept", "application/json"); /* section 12.5.1 */
    if (!good || coding == CODING_OTHER)
        http_reject_because(r, PROBLEM_UNSUPPORTED_MEDIA_TYPE,
                            "Send application/json, without a content coding, or with gzip, deflate or zstd.");
    else
        http_take_body(r, coding == CODING_NONE ? HTTP_BODY_TEXT : HTTP_BODY_DATA);
}

/* ---- the text ---------------------------------------------------------------------------------------------------- */

struct pairs {
    struct host_pair list[MAX_PAIRS];
    size_t count;
    char bad[160]; /* what is wrong with the query, or "" */
};

static void add_pair(void *arg, const char *name, const char *value) {
    struct pairs *p = arg;
    if (p->bad[0] != '\0' || (name[0] == '\0' && value[0] == '\0'))
        return;
    for (size_t i = 0; i < p->count; i++)
        if (strcmp(p->list[i].name, name) == 0) {
            snprintf(p->bad, sizeof p->bad, "the query parameter \"%.60s\" is there more than once", name);
            return;
        }
    if (p->count == MAX_PAIRS)
        snprintf(p->bad, sizeof p->bad, "the query has more than %d parameters", MAX_PAIRS);
    else
        p->list[p->count++] = (struct host_pair){name, value};
}

/* The text is in the body, so nothing of it is in the query. */
static void reject_pair(void *arg, const char *name, const char *value) {
    struct pairs *p = arg;
    if (p->bad[0] != '\0' || (name[0] == '\0' && value[0] == '\0'))
        return;
    if (strcmp(name, "type") == 0)
        snprintf(p->bad, sizeof p->bad,
                 "the body says which job it is: leave the query out, or send only the data as the body");
    else
        snprintf(p->bad, sizeof p->bad, "unknown query parameter \"%.60s\"", name);
}

bool upload_set_text(struct http_request *r, struct upload **at, const struct buf *text) {
    struct upload *u = upload_make(r, at);
    if (u == NULL)
        return false;
    slice_deinit(&u->text);
    if (!text->failed)
        u->text = slice_copy(text->data, text->size);
    if (u->text.blob == NULL)
        http_answer_problem(r, PROBLEM_INTERNAL_ERROR, NULL, NULL);
    return u->text.blob != NULL;
}

static bool read_query(struct http_request *r, struct upload **u, enum http_body_kind kind) {
    struct pairs p;
    struct buf text = {0};
    struct fault fault = {{0}};
    bool good = false;
    p.count = 0;
    p.bad[0] = '\0';
    http_each_query(r, kind == HTTP_BODY_DATA ? add_pair : reject_pair, &p);
    if (p.bad[0] != '\0')
        http_answer_problem(r, PROBLEM_INVALID_QUERY, p.bad, NULL);
    else if (kind != HTTP_BODY_DATA)
        good = true;
    else if (host_query_to_json(p.list, p.count, &text, &fault) != 0)
        answer_fault(r, &fault);
    else
        good = upload_set_text(r, u, &text);
    fault_deinit(&fault);
    buf_deinit(&text);
    return good;
}

static void add_ranges(void *arg, const char *line) {
    accept_ranges_parse(arg, line);
}

void upload_read_accept(struct http_request *r, struct accept_ranges *a) {
    memset(a, 0, sizeof *a);
    http_each_header(r, "Accept", add_ranges, a);
    if (!a->names_other)
        a->count = 0;
}

/* The header Accept can say which of its results the type is to make. Of a large text a worker finds that out. */
static bool apply_accept(struct http_request *r, struct upload **u) {
    struct accept_ranges accepted; /* it is large, and most requests have none */
    struct buf chosen = {0};
    size_t size;
    const char *text = upload_small_text(r, *u, &size);
    if (size == 0)
        return true;
    upload_read_accept(r, &accepted);
    if (accepted.count == 0)
        return true;
    host_choose_result(text, size, accepted.list, accepted.count, &chosen);
    bool good = (chosen.size == 0 && !chosen.failed) || upload_set_text(r, u, &chosen);
    buf_deinit(&chosen);
    return good;
}

/* An empty body is no data: a type without parameters of bytes can be called by its query alone. */
static bool read_parts(struct http_request *r, enum http_body_kind kind, struct upload **at) {
    const struct upload *coded = *at != NULL && (*at)->is_inflated ? *at : NULL;
    uint32_t count = http_part_count(r);
    if (coded != NULL && (kind == HTTP_BODY_TEXT || coded->inflated.size == 0))
        return true;
    if (kind == HTTP_BODY_DATA && count == 1 && http_part(r, 0)->bytes.size == 0)
        return true;
    struct upload *u = count == 0 ? NULL : upload_make(r, at);
    bool good = count == 0 || u != NULL;
    for (uint32_t i = 0; good && i < count; i++) {
        const struct http_part *p = http_part(r, i);
        good = attachments_add(&u->data, coded == NULL ? &p->bytes : &coded->inflated, p->media_type,
                               coded == NULL && p->own) == 0;
    }
    const uint8_t *hash = good && u != NULL ? http_data_hash(r) : NULL;
    if (hash != NULL) {
        memcpy(u->hash, hash, sizeof u->hash);
        u->hashed = true;
    }
    if (!good && !http_is_answered(r))
        http_answer_problem(r, PROBLEM_INTERNAL_ERROR, NULL, NULL);
    return good;
}

/* A text that was inflated: a small one goes to the heap. False: memory ran out, and the request is answered. */
static bool take_inflated_text(struct http_request *r, struct upload *u) {
    char small[SMALL_TEXT];
    size_t size = u->inflated.size;
    if (size > sizeof small)
        u->text = slice_ref(&u->inflated);
    else if (slice_read(&u->inflated, 0, small, size) == 0)
        u->text = slice_copy(small, size);
    if (u->text.blob == NULL)
        http_answer_problem(r, PROBLEM_INTERNAL_ERROR, NULL, NULL);
    return u->text.blob != NULL;
}

bool upload_read_text(struct http_request *r, struct upload **u) {
    return *u == NULL || !(*u)->is_inflated || take_inflated_text(r, *u);
}

bool upload_read(struct http_request *r, struct upload **u) {
    enum http_body_kind kind;
    body_kind(r, &kind); /* it can be taken, else it was rejected */
    if (*u != NULL && (*u)->is_inflated && kind == HTTP_BODY_TEXT && !take_inflated_text(r, *u))
        return false;
    return read_query(r, u, kind) && apply_accept(r, u) && read_parts(r, kind, u);
}

const char *upload_small_text(const struct http_request *r, const struct upload *u, size_t *size) {
    if (u == NULL || u->text.blob == NULL)
        return http_small_body(r, size);
    *size = slice_is_bulk(&u->text) ? 0 : u->text.size;
    return *size == 0 ? NULL : (const char *)slice_heap(&u->text);
}

bool upload_text_is_large(const struct http_request *r, const struct upload *u) {
    return u == NULL || u->text.blob == NULL ? http_body_is_large(r) : slice_is_bulk(&u->text);
}

struct slice upload_text(const struct http_request *r, const struct upload *u) {
    return u == NULL || u->text.blob == NULL ? http_body(r) : slice_ref(&u->text);
}

bool upload_mix_hash(const struct upload *u, uint8_t hash[STORE_HASH_SIZE]) {
    uint8_t both[2 * STORE_HASH_SIZE];
    if (u == NULL || !u->hashed)
        return true;
    memcpy(both, hash, STORE_HASH_SIZE);
    memcpy(both + STORE_HASH_SIZE, u->hash, STORE_HASH_SIZE);
    return hash_sha256(both, sizeof both, hash) == 0;
}

const struct job_attachments *upload_data(const struct upload *u) {
    return u == NULL || u->data.count == 0 ? NULL : &u->data;
}
