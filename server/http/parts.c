/* parts.c: see parts.h. Front end.
 *
 * libmicrohttpd's post processor says of each piece of a field where it belongs, but not where a field ends. Its first
 * call for a field has the offset 0, and so has the second one if the first had no bytes. Only the name that it gives
 * along is the same memory for all pieces of a field, and new for the next one, so that is marked.
 *
 * For each line of a head it moves all that it has in its buffer, so it is fed little at a time where heads can be, and
 * heads are limited. */
#include "server/http/parts.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/array.h"
#include "base/field.h"
#include "base/hash.h"
#include "server/http/body.h"
#include "server/http/parts_state.h"

#define MAX_BOUNDARY 70          /* characters (RFC 2046, section 5.1.1) */
#define POST_BUFFER  (16 * 1024) /* of the post processor */
#define HEAD_PIECE   4096        /* bytes that it is fed while no field is under way */
#define MOST_HEADS   2048        /* bytes of the heads and delimiters of a field */
#define FIELD_MARK   '"'         /* no name that the post processor gives has a quote */

static const struct parts_fault fine = {PROBLEM_COUNT, NULL};

static struct parts_fault fail(struct http_parts *p, enum problem_code code, const char *detail) {
    if (p->fault.code == PROBLEM_COUNT)
        p->fault = (struct parts_fault){code, detail};
    return p->fault;
}

/* ---- one part ---------------------------------------------------------------------------------------------------- */

static void hash(struct http_parts *p, const void *bytes, size_t size) {
    if (p->hash != NULL && hash_add(p->hash, bytes, size) != 0)
        fail(p, PROBLEM_INTERNAL_ERROR, NULL);
}

/* "image/PNG; x=y" ──► "image/png". What is no media type is not known. */
static void read_media_type(const char *from, char to[HANDLER_MAX_MEDIA_TYPE + 1]) {
    size_t n = 0;
    to[0] = '\0';
    if (from == NULL)
        return;
    from += strspn(from, " \t");
    for (; from[n] > ' ' && from[n] <= '~' && from[n] != ';' && n < HANDLER_MAX_MEDIA_TYPE; n++)
        to[n] = from[n] >= 'A' && from[n] <= 'Z' ? (char)(from[n] + 'a' - 'A') : from[n];
    to[n] = '\0';
    if (strchr(to, '/') == NULL || strcmp(to, "application/x-www-form-urlencoded") == 0)
        to[0] = '\0'; /* curl says the latter unless it is told otherwise */
}

static void begin_part(struct http_request *r, const char *content_type) {
    struct http_parts *p = r->parts;
    size_t types = p->count;
    if (p->count >= r->http->config.max_parts) {
        fail(p, PROBLEM_BODY_TOO_LARGE, "the request has more data parts than --max-parts allows");
        return;
    }
    if (!http_body_hold(r, sizeof *p->list + sizeof *p->media_types)) {
        fail(p, PROBLEM_OVER_MEMORY, NULL);
        return;
    }
    if (GROW_ARRAY(&p->list, p->count, &p->room) != 0 || GROW_ARRAY(&p->media_types, types, &p->type_room) != 0) {
        fail(p, PROBLEM_INTERNAL_ERROR, NULL);
        return;
    }
    p->list[p->count] = (struct http_part){{NULL, 0, 0}, "", false};
    read_media_type(content_type, p->media_types[p->count]);
    hash(p, p->media_types[p->count], strlen(p->media_types[p->count]) + 1);
    p->count++;
    p->fd = -1;
    p->size = 0;
    p->held = 0;
    buf_clear(&p->small);
}

static bool hold(struct http_request *r, size_t size) {
    r->parts->held += size;
    return http_body_hold(r, size);
}

bool http_parts_go_to_files(const struct http_request *r) {
    return r->parts != NULL && r->parts->to_files && r->http->config.spool_directory != NULL;
}

