/* attach.c: see attach.h. The base64 is RFC 4648, section 4, as nettle decodes it: without white space, with padding or
 * without any. It is decoded piece by piece, so that a long text is never in memory twice.
 *
 * It runs in the front end for small submissions, and in workers for large ones. */
#include "handlers/host/attach.h"

#include <nettle/base64.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/array.h"
#include "base/memfd.h"
#include "handlers/host/attach_value.h"
#include "handlers/host/host.h"
#include "handlers/host/jsontext.h"

#define IN_MEMORY (32 * 1024) /* bytes; more of them go into a memfd */
#define PIECE     (48 * 1024) /* characters that are decoded in one go */

struct lowering {
    const struct params_table *table;
    struct buf *to;
    struct submission *s;
    struct faults *faults;
    size_t extra_room;
    uint32_t parts;
    unsigned char *used; /* by part */
};

/* ---- extras ------------------------------------------------------------------------------------------------------ */

static struct host_extra *add_extra(struct lowering *l, const struct place *at) {
    size_t count = l->s->extra_count;
    struct buf where = {0};
    place_write(&where, at);
    if (where.failed || GROW_ARRAY(&l->s->extras, count, &l->extra_room) != 0) {
        buf_deinit(&where);
        l->to->failed = true;
        return NULL;
    }
    struct host_extra *e = &l->s->extras[l->s->extra_count++];
    *e = (struct host_extra){.fd = -1, .size = UINT64_MAX, .where = buf_steal(&where, NULL)};
    return e;
}

static void put_number(struct lowering *l, uint32_t number) {
    buf_puts(l->to, "{\"part\":");
    buf_u64(l->to, number);
    buf_putc(l->to, '}');
}

static void put_last_extra(struct lowering *l) {
    put_number(l, l->parts + l->s->extra_count - 1);
}

/* ---- base64 ------------------------------------------------------------------------------------------------------ */

struct decoder {
    struct base64_decode_ctx context;
    char piece[PIECE];
    size_t filled;
    struct buf bytes;
    int fd;        /* or -1: all is in `bytes` */
    uint64_t size; /* in all */
    uint64_t characters;
    unsigned padding;
    bool bad, no_memory;
};

static void flush_piece(struct decoder *d) {
    uint8_t out[BASE64_DECODE_LENGTH(PIECE)];
    size_t size = sizeof out;
    if (d->bad || !base64_decode_update(&d->context, &size, out, d->filled, d->piece)) {
        d->bad = true;
        return;
    }
    d->filled = 0;
    d->size += size;
    if (d->fd < 0 && d->bytes.size + size > IN_MEMORY) {
        d->fd = memfd_new("offload-base64");
        d->no_memory |= d->fd < 0 || memfd_write(d->fd, d->bytes.data, d->bytes.size) != 0;
        buf_deinit(&d->bytes);
    }
    if (d->fd >= 0)
        d->no_memory |= memfd_write(d->fd, out, size) != 0;
    else
        buf_append(&d->bytes, out, size);
    d->no_memory |= d->bytes.failed;
}

static bool is_base64(char c) {
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '+' || c == '/';
}

static void take_character(struct decoder *d, char c) {
    d->padding += c == '=';
    d->bad |= !is_base64(c) && c != '=';
    d->bad |= d->padding > 0 && c != '=';
    d->characters++;
    d->piece[d->filled++] = c;
    if (d->filled == PIECE)
        flush_piece(d);
}

/* Decodes a string of JSON. False: it is no base64, or memory ran out; nothing is left then. */
static bool decode(const struct json_span *text, struct decoder *d) {
    const char *at = text->at + 1, *end = text->end - 1;
    char c[4];
    memset(d, 0, sizeof *d);
    base64_decode_init(&d->context);
    d->fd = -1;
    while (at < end && !d->bad && !d->no_memory) {
        d->bad |= scan_char(&at, c) != 1;
        take_character(d, c[0]);
    }
    unsigned missing = d->padding == 0 && d->characters % 4 > 1 ? 4 - (unsigned)(d->characters % 4) : 0;
    while (!d->bad && missing-- > 0)
        take_character(d, '=');
    flush_piece(d);
    d->bad |= d->padding > 2 || !base64_decode_final(&d->context);
    if (!d->bad && !d->no_memory)
        return true;
    if (d->fd >= 0)
        close(d->fd);
    buf_deinit(&d->bytes);
    return false;
}

/* False: the value is to stay as it is. */
static bool lower_base64(struct lowering *l, const struct json_span *value, const struct place *at) {
    struct decoder *d = malloc(sizeof *d);
    bool good = d != NULL && decode(value, d);
    l->to->failed |= d == NULL || d->no_memory;
    struct host_extra *e = good ? add_extra(l, at) : NULL;
    if (e != NULL) {
        e->kind = HOST_EXTRA_BYTES;
        e->bytes = d->bytes;
        e->fd = d->fd;
        e->size = d->size;
        put_last_extra(l);
    } else if (good) {
        if (d->fd >= 0)
            close(d->fd);
        buf_deinit(&d->bytes);
    }
    free(d);
    return e != NULL;
}

