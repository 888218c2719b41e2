/* items_blobs.c: see items_blobs.h. */
#include "handlers/host/items_blobs.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/sendfile.h>
#include <unistd.h>

#include "base/array.h"
#include "base/memfd.h"

static const char zeros[8];

/* Appends to the memfd. */
static bool append(struct blobs *b, const void *bytes, size_t size) {
    if (memfd_write(b->fd, bytes, size) != 0 || memfd_write(b->fd, zeros, ITEMS_PAD(size) - size) != 0)
        return false;
    b->size += ITEMS_PAD(size);
    return true;
}

static bool append_from(struct blobs *b, int fd, uint64_t offset, uint64_t size) {
    off_t from = (off_t)offset;
    for (uint64_t left = size; left > 0;) {
        ssize_t n = sendfile(b->fd, fd, &from, left < (1 << 30) ? (size_t)left : 1 << 30);
        if (n <= 0)
            return false;
        left -= (uint64_t)n;
    }
    if (memfd_write(b->fd, zeros, (size_t)(-size & 7)) != 0)
        return false;
    b->size += size + (-size & 7);
    return true;
}

static bool begin(struct blobs *b) {
    static const struct blobs_head blank;
    if (b->open)
        return true;
    b->fd = memfd_new("offload-part");
    b->open = b->fd >= 0;
    return b->open && append(b, &blank, sizeof blank);
}

bool blobs_add(struct blobs *b, uint32_t index, const char *media_type, const void *bytes, int fd, uint64_t offset,
               uint64_t size) {
    if (!begin(b) || GROW_ARRAY(&b->rows, b->count, &b->room) != 0)
        return false;
    struct blob_row *row = &b->rows[b->count];
    *row = (struct blob_row){.index = index, .offset = b->size, .size = size};
    snprintf(row->media_type, sizeof row->media_type, "%s", media_type);
    bool ok = fd >= 0 ? append_from(b, fd, offset, size) : append(b, (const char *)bytes + offset, (size_t)size);
    b->count += ok;
    return ok;
}

bool blobs_finish(struct blobs *b, const struct buf *text, struct host_output *out) {
    struct blobs_head head = {
        .part = {.form = PART_WITH_BLOBS}, .text = b->size, .text_size = text->size, .count = b->count};
    if (!append(b, text->data, text->size))
        return false;
    head.rows = b->size;
    if (!append(b, b->rows, b->count * sizeof *b->rows) || pwrite(b->fd, &head, sizeof head, 0) != sizeof head)
        return false;
    out->has_fd = true;
    out->fd = b->fd;
    out->offset = 0;
    out->size = b->size;
    b->open = false;
    return true;
}

void blobs_deinit(struct blobs *b) {
    if (b->open)
        close(b->fd);
    free(b->rows);
    memset(b, 0, sizeof *b);
}

/* ---- the result -------------------------------------------------------------------------------------------------- */

#define MIXED_MAGIC UINT64_C(0x4F464C4D49584401)
#define MAX_TYPES   256 /* media types in one result; more items than that are application/octet-stream */

struct mixed_row {
    uint64_t offset, size;
    uint32_t type, failed;
};
struct mixed_type {
    char name[HANDLER_MAX_MEDIA_TYPE + 1];
};
struct mixed_foot {
    uint64_t magic, document; /* bytes of the document */
    uint32_t count, types;
};
_Static_assert(sizeof(struct mixed_row) == 24 && sizeof(struct mixed_foot) == 24, "there is no padding");

struct mixer {
    struct blobs file;
    struct buf head; /* what is not written yet */
    char boundary[48];
    struct mixed_row *rows;
    size_t count, room;
    struct mixed_type types[MAX_TYPES];
    uint32_t type_count;
    bool failed;
};

static void flush(struct mixer *m) {
    m->failed |= m->head.failed || memfd_write(m->file.fd, m->head.data, m->head.size) != 0;
    m->file.size += m->head.size;
    buf_clear(&m->head);
}

static uint32_t type_number(struct mixer *m, const char *name) {
    uint32_t i = 0;
    while (i < m->type_count && strcmp(m->types[i].name, name) != 0)
        i++;
    if (i < m->type_count)
        return i;
    if (i + 1 >= MAX_TYPES) {
        snprintf(m->types[MAX_TYPES - 1].name, sizeof m->types[0].name, "application/octet-stream");
        m->type_count = MAX_TYPES;
        return MAX_TYPES - 1;
    }
    snprintf(m->types[i].name, sizeof m->types[i].name, "%s", name);
    return m->type_count++;
}

/* One item, with its head. */
static void mix(struct mixer *m, const char *media_type, const void *bytes, size_t size, bool failed) {
    size_t count = m->count;
    buf_printf(&m->head, "%s--%s\r\nContent-Type: %s\r\nContent-ID: <%zu>\r\nContent-Length: %zu\r\n\r\n",
               count > 0 ? "\r\n" : "", m->boundary, media_type, count, size);
    flush(m);
    if (GROW_ARRAY(&m->rows, m->count, &m->room) != 0) {
        m->failed = true;
        return;
    }
    m->rows[m->count++] = (struct mixed_row){m->file.size, size, type_number(m, media_type), failed};
    m->failed |= memfd_write(m->file.fd, bytes, size) != 0;
    m->file.size += size;
}

