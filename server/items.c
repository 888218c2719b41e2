/* items.c: see items.h. Front end. Parts were checked by items_count when they came, and memfds are sealed, so walking
 * one needs only a look at where it ends. A result is the text of a worker's merge, found again bracket by bracket:
 * whatever it holds, each byte is looked at once, and no more of them than there is room. */
#include "server/items.h"

#include "pool/wire.h"

#define RESULT_HEAD "{\"items\":["
#define SUCCEEDED "\"status\":\"succeeded\""

/* ---- text ------------------------------------------------------------------------------------------------------ */

static size_t fitting(const struct span *out, size_t size) {
    size_t room = (size_t)(out->end - out->at);
    return size < room ? size : room;
}

bool span_put(struct span *out, const char *bytes, size_t size, size_t *done) {
    size_t n = fitting(out, size - *done);
    if (n > 0)
        memcpy(out->at, bytes + *done, n);
    out->at += n;
    *done += n;
    return *done == size;
}

/* Within a string a line break would have been an escape, so this one stands between tokens. */
static char flat(char c) {
    return c == '\n' || c == '\r' ? ' ' : c;
}

bool span_put_json(struct span *out, const char *bytes, size_t size, size_t *done) {
    size_t n = fitting(out, size - *done);
    for (size_t i = 0; i < n; i++)
        out->at[i] = flat(bytes[*done + i]);
    out->at += n;
    *done += n;
    return *done == size;
}

void json_flatten(struct buf *b, size_t from) {
    for (size_t i = from; i < b->size; i++)
        b->data[i] = flat(b->data[i]);
}

/* ---- parts ----------------------------------------------------------------------------------------------------- */

/* The entry at `at`: 1; 0: the part ends there; -1: neither. */
static int read_entry(const unsigned char *part, size_t size, size_t at, struct item_entry *e) {
    if (at == size)
        return 0;
    if (size - at < sizeof *e)
        return -1;
    memcpy(e, part + at, sizeof *e);
    size_t room = size - at - sizeof *e;
    return e->size >= 2 && WIRE_PAD(e->size) <= room && part[at + sizeof *e] == '{' ? 1 : -1;
}

static size_t entry_size(const struct item_entry *e) {
    return sizeof *e + WIRE_PAD(e->size);
}

int64_t items_count(const struct slice *part, uint32_t items) {
    struct item_entry e;
    int64_t count = 0;
    int rc = 0;
    if (part->size == 0)
        return 0;
    const unsigned char *bytes = slice_map(part);
    if (bytes == NULL)
        return -1;
    for (size_t at = 0; (rc = read_entry(bytes, part->size, at, &e)) == 1; at += entry_size(&e)) {
        if (e.index >= items) {
            rc = -1;
            break;
        }
        count++;
    }
    slice_unmap(part, bytes);
    return rc < 0 ? -1 : count;
}

static void open_item(struct item_reader *r, uint32_t index, bool ok) {
    r->open = true;
    r->head_done = r->json_done = r->tail_done = 0;
    r->begin(r, index, ok);
}

/* Begins with the next entry; false if there is none. */
static bool open_entry(struct item_reader *r, const unsigned char *part, size_t size) {
    struct item_entry e;
    if (read_entry(part, size, r->at, &e) != 1)
        return false;
    r->at += sizeof e + 1;
    r->size = e.size - 1;
    open_item(r, e.index, e.ok == 1);
    return true;
}

static void put_entry(struct item_reader *r, const char *part, struct span *out) {
    if (!span_put(out, r->head, strlen(r->head), &r->head_done) ||
        !span_put_json(out, part + r->at, r->size, &r->json_done) ||
        !span_put(out, r->tail, strlen(r->tail), &r->tail_done))
        return;
    r->open = false;
    r->at += WIRE_PAD(r->size + 1) - 1;
}

enum items_state items_put_part(struct item_reader *r, const struct slice *part, struct span *out) {
    if (part->size == 0)
        return ITEMS_ALL;
    const unsigned char *bytes = slice_map(part);
    if (bytes == NULL)
        return ITEMS_BAD;
    enum items_state state = ITEMS_MORE;
    while (state == ITEMS_MORE && out->at < out->end) {
        if (r->open || open_entry(r, bytes, part->size))
            put_entry(r, (const char *)bytes, out);
        else
            state = ITEMS_ALL;
    }
    slice_unmap(part, bytes);
    return state;
}

void items_skip(struct item_reader *r, const struct slice *part, uint64_t n) {
    struct item_entry e;
    const unsigned char *bytes = part->size == 0 ? NULL : slice_map(part);
    if (bytes == NULL)
        return;
    for (; n > 0 && read_entry(bytes, part->size, r->at, &e) == 1; n--)
        r->at += entry_size(&e);
    slice_unmap(part, bytes);
}

void item_reader_rewind(struct item_reader *r) {
    r->at = 0;
    r->open = false;
}

/* ---- results ------------------------------------------------------------------------------------------------------ */

/* Begins with the next element, or finds that there is none. */
static enum items_state open_element(struct item_reader *r, const char *text, size_t size) {
    if (r->at == 0) {
        if (size < sizeof RESULT_HEAD - 1 || memcmp(text, RESULT_HEAD, sizeof RESULT_HEAD - 1) != 0)
            return ITEMS_BAD;
        r->at = sizeof RESULT_HEAD - 1;
    } else if (r->at < size && text[r->at] == ',') {
        r->at++;
    }
    if (r->at < size && text[r->at] == ']')
        return ITEMS_ALL;
    if (r->at >= size || text[r->at] != '{')
        return ITEMS_BAD;
    r->at++;
    r->depth = 1;
    r->in_string = r->escaped = false;
    bool ok = size - r->at >= sizeof SUCCEEDED - 1 && memcmp(text + r->at, SUCCEEDED, sizeof SUCCEEDED - 1) == 0;
    open_item(r, r->index++, ok);
    return ITEMS_MORE;
}

/* Follows strings and brackets by one byte. */
static void follow(struct item_reader *r, char c) {
    if (r->escaped)
        r->escaped = false;
    else if (r->in_string && c == '\\')
        r->escaped = true;
    else if (c == '"')
        r->in_string = !r->in_string;
    else if (!r->in_string && (c == '{' || c == '['))
        r->depth++;
    else if (!r->in_string && (c == '}' || c == ']'))
        r->depth--;
}

/* What fits up to the element's end; false if the text ends before it does. */
static bool put_element(struct item_reader *r, const char *text, size_t size, struct span *out) {
    if (!span_put(out, r->head, strlen(r->head), &r->head_done))
        return true;
    while (r->depth > 0 && r->at < size && out->at < out->end) {
        char c = text[r->at++];
        follow(r, c);
        *out->at++ = flat(c);
    }
    if (r->depth == 0)
        r->open = !span_put(out, r->tail, strlen(r->tail), &r->tail_done);
    return r->depth == 0 || r->at < size;
}

enum items_state items_put_result(struct item_reader *r, const struct slice *result, struct span *out) {
    const unsigned char *bytes = result->size == 0 ? NULL : slice_map(result);
    if (bytes == NULL)
        return ITEMS_BAD;
    const char *text = (const char *)bytes;
    enum items_state state = ITEMS_MORE;
    while (state == ITEMS_MORE && out->at < out->end) {
        if (!r->open)
            state = open_element(r, text, result->size);
        else if (!put_element(r, text, result->size, out))
            state = ITEMS_BAD;
    }
    slice_unmap(result, bytes);
    return state;
}