/* ---- values ------------------------------------------------------------------------------------------------------- */

static void lower_value(struct lowering *l, const struct json_span *value, const struct place *at) {
    struct attach_named named = {0};
    uint32_t number;
    if (*value->at == '"' && lower_base64(l, value, at))
        return;
    if (*value->at == '{' && attach_read(value, &number) == NULL) {
        if (number < l->parts)
            l->used[number] = 1;
    } else if (*value->at == '{' && attach_read_named(value, &named) == NULL) {
        struct host_extra *e = named.name == NULL ? NULL : add_extra(l, at);
        if (e != NULL) {
            e->kind = named.is_job ? HOST_EXTRA_JOB : HOST_EXTRA_SHM;
            e->name = named.name;
            e->offset = named.offset;
            e->size = named.size;
            put_last_extra(l);
            return;
        }
        free(named.name);
        l->to->failed = true;
    }
    buf_append(l->to, value->at, (size_t)(value->end - value->at));
}

/* ---- calls ------------------------------------------------------------------------------------------------------- */

static bool is_bytes(const struct lowering *l, unsigned row) {
    return row < l->table->rows && l->table->handler->params[row].kind == PARAM_BYTES;
}

static bool is_required(const struct lowering *l, unsigned row) {
    return (l->table->handler->params[row].flags & PARAM_REQUIRED) != 0;
}

static void copy(struct buf *to, const struct json_span *span) {
    buf_append(to, span->at, (size_t)(span->end - span->at));
}

/* How many data parts each call of a map takes: one for each PARAM_BYTES that it must have. */
static uint32_t parts_per_call(const struct lowering *l) {
    uint32_t count = 0;
    for (unsigned row = 0; row < l->table->rows; row++)
        count += is_bytes(l, row) && is_required(l, row);
    return count;
}

/* Gives the parameter of that row a data part. */
static void assign(struct lowering *l, unsigned row, uint32_t part, bool first) {
    const char *name = l->table->handler->params[row].name;
    if (!first)
        buf_putc(l->to, ',');
    buf_json_string(l->to, name, strlen(name));
    buf_putc(l->to, ':');
    put_number(l, part);
    l->used[part] = 1;
}

static uint32_t next_unused(const struct lowering *l) {
    uint32_t part = 0;
    while (part < l->parts && l->used[part] != 0)
        part++;
    return part;
}

/* Lowers the members of an object. Returns the rows that it gives; *forms: those that they leave possible. */
static uint32_t lower_members(struct lowering *l, const struct json_span *object, const struct place *at, bool *first,
                              unsigned *forms) {
    struct json_span name, value;
    char text[JSONTEXT_NAME_ROOM];
    uint32_t given = 0;
    for (const char *next = object->at + 1; scan_next_member(&next, object->end, &name, &value); *first = false) {
        unsigned row = params_find_row(l->table, &name);
        scan_string(&name, text, sizeof text);
        struct place member = {.up = at, .name = text};
        if (!*first)
            buf_putc(l->to, ',');
        copy(l->to, &name);
        buf_putc(l->to, ':');
        if (row < l->table->rows) {
            given |= UINT32_C(1) << row;
            *forms &= params_row_forms(l->table, row);
        }
        if (is_bytes(l, row))
            lower_value(l, &value, &member);
        else
            copy(l->to, &value);
    }
    return given;
}

/* Lowers one call. object->at NULL: it has no parameters. base: of a map, the first data part of the call; else
 * UINT32_MAX. */
static void lower_call(struct lowering *l, const struct json_span *object, const struct place *at, uint32_t base) {
    bool first = true;
    unsigned forms = (1u << l->table->form_count) - 1;
    if (object->at != NULL && *object->at != '{') {
        copy(l->to, object);
        return;
    }
    buf_putc(l->to, '{');
    uint32_t given = object->at == NULL ? 0 : lower_members(l, object, at, &first, &forms), taken = 0;
    for (int required = 1; required >= 0; required--) {
        for (unsigned row = 0; row < l->table->rows; row++) {
            if (!is_bytes(l, row) || is_required(l, row) != (required == 1) || (base != UINT32_MAX && required == 0))
                continue;
            uint32_t part = base != UINT32_MAX ? base + taken++ : next_unused(l);
            if ((given >> row & 1) != 0 || part >= l->parts || (params_row_forms(l->table, row) & forms) == 0)
                continue;
            assign(l, row, part, first);
            first = false;
        }
    }
    buf_putc(l->to, '}');
}

static void lower_items(struct lowering *l, const struct attach_body *body) {
    static const struct place items = {.name = "items"};
    uint32_t each = parts_per_call(l);
    struct place at = {.up = &items};
    struct json_span item;
    if (*body->items.at != '[') {
        copy(l->to, &body->items);
        return;
    }
    buf_putc(l->to, '[');
    for (const char *next = body->items.at + 1; scan_next_element(&next, body->items.end, &item); at.index++) {
        if (at.index > 0)
            buf_putc(l->to, ',');
        uint64_t base = each == l->parts ? 0 : (uint64_t)at.index * each;
        lower_call(l, &item, &at, base < l->parts ? (uint32_t)base : l->parts);
    }
    buf_putc(l->to, ']');
}