/* What an item has in its JSON: its result, or its problem. */
static struct bytes value_of(const struct item_entry *e, const char *json) {
    static const char good[] = "{\"status\":\"succeeded\",\"result\":", bad[] = "{\"status\":\"failed\",\"error\":";
    const char *prefix = e->ok ? good : bad;
    size_t size = strlen(prefix);
    if (e->bare || e->size <= size || memcmp(json, prefix, size) != 0)
        return (struct bytes){json, e->size};
    return (struct bytes){json + size, e->size - size - 1};
}

static bool mix_part(struct mixer *m, struct bytes part) {
    struct blobs_view v;
    struct item_entry entry;
    struct item_cursor at = {0};
    const char *json;
    int got = -1;
    uint64_t next = 0;
    if (!blobs_view(part, &v))
        return false;
    while (!m->failed && (got = host_next_item(v.text, &at, &entry, &json)) == 1) {
        struct blob_row row = {0};
        if (next < v.count)
            memcpy(&row, v.rows + next * sizeof row, sizeof row);
        if (next < v.count && row.index == entry.index && entry.ok) {
            row.media_type[HANDLER_MAX_MEDIA_TYPE] = '\0';
            if (row.offset > part.size || row.size > part.size - row.offset)
                return false;
            mix(m, row.media_type, (const char *)part.data + row.offset, (size_t)row.size, false);
            next++;
            continue;
        }
        struct bytes value = value_of(&entry, json);
        mix(m, entry.ok ? "application/json" : "application/problem+json", value.data, value.size, !entry.ok);
    }
    return got == 0 && next == v.count;
}

static void end_mixed(struct mixer *m) {
    struct mixed_foot foot = {.magic = MIXED_MAGIC, .count = (uint32_t)m->count, .types = m->type_count};
    buf_printf(&m->head, "%s--%s--\r\n", m->count > 0 ? "\r\n" : "", m->boundary);
    flush(m);
    foot.document = m->file.size;
    buf_append(&m->head, zeros, -m->file.size & 7);
    buf_append(&m->head, m->rows, m->count * sizeof *m->rows);
    buf_append(&m->head, m->types, m->type_count * sizeof *m->types);
    buf_append(&m->head, &foot, sizeof foot);
    flush(m);
}

int blobs_merge(const struct bytes *parts, size_t count, struct host_output *out, struct fault *fault) {
    struct mixer *m = calloc(1, sizeof *m);
    uint64_t random[2];
    bool good = true;
    if (m == NULL)
        return fault_set(fault, "memory_limit", "there is no memory for the result");
    m->file.fd = memfd_new("offload-result");
    m->failed = m->file.fd < 0 || getrandom(random, sizeof random, 0) != sizeof random;
    snprintf(m->boundary, sizeof m->boundary, "offload-%016llx%016llx", (unsigned long long)random[0],
             (unsigned long long)random[1]);
    for (size_t i = 0; good && !m->failed && i < count; i++)
        good = parts[i].size == 0 || mix_part(m, parts[i]);
    if (good && !m->failed)
        end_mixed(m);
    if (good && !m->failed) {
        out->source = HOST_SOURCE_BYTES;
        out->has_fd = true;
        out->fd = m->file.fd;
        out->offset = 0;
        out->size = m->file.size;
        snprintf(out->media_type, sizeof out->media_type, HOST_MIXED_PREFIX "%s", m->boundary);
    } else if (m->file.fd >= 0) {
        close(m->file.fd);
    }
    int rc = !good       ? items_report_damage(fault, "parts")
             : m->failed ? fault_set(fault, "memory_limit", "there is no memory for the result")
                         : 0;
    buf_deinit(&m->head);
    free(m->rows);
    free(m);
    return rc;
}

/* ---- reading the result (host.h) --------------------------------------------------------------------------------- */

static int read_foot(const struct host_reader *r, struct mixed_foot *foot) {
    if (r->size < sizeof *foot || r->read(r->arg, r->size - sizeof *foot, foot, sizeof *foot) != 0 ||
        foot->magic != MIXED_MAGIC || foot->types > MAX_TYPES)
        return -1;
    uint64_t behind = foot->count * sizeof(struct mixed_row) + foot->types * sizeof(struct mixed_type) + sizeof *foot;
    return behind <= r->size && foot->document <= r->size - behind ? 0 : -1;
}

int host_mixed_size(const struct host_reader *r, uint64_t *document, uint32_t *items) {
    struct mixed_foot foot;
    if (read_foot(r, &foot) != 0)
        return -1;
    *document = foot.document;
    *items = foot.count;
    return 0;
}

int host_mixed_item(const struct host_reader *r, uint32_t index, struct host_mixed_item *out) {
    struct mixed_foot foot;
    struct mixed_row row;
    struct mixed_type type;
    if (read_foot(r, &foot) != 0 || index >= foot.count)
        return -1;
    uint64_t types = r->size - sizeof foot - foot.types * sizeof type, rows = types - foot.count * sizeof row;
    if (r->read(r->arg, rows + index * sizeof row, &row, sizeof row) != 0 || row.type >= foot.types ||
        row.offset > foot.document || row.size > foot.document - row.offset ||
        r->read(r->arg, types + row.type * sizeof type, &type, sizeof type) != 0)
        return -1;
    *out = (struct host_mixed_item){.offset = row.offset, .size = row.size, .failed = row.failed != 0};
    for (size_t i = 0; i < HANDLER_MAX_MEDIA_TYPE && type.name[i] >= ' ' && type.name[i] <= '~'; i++)
        out->media_type[i] = type.name[i];
    return 0;
}
