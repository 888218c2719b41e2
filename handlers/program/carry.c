/* carry.c: see carry.h. Small data are copied into the frame, and large ones are passed as a descriptor, if the program
 * takes some. It runs in workers. */
#include "handlers/program/carry.h"

#include <string.h>
#include <unistd.h>

#include "base/memfd.h"
#include "handlers/host/jsontext.h"

#define INLINE_SIZE (64 * 1024) /* bytes; a descriptor and a mapping cost as much as to copy about so many */

/* ---- one attachment ---------------------------------------------------------------------------------------------- */

static enum carry_outcome no_binary(struct call *c) {
    call_fail(c, CALL_FAILED, NULL, "the program says in its hello that it takes no binary data");
    return CARRY_FAILED;
}

static enum carry_outcome no_memory(struct call *c) {
    call_fail(c, CALL_MEMORY, NULL, "there is no memory for a call of a program");
    return CARRY_FAILED;
}

static bool goes_by_descriptor(const struct carry *k, uint64_t size) {
    return k->frames->takes_fds && size > INLINE_SIZE;
}

static uint64_t aligned(uint64_t size) {
    return (size + FRAME_ALIGN - 1) / FRAME_ALIGN * FRAME_ALIGN;
}

/* Is there room for it in the frame? */
static enum carry_outcome find_room(const struct carry *k, struct call *c, uint64_t size) {
    if (!k->frames->takes_binary)
        return no_binary(c);
    bool fits = goes_by_descriptor(k, size)
                    ? k->fds < FRAME_MAX_FDS
                    : size <= FRAME_MAX_BINARY && aligned(k->inlined) + size <= FRAME_MAX_BINARY;
    if (fits && k->count < CARRY_MAX)
        return CARRY_OK;
    if (k->count > 0 && (size <= FRAME_MAX_BINARY || goes_by_descriptor(k, size)))
        return CARRY_FULL;
    call_fail(c, CALL_FAILED, NULL, "the program takes no descriptors, and so no data of more than %u bytes",
              FRAME_MAX_BINARY);
    return CARRY_FAILED;
}

static void put_inline(struct carry *k, struct carried *one) {
    one->fd = -1;
    one->offset = aligned(k->inlined);
    k->inlined = one->offset + one->size;
}

static enum carry_outcome put_descriptor(struct carry *k, struct call *c, struct carried *one, int fd) {
    if (!frames_attach(k->frames, k->start, fd))
        return no_memory(c);
    one->fd = (int)k->fds++;
    return CARRY_OK;
}

static enum carry_outcome carry_attachment(struct carry *k, struct call *c, uint32_t number, unsigned *place) {
    const struct host_attachment *a = host_call_attachment(c, number);
    if (a == NULL) {
        call_fail(c, CALL_FAILED, NULL, "its data are not there");
        return CARRY_FAILED;
    }
    for (*place = 0; *place < k->count; ++*place)
        if (k->list[*place].from == a)
            return CARRY_OK;
    enum carry_outcome outcome = find_room(k, c, a->size);
    if (outcome != CARRY_OK)
        return outcome;
    struct carried *one = &k->list[k->count];
    *one = (struct carried){.from = a, .number = number, .size = a->size};
    snprintf(one->media_type, sizeof one->media_type, "%s", a->media_type);
    if (goes_by_descriptor(k, a->size)) {
        uint64_t size;
        int fd = call_open(c, number, &one->offset, &size);
        if (fd < 0)
            return CARRY_FAILED;
        outcome = put_descriptor(k, c, one, fd);
    } else {
        one->bytes = (struct bytes){call_map(c, number, 0, (size_t)a->size), (size_t)a->size};
        if (one->bytes.data == NULL)
            return CARRY_FAILED;
        put_inline(k, one);
    }
    k->count += outcome == CARRY_OK;
    return outcome;
}

enum carry_outcome carry_part(struct carry *k, struct call *c, uint32_t number, const char *media_type,
                              struct bytes bytes) {
    enum carry_outcome outcome = find_room(k, c, bytes.size);
    if (outcome == CARRY_FULL) {
        call_fail(c, CALL_FAILED, NULL, "the parts of the job have more binary data than a program can merge");
        return CARRY_FAILED;
    }
    if (outcome != CARRY_OK)
        return outcome;
    struct carried *one = &k->list[k->count];
    *one = (struct carried){.number = number, .bytes = bytes, .size = bytes.size};
    snprintf(one->media_type, sizeof one->media_type, "%s", media_type);
    if (goes_by_descriptor(k, bytes.size)) {
        int fd = memfd_copy("offload-part", bytes.data, bytes.size);
        outcome = fd < 0 ? no_memory(c) : put_descriptor(k, c, one, fd);
    } else {
        put_inline(k, one);
    }
    k->count += outcome == CARRY_OK;
    return outcome;
}