/* A column, which is a list of values or one for all calls. */
static void lower_column(struct lowering *l, const struct json_span *value, const struct place *at) {
    struct place element = {.up = at};
    struct json_span one;
    if (*value->at != '[') {
        lower_value(l, value, at);
        return;
    }
    buf_putc(l->to, '[');
    for (const char *next = value->at + 1; scan_next_element(&next, value->end, &one); element.index++) {
        if (element.index > 0)
            buf_putc(l->to, ',');
        lower_value(l, &one, &element);
    }
    buf_putc(l->to, ']');
}

/* The column of a parameter that is not given: the same data part for all calls, or one for each. */
static void assign_column(struct lowering *l, unsigned row, uint32_t taken, uint32_t each, size_t calls, bool first) {
    if (each == l->parts) {
        assign(l, row, taken, first);
        return;
    }
    const char *name = l->table->handler->params[row].name;
    if (!first)
        buf_putc(l->to, ',');
    buf_json_string(l->to, name, strlen(name));
    buf_puts(l->to, ":[");
    for (size_t i = 0; i < calls; i++) {
        uint32_t part = (uint32_t)i * each + taken;
        if (i > 0)
            buf_putc(l->to, ',');
        put_number(l, part);
        l->used[part] = 1;
    }
    buf_putc(l->to, ']');
}

static void lower_columns(struct lowering *l, const struct attach_body *body) {
    static const struct place columns = {.name = "columns"};
    struct json_span name, value;
    char text[JSONTEXT_NAME_ROOM];
    uint32_t given = 0, taken = 0, each = parts_per_call(l);
    bool first = true;
    if (*body->columns.at != '{') {
        copy(l->to, &body->columns);
        return;
    }
    buf_putc(l->to, '{');
    for (const char *next = body->columns.at + 1; scan_next_member(&next, body->columns.end, &name, &value);
         first = false) {
        unsigned row = params_find_row(l->table, &name);
        scan_string(&name, text, sizeof text);
        struct place at = {.up = &columns, .name = text};
        if (!first)
            buf_putc(l->to, ',');
        copy(l->to, &name);
        buf_putc(l->to, ':');
        given |= row < l->table->rows ? UINT32_C(1) << row : 0;
        if (is_bytes(l, row))
            lower_column(l, &value, &at);
        else
            copy(l->to, &value);
    }
    bool fits = l->parts > 0 && (each == l->parts || (uint64_t)body->calls * each == l->parts);
    for (unsigned row = 0; row < l->table->rows; row++) {
        if (!is_bytes(l, row) || !is_required(l, row))
            continue;
        if ((given >> row & 1) == 0 && fits) {
            assign_column(l, row, taken, each, body->calls, first);
            first = false;
        }
        taken++;
    }
    buf_putc(l->to, '}');
}

/* ---- the body ---------------------------------------------------------------------------------------------------- */

static void report_unused(struct lowering *l) {
    static const struct place data = {.name = "data"};
    for (uint32_t i = 0; i < l->parts; i++) {
        struct place at = {.up = &data, .index = i};
        if (l->used[i] == 0)
            faults_add(l->faults, &at, "is used by no parameter");
        if (faults_full(l->faults))
            return;
    }
}

/* Writes one of the three in the place where it stands. */
static void lower_member(struct lowering *l, const struct attach_body *body, const char *at) {
    static const struct place params = {.name = "params"};
    if (at == body->params.at)
        lower_call(l, &body->params, &params, UINT32_MAX);
    else if (at == body->items.at)
        lower_items(l, body);
    else
        lower_columns(l, body);
}

bool attach_lower(const struct params_table *t, const struct attach_body *body, uint32_t parts, struct submission *s,
                  struct faults *faults) {
    struct lowering l = {
        .table = t, .to = &s->text, .s = s, .faults = faults, .parts = parts, .used = calloc(parts + 1, 1)};
    struct json_span name, value;
    bool first = true, any = false;
    if (l.used == NULL)
        return false;
    buf_putc(l.to, '{');
    for (const char *next = body->whole.at + 1; scan_next_member(&next, body->whole.end, &name, &value);
         first = false) {
        if (!first)
            buf_putc(l.to, ',');
        copy(l.to, &name);
        buf_putc(l.to, ':');
        bool calls = value.at == body->params.at || value.at == body->items.at || value.at == body->columns.at;
        any |= calls;
        if (calls)
            lower_member(&l, body, value.at);
        else
            copy(l.to, &value);
    }
    if (!any && parts > 0) {
        static const struct json_span none = {NULL, NULL};
        buf_puts(l.to, first ? "\"params\":" : ",\"params\":");
        lower_call(&l, &none, NULL, UINT32_MAX);
    }
    buf_putc(l.to, '}');
    report_unused(&l);
    free(l.used);
    return !s->text.failed;
}
