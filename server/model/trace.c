/* trace.c: see trace.h. Front end. */
#include "server/model/trace.h"

#include <stdio.h>
#include <string.h>

#include "base/field.h"
#include "base/hex.h"

#define PARENT_LENGTH (TRACE_PARENT_SIZE - 1)
#define MAX_MEMBERS   32         /* of a tracestate (W3C Trace Context, section 3.3.1.1) */
#define MAX_READ      (8 * 1024) /* bytes of tracestate that are looked at */
#define LONG_MEMBER   128        /* bytes; longer members are the first to be left out (section 3.3.1.5) */
#define MAX_NAME      256
#define KNOWN_FLAGS   3 /* sampled and random; the others are to be zero */

/* ---- traceparent ------------------------------------------------------------------------------------------------- */

static bool all_hex(const char *at, size_t n) {
    return strspn(at, "0123456789abcdef") >= n;
}

static bool all_zero(const char *at, size_t n) {
    return strspn(at, "0") >= n;
}

/* A later version has the same fields in front, and what follows them is not known (section 3.2.4). */
static bool is_parent(const char *at, size_t size) {
    if (size < PARENT_LENGTH || at[2] != '-' || at[35] != '-' || at[52] != '-')
        return false;
    if (!all_hex(at, 2) || !all_hex(at + 3, 32) || !all_hex(at + 36, 16) || !all_hex(at + 53, 2))
        return false;
    if (all_zero(at + 3, 32) || all_zero(at + 36, 16) || strncmp(at, "ff", 2) == 0)
        return false;
    return size == PARENT_LENGTH || (strncmp(at, "00", 2) != 0 && at[PARENT_LENGTH] == '-');
}

void trace_add_parent(struct trace_reader *t, const char *line) {
    struct field_part value = field_trim(line, strlen(line));
    t->parent[0] = '\0';
    if (t->parents++ > 0 || !is_parent(value.at, value.size))
        return;
    int flags = (16 * hex_value(value.at[53]) + hex_value(value.at[54])) & KNOWN_FLAGS;
    memcpy(t->parent, "00", 2);
    memcpy(t->parent + 2, value.at + 2, 51);
    snprintf(t->parent + 53, 3, "%02x", (unsigned)flags);
}

/* ---- tracestate -------------------------------------------------------------------------------------------------- */

static bool is_name(const struct field_part *name) {
    return name->size > 0 && name->size <= MAX_NAME &&
           strspn(name->at, "abcdefghijklmnopqrstuvwxyz0123456789_-*/@") >= name->size &&
           strchr("_-*/@", name->at[0]) == NULL;
}

static bool is_member(const struct field_part *member) {
    const char *equals = memchr(member->at, '=', member->size);
    if (equals == NULL)
        return false;
    struct field_part name = {member->at, (size_t)(equals - member->at)};
    size_t size = member->size - name.size - 1;
    if (!is_name(&name) || size == 0 || size > MAX_NAME)
        return false;
    for (size_t i = 1; i <= size; i++)
        if (equals[i] < ' ' || equals[i] > '~' || equals[i] == '=')
            return false;
    return true;
}

/* Takes the next member. A tracestate has no quoted strings. */
static bool next_member(struct field_part *rest, struct field_part *member) {
    while (rest->size > 0) {
        const char *comma = memchr(rest->at, ',', rest->size);
        size_t n = comma == NULL ? rest->size : (size_t)(comma - rest->at), passed = comma == NULL ? n : n + 1;
        *member = field_trim(rest->at, n);
        rest->at += passed;
        rest->size -= passed;
        if (member->size > 0)
            return true;
    }
    return false;
}

/* The bytes of the members with commas between them; 0 if one of them is malformed, or there are too many. */
static size_t measure(struct field_part rest) {
    struct field_part member;
    size_t size = 0;
    unsigned count = 0;
    while (next_member(&rest, &member)) {
        if (!is_member(&member) || ++count > MAX_MEMBERS)
            return 0;
        size += member.size + (size > 0);
    }
    return size;
}

static void put_members(char *to, struct field_part rest, bool with_long) {
    struct field_part member;
    size_t size = 0;
    while (next_member(&rest, &member)) {
        if (!with_long && member.size > LONG_MEMBER)
            continue;
        if (size + (size > 0) + member.size > TRACE_STATE_MAX)
            break;
        if (size > 0)
            to[size++] = ',';
        memcpy(to + size, member.at, member.size);
        size += member.size;
    }
    to[size] = '\0';
}

void trace_add_state(struct trace_reader *t, const char *line) {
    if (t->state.size > 0)
        buf_putc(&t->state, ',');
    buf_puts(&t->state, line);
}

/* ---- the text ---------------------------------------------------------------------------------------------------- */

const char *trace_text(struct trace_reader *t) {
    char state[TRACE_STATE_MAX + 1] = "";
    if (t->parent[0] == '\0')
        return NULL;
    struct field_part all = {t->state.data, t->state.failed || t->state.size > MAX_READ ? 0 : t->state.size};
    size_t size = all.size == 0 ? 0 : measure(all);
    if (size > 0)
        put_members(state, all, size <= TRACE_STATE_MAX);
    buf_clear(&t->state);
    if (state[0] == '\0')
        return t->parent;
    buf_puts(&t->state, t->parent);
    buf_putc(&t->state, ' ');
    buf_puts(&t->state, state);
    return t->state.failed ? t->parent : t->state.data;
}

void trace_deinit(struct trace_reader *t) {
    buf_deinit(&t->state);
}

const char *trace_parent(const char *text, char parent[TRACE_PARENT_SIZE]) {
    if (text == NULL || text[0] == '\0')
        return NULL;
    snprintf(parent, TRACE_PARENT_SIZE, "%s", text);
    return parent;
}

const char *trace_state(const char *text) {
    const char *space = text == NULL ? NULL : strchr(text, ' ');
    return space == NULL ? NULL : space + 1;
}