/* ---- parameters -------------------------------------------------------------------------------------------------- */

static bool is_bytes(const struct program_type *t, const struct json_span *name) {
    char text[JSONTEXT_NAME_ROOM];
    scan_string(name, text, sizeof text);
    for (const struct param_spec *p = t->handler.params; p->name != NULL; p++)
        if (strcmp(p->name, text) == 0)
            return p->kind == PARAM_BYTES;
    return false;
}

/* Reads {"part": 3} or {"attachment": 3}: the name is `member`. */
static bool read_number(const struct json_span *value, const char *member, uint32_t *number) {
    struct json_span found = message_member(value, member);
    uint64_t wide;
    bool good = message_u64(&found, &wide) && wide < UINT32_MAX;
    *number = good ? (uint32_t)wide : 0;
    return good;
}

static void put_pair(struct buf *to, const struct json_span *name, const char *before) {
    buf_puts(to, before);
    buf_append(to, name->at, (size_t)(name->end - name->at));
    buf_putc(to, ':');
}

static void put_number(struct buf *to, const char *member, uint32_t number) {
    buf_printf(to, "{\"%s\":%u}", member, number);
}

enum carry_outcome carry_params(struct carry *k, struct call *c, const struct program_type *t, struct bytes params) {
    struct buf *to = &k->frames->out;
    struct json_span name, value;
    const char *at = (const char *)params.data + 1, *end = at - 1 + params.size, *before = "{";
    if (!t->takes_bytes || params.size < 2) {
        buf_append(to, params.data, params.size);
        return CARRY_OK;
    }
    for (; scan_next_member(&at, end, &name, &value); before = ",") {
        uint32_t number;
        unsigned place;
        put_pair(to, &name, before);
        if (!is_bytes(t, &name) || !read_number(&value, "part", &number)) {
            buf_append(to, value.at, (size_t)(value.end - value.at));
            continue;
        }
        enum carry_outcome outcome = carry_attachment(k, c, number, &place);
        if (outcome != CARRY_OK)
            return outcome;
        put_number(to, "attachment", place);
    }
    buf_puts(to, *before == '{' ? "{}" : "}");
    return CARRY_OK;
}

void carry_restore(const struct carry *k, const struct program_type *t, const struct json_span *chunk, struct buf *to) {
    struct json_span name, value;
    const char *before = "{";
    for (const char *at = chunk->at + 1; scan_next_member(&at, chunk->end, &name, &value); before = ",") {
        uint32_t place;
        put_pair(to, &name, before);
        if (is_bytes(t, &name) && read_number(&value, "attachment", &place) && place < k->count)
            put_number(to, "part", k->list[place].number);
        else
            buf_append(to, value.at, (size_t)(value.end - value.at));
    }
    buf_puts(to, *before == '{' ? "{}" : "}");
}

/* ---- the frame --------------------------------------------------------------------------------------------------- */

void carry_put_list(const struct carry *k) {
    struct buf *to = &k->frames->out;
    for (unsigned i = 0; i < k->count; i++) {
        const struct carried *one = &k->list[i];
        buf_puts(to, i == 0 ? ",\"attachments\":[{" : ",{");
        if (one->from == NULL)
            buf_printf(to, "\"part\":%u,", one->number);
        if (one->fd >= 0)
            buf_printf(to, "\"fd\":%d,", one->fd);
        buf_printf(to, "\"offset\":%llu,\"size\":%llu,\"media_type\":", (unsigned long long)one->offset,
                   (unsigned long long)one->size);
        buf_json_string(to, one->media_type, strlen(one->media_type));
        buf_putc(to, '}');
    }
    if (k->count > 0)
        buf_putc(to, ']');
}

void carry_put_bytes(const struct carry *k) {
    static const char zeros[FRAME_ALIGN];
    struct buf *to = &k->frames->out;
    uint64_t at = 0;
    if (k->inlined == 0)
        return;
    frames_begin_binary(k->frames);
    for (unsigned i = 0; i < k->count; i++) {
        const struct carried *one = &k->list[i];
        if (one->fd >= 0)
            continue;
        buf_append(to, zeros, (size_t)(one->offset - at));
        buf_append(to, one->bytes.data, one->bytes.size);
        at = one->offset + one->size;
    }
}