static int open_spool(const struct http_request *r) {
    if (!http_parts_go_to_files(r))
        return memfd_new("offload-body");
    return open(r->http->config.spool_directory, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
}

static void add_bytes(struct http_request *r, const char *bytes, size_t size) {
    struct http_parts *p = r->parts;
    bool file = http_parts_go_to_files(r);
    hash(p, bytes, size);
    p->size += size;
    if (p->fd < 0 && p->small.size + size <= HTTP_SMALL_BODY) {
        buf_append(&p->small, bytes, size);
        if (p->small.failed || !hold(r, size))
            fail(p, PROBLEM_OVER_MEMORY, NULL);
        return;
    }
    if (p->fd < 0) {
        p->fd = http_body_descriptor(open_spool(r));
        if (p->fd < 0 && errno == EMFILE)
            fail(p, PROBLEM_OVER_MEMORY, http_body_trouble());
        else if (p->fd < 0 || memfd_write(p->fd, p->small.data, p->small.size) != 0)
            fail(p, file ? PROBLEM_STORE_UNAVAILABLE : PROBLEM_OVER_MEMORY, NULL);
        buf_clear(&p->small);
    }
    if (p->fault.code != PROBLEM_COUNT)
        return;
    if (!file && !hold(r, size))
        fail(p, PROBLEM_OVER_MEMORY, NULL);
    else if (memfd_write(p->fd, bytes, size) != 0)
        fail(p, file ? PROBLEM_STORE_UNAVAILABLE : PROBLEM_OVER_MEMORY, NULL);
}

static void end_part(struct http_request *r) {
    struct http_parts *p = r->parts;
    struct http_part *part = &p->list[p->count - 1];
    bool file = http_parts_go_to_files(r);
    struct blob *b = NULL;
    hash(p, &p->size, sizeof p->size);
    if (p->fd < 0) {
        part->bytes = slice_copy(p->small.data, p->small.size);
    } else if (file) {
        b = blob_file(p->fd, (size_t)p->size);
        if (b == NULL)
            close(p->fd);
    } else {
        b = blob_seal_size(p->fd, (size_t)p->size);
        part->own = true;
    }
    if (b != NULL)
        part->bytes = slice_all(b);
    if (part->bytes.blob == NULL)
        fail(p, PROBLEM_OVER_MEMORY, NULL);
    p->fd = -1;
    http_body_hand_over(r, p->held); /* the blob counts itself */
}

/* ---- forms ------------------------------------------------------------------------------------------------------- */

static void end_field(struct http_request *r) {
    if (r->parts->field == FIELD_DATA)
        end_part(r);
    r->parts->field = FIELD_NONE;
}

static void begin_field(struct http_request *r, const char *name, const char *content_type, const char *encoding) {
    struct http_parts *p = r->parts;
    if (encoding != NULL && strcasecmp(encoding, "binary") != 0 && strcasecmp(encoding, "8bit") != 0 &&
        strcasecmp(encoding, "7bit") != 0) {
        fail(p, PROBLEM_BAD_REQUEST, "a field of the form has a Content-Transfer-Encoding, which RFC 7578 forbids");
    } else if (name != NULL && strcmp(name, "data") == 0) {
        p->field = FIELD_DATA;
        begin_part(r, content_type);
    } else if (name != NULL && strcmp(name, "job") == 0 && !p->has_text) {
        p->field = FIELD_TEXT;
        p->has_text = true;
    } else if (name != NULL && strcmp(name, "job") == 0) {
        fail(p, PROBLEM_BAD_REQUEST, "the form has the field \"job\" twice");
    } else {
        fail(p, PROBLEM_BAD_REQUEST,
             "the form has a field with another name: there are \"job\", which is the job as JSON, and \"data\"");
    }
}

/* Marks the name, which the post processor keeps until the field ends, and gives again with each of its pieces. */
static void mark(const char *name) {
    union {
        const char *in;
        char *out;
    } text = {name};
    text.out[0] = FIELD_MARK;
}

static enum MHD_Result on_field(void *cls, enum MHD_ValueKind kind, const char *name, const char *file_name,
                                const char *content_type, const char *encoding, const char *bytes, uint64_t offset,
                                size_t size) {
    struct http_request *r = cls;
    struct http_parts *p = r->parts;
    (void)kind, (void)file_name;
    if (p->fault.code != PROBLEM_COUNT)
        return MHD_NO;
    if (name == NULL || name[0] != FIELD_MARK || p->field == FIELD_NONE) {
        end_field(r);
        begin_field(r, name, content_type, encoding);
        if (p->fault.code == PROBLEM_COUNT)
            mark(name);
        p->field_size = 0;
    } else if (offset == 0 && p->field_size > 0) {
        fail(p, PROBLEM_BAD_REQUEST, "a field of the form is a multipart/mixed of its own, which RFC 7578 forbids");
    }
    p->field_size += size;
    p->taken += size;
    if (p->fault.code == PROBLEM_COUNT && size > 0 && p->field == FIELD_DATA)
        add_bytes(r, bytes, size);
    else if (p->fault.code == PROBLEM_COUNT && size > 0 && !http_body_hold(r, size))
        fail(p, PROBLEM_OVER_MEMORY, NULL);
    else if (p->fault.code == PROBLEM_COUNT && size > 0 && !http_body_keep(r, bytes, size))
        fail(p, PROBLEM_OVER_MEMORY, http_body_trouble());
    return p->fault.code == PROBLEM_COUNT ? MHD_YES : MHD_NO;
}

/* RFC 2046, section 5.1.1. libmicrohttpd takes none of one character. */
static bool is_boundary(const struct field_part *b) {
    for (size_t i = 0; i < b->size; i++)
        if (b->at[i] == '\0' ||
            strchr("0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ'()+_,-./:=? ", b->at[i]) == NULL)
            return false;
    return b->size > 1 && b->size <= MAX_BOUNDARY && b->at[b->size - 1] != ' ';
}

/* libmicrohttpd takes all that follows the first "boundary=" of the Content-Type, other parameters too. So the field is
 * cut off behind the boundary. False: there is no boundary, or libmicrohttpd would take another one. */
static bool cut_content_type(struct http_request *r) {
    union {
        const char *in;
        char *out; /* libmicrohttpd's own memory */
    } type = {http_header(r, MHD_HTTP_HEADER_CONTENT_TYPE)};
    struct field_part rest = {type.in, type.in == NULL ? 0 : strlen(type.in)}, part;
    while (field_next(&rest, ';', &part)) {
        struct field_part name = field_take_name(&part);
        if (!field_is(&name, "boundary"))
            continue;
        bool quoted = part.at[-1] == '"';
        if (!is_boundary(&part) || part.at != name.at + strlen("boundary=") + quoted)
            return false;
        memcpy(type.out + (name.at - type.in), "boundary", name.size); /* in lower case */
        type.out[part.at + part.size + quoted - type.in] = '\0';
        return strstr(type.in, "boundary=") == name.at;
    }
    return false;
}

static struct parts_fault take_form(struct http_request *r, const char *bytes, size_t size) {
    struct http_parts *p = r->parts;
    if (p->post == NULL) {
        if (!cut_content_type(r))
            return fail(p, PROBLEM_BAD_REQUEST, "the Content-Type of the form has no boundary of 2 to 70 characters");
        p->post = MHD_create_post_processor(r->mhd, POST_BUFFER, on_field, r);
        if (p->post == NULL)
            return fail(p, PROBLEM_OVER_MEMORY, NULL);
    }
    while (size > 0 && p->fault.code == PROBLEM_COUNT) {
        size_t piece = size < HEAD_PIECE ? size : HEAD_PIECE;
        if (p->field != FIELD_NONE && p->field_size > 0)
            piece = size;
        if (MHD_post_process(p->post, bytes, piece) != MHD_YES)
            fail(p, PROBLEM_BAD_REQUEST,
                 "the form is broken: a delimiter or the head of a field is not as it should be");
        p->fed += piece;
        if (p->fed - p->taken > MOST_HEADS * (p->count + 2) + POST_BUFFER)
            fail(p, PROBLEM_BAD_REQUEST, "the heads of the form's fields are too long");
        bytes += piece;
        size -= piece;
    }
    return p->fault;
}

/* ---- for receive.c ----------------------------------------------------------------------------------------------- */

struct parts_fault http_parts_take(struct http_request *r, const char *bytes, size_t size) {
    struct http_parts *p = r->parts;
    if (p->kind == HTTP_BODY_FORM)
        return take_form(r, bytes, size);
    if (p->count == 0)
        begin_part(r, http_header(r, MHD_HTTP_HEADER_CONTENT_TYPE));
    if (p->fault.code == PROBLEM_COUNT)
        add_bytes(r, bytes, size);
    return p->fault;
}

static struct parts_fault end_form(struct http_request *r) {
    struct http_parts *p = r->parts;
    if (p->post == NULL)
        return fail(p, PROBLEM_BAD_REQUEST, "the form is empty");
    bool whole = MHD_destroy_post_processor(p->post) == MHD_YES;
    p->post = NULL;
    if (p->fault.code == PROBLEM_COUNT)
        end_field(r);
    if (!whole)
        return fail(p, PROBLEM_BAD_REQUEST, "the form has no end: its last delimiter is missing");
    if (!p->has_text)
        return fail(p, PROBLEM_BAD_REQUEST, "the form has no field \"job\", which is the job as JSON");
    return p->fault;
}

struct parts_fault http_parts_end(struct http_request *r) {
    struct http_parts *p = r->parts;
    if (p->kind == HTTP_BODY_FORM) {
        end_form(r);
    } else {
        if (p->count > 0) /* an empty body is no data part */
            end_part(r);
    }
    if (p->hash != NULL)
        hash_end(p->hash, p->digest);
    p->hash = NULL;
    for (size_t i = 0; i < p->count; i++)
        p->list[i].media_type = p->media_types[i];
    return p->fault;
}

/* ---- http.h ------------------------------------------------------------------------------------------------------ */

void http_take_body(struct http_request *r, enum http_body_kind kind) {
    if (kind == HTTP_BODY_TEXT || r->parts != NULL)
        return;
    r->parts = calloc(1, sizeof *r->parts);
    if (r->parts == NULL) {
        http_reject(r, PROBLEM_OVER_MEMORY, NULL);
        return;
    }
    r->parts->kind = kind;
    r->parts->fault = fine;
    r->parts->fd = -1;
}

void http_spool_to_files(struct http_request *r) {
    if (r->parts != NULL)
        r->parts->to_files = true;
}

void http_hash_data(struct http_request *r) {
    if (r->parts == NULL || r->parts->hash != NULL)
        return;
    r->parts->hash = hash_begin();
    if (r->parts->hash == NULL)
        http_reject(r, PROBLEM_OVER_MEMORY, NULL);
}

uint32_t http_part_count(const struct http_request *r) {
    return r->parts == NULL ? 0 : (uint32_t)r->parts->count;
}

const struct http_part *http_part(const struct http_request *r, uint32_t i) {
    return &r->parts->list[i];
}

const uint8_t *http_data_hash(const struct http_request *r) {
    return r->parts == NULL ? NULL : r->parts->digest;
}
