/* item_text.c: see item_text.h. Front end. Parts were checked by host_count_items when they came, and memfds are
 * sealed, so only the end of a part is checked here. A result is the text of a worker's merge, in which the ends of
 * the items are found again. Whatever it holds, each byte is looked at once, and only as many as there is room for. */
#include "server/api/item_text.h"

#define ITEMS_HEAD   "{\"items\":["
#define RESULTS_HEAD "{\"results\":["
#define ERRORS_HEAD  "],\"errors\":["
#define ERROR_HEAD   "{\"index\":"
#define SUCCEEDED    "\"status\":\"succeeded\""
#define FAILED       "\"status\":\"failed\""

/* ---- text -------------------------------------------------------------------------------------------------------- */

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

/* In a JSON string a line break is an escape (RFC 8259, section 7), so this one stands between tokens. */
static char flat(char c) {
    return c == '\n' || c == '\r' ? ' ' : c;
}

/* Is there a line break among 8 bytes? Hardly ever, so they are looked at together. */
static bool has_break(const char *at) {
    uint64_t bytes, ones = UINT64_C(0x0101010101010101);
    memcpy(&bytes, at, sizeof bytes);
    uint64_t lf = bytes ^ ones * '\n', cr = bytes ^ ones * '\r';
    return ((((lf - ones) & ~lf) | ((cr - ones) & ~cr)) & ones * 0x80) != 0;
}

static void flatten(char *text, size_t size) {
    size_t i = 0;
    while (i < size) {
        size_t stop = size - i < sizeof(uint64_t) ? size : i + sizeof(uint64_t);
        if (stop - i == sizeof(uint64_t) && !has_break(text + i))
            i = stop;
        for (; i < stop; i++)
            text[i] = flat(text[i]);
    }
}

bool span_put_json(struct span *out, const char *bytes, size_t size, size_t *done) {
    char *from = out->at;
    bool all = span_put(out, bytes, size, done);
    flatten(from, (size_t)(out->at - from));
    return all;
}

void json_flatten(struct buf *b, size_t from) {
    if (b->size > from)
        flatten(b->data + from, b->size - from);
}

/* ---- parts ------------------------------------------------------------------------------------------------------- */

static void open_item(struct item_reader *r, uint32_t index, bool ok) {
    r->open = true;
    r->head_done = r->front_done = r->json_done = r->back_done = r->tail_done = 0;
    r->front = r->back = "";
    r->begin(r, index, ok);
}

/* Begins the next entry. False: there is none. */
static bool open_entry(struct item_reader *r, struct bytes part) {
    struct item_entry e;
    const char *json;
    if (host_next_item(part, &r->cursor, &e, &json) != 1)
        return false;
    open_item(r, e.index, e.ok);
    r->json = (size_t)(json - (const char *)part.data) + !e.bare;
    r->size = e.size - !e.bare;
    if (e.bare) {
        r->front = e.ok ? SUCCEEDED ",\"result\":" : FAILED ",\"error\":";
        r->back = "}";
    }
    return true;
}

static bool put_head(struct item_reader *r, struct span *out) {
    return span_put(out, r->head, strlen(r->head), &r->head_done) &&
           span_put(out, r->front, strlen(r->front), &r->front_done);
}

static void put_tail(struct item_reader *r, struct span *out) {
    r->open = !span_put(out, r->back, strlen(r->back), &r->back_done) ||
              !span_put(out, r->tail, strlen(r->tail), &r->tail_done);
}

static void put_entry(struct item_reader *r, struct bytes part, struct span *out) {
    const char *json = (const char *)part.data + r->json;
    if (put_head(r, out) && span_put_json(out, json, r->size, &r->json_done))
        put_tail(r, out);
}

enum items_state items_put_part(struct item_reader *r, const struct slice *part, struct span *out) {
    if (part->size == 0)
        return ITEMS_ALL;
    const struct bytes bytes = {slice_map(part), part->size};
    if (bytes.data == NULL)
        return ITEMS_BAD;
    enum items_state state = ITEMS_MORE;
    while (state == ITEMS_MORE && out->at < out->end) {
        if (r->open || open_entry(r, bytes))
            put_entry(r, bytes, out);
        else
            state = ITEMS_ALL;
    }
    slice_unmap(part, bytes.data);
    return state;
}

void items_skip(struct item_reader *r, const struct slice *part, uint64_t n) {
    struct item_entry e;
    const char *json;
    const struct bytes bytes = {part->size == 0 ? NULL : slice_map(part), part->size};
    if (bytes.data == NULL)
        return;
    while (n > 0 && host_next_item(bytes, &r->cursor, &e, &json) == 1)
        n--;
    slice_unmap(part, bytes.data);
}

void item_reader_rewind(struct item_reader *r) {
    r->cursor = (struct item_cursor){0};
    r->at = 0;
    r->open = false;
}

/* ---- results ----------------------------------------------------------------------------------------------------- */

/* Passes over the text if it stands at the next byte. */
static bool pass(struct item_reader *r, const char *text, size_t size, const char *expected) {
    size_t length = strlen(expected);
    if (size - r->at < length || memcmp(text + r->at, expected, length) != 0)
        return false;
    r->at += length;
    return true;
}

static bool open_list(struct item_reader *r, const char *text, size_t size) {
    r->list = pass(r, text, size, RESULTS_HEAD) ? LIST_OF_RESULTS : LIST_OF_ITEMS;
    return r->list == LIST_OF_RESULTS || pass(r, text, size, ITEMS_HEAD);
}

static enum items_state open_item_element(struct item_reader *r, const char *text, size_t size) {
    if (!pass(r, text, size, "{"))
        return ITEMS_BAD;
    r->scan = (struct value_scan){.depth = 1};
    bool ok = size - r->at >= sizeof SUCCEEDED - 1 && memcmp(text + r->at, SUCCEEDED, sizeof SUCCEEDED - 1) == 0;
    open_item(r, r->index++, ok);
    return ITEMS_MORE;
}

/* Begins a result. Only passes over the null of a call that has failed: its error comes later. */
static enum items_state open_result(struct item_reader *r, const char *text, size_t size) {
    size_t start = r->at;
    if (pass(r, text, size, "null") && r->at < size && (text[r->at] == ',' || text[r->at] == ']')) {
        r->index++;
        return ITEMS_MORE;
    }
    r->at = start + (text[start] == ' '); /* of a call whose result is null */
    if (r->at == size || strchr(" \t\r\n,:]}", text[r->at]) != NULL)
        return ITEMS_BAD; /* no value begins here, and there would be no way on */
    r->scan = (struct value_scan){0};
    open_item(r, r->index++, true);
    r->front = SUCCEEDED ",\"result\":";
    r->back = "}";
    return ITEMS_MORE;
}

static enum items_state open_error(struct item_reader *r, const char *text, size_t size) {
    uint64_t index = 0;
    if (!pass(r, text, size, ERROR_HEAD))
        return ITEMS_BAD;
    for (; r->at < size && text[r->at] >= '0' && text[r->at] <= '9' && index <= UINT32_MAX; r->at++)
        index = index * 10 + (uint64_t)(text[r->at] - '0');
    if (index > UINT32_MAX || !pass(r, text, size, ",\"error\":"))
        return ITEMS_BAD;
    r->scan = (struct value_scan){.depth = 1};
    open_item(r, (uint32_t)index, false);
    r->front = FAILED ",\"error\":";
    return ITEMS_MORE;
}

/* Begins the next element, or finds that there is none. */
static enum items_state open_element(struct item_reader *r, const char *text, size_t size) {
    if (r->at == 0) {
        if (!open_list(r, text, size))
            return ITEMS_BAD;
    } else if (r->at < size && text[r->at] == ',') {
        r->at++;
    }
    if (r->list == LIST_OF_RESULTS && pass(r, text, size, ERRORS_HEAD))
        r->list = LIST_OF_ERRORS;
    if (r->at >= size)
        return ITEMS_BAD;
    if (text[r->at] == ']')
        return r->list == LIST_OF_RESULTS ? ITEMS_BAD : ITEMS_ALL;
    return r->list == LIST_OF_ITEMS     ? open_item_element(r, text, size)
           : r->list == LIST_OF_RESULTS ? open_result(r, text, size)
                                        : open_error(r, text, size);
}

/* Puts what fits of the element. False: the text ends before the element does. */
static bool put_element(struct item_reader *r, const char *text, size_t size, struct span *out) {
    if (!put_head(r, out))
        return true;
    const char *from = text + r->at;
    const char *stop = r->scan.ended ? from : scan_value(&r->scan, from, from + fitting(out, size - r->at));
    r->at += (size_t)(stop - from);
    while (from < stop)
        *out->at++ = flat(*from++);
    if (r->scan.ended)
        put_tail(r, out);
    return r->scan.ended || r->at < size;
}

static enum items_state put_text(struct item_reader *r, const char *text, size_t size, struct span *out) {
    enum items_state state = ITEMS_MORE;
    while (state == ITEMS_MORE && out->at < out->end) {
        if (!r->open)
            state = open_element(r, text, size);
        else if (!put_element(r, text, size, out))
            state = ITEMS_BAD;
    }
    return state;
}

/* ---- results that have an index ---------------------------------------------------------------------------------- */

/* {"result_media_type":"image/png","result_size":7}, without its braces. False: memory ran out. */
static bool name_bytes(struct item_reader *r, const struct host_mixed_item *item) {
    struct buf b = {0};
    buf_puts(&b, SUCCEEDED ",\"result_media_type\":");
    buf_json_string(&b, item->media_type, strlen(item->media_type));
    buf_puts(&b, ",\"result_size\":");
    buf_u64(&b, item->size);
    bool good = !b.failed && b.size < sizeof r->room;
    if (good)
        memcpy(r->room, b.data, b.size + 1);
    buf_deinit(&b);
    return good;
}

static enum items_state open_mixed(struct item_reader *r, const struct record *record) {
    struct host_mixed_item item;
    if (r->index == record->items)
        return ITEMS_ALL;
    if (!result_item(record, r->index, &item))
        return ITEMS_BAD;
    bool json = item.failed || strcmp(item.media_type, "application/json") == 0;
    open_item(r, r->index++, !item.failed);
    r->json = (size_t)item.offset;
    r->size = json ? (size_t)item.size : 0;
    r->back = "}";
    r->front = item.failed ? FAILED ",\"error\":" : json ? SUCCEEDED ",\"result\":" : r->room;
    return json || name_bytes(r, &item) ? ITEMS_MORE : ITEMS_BAD;
}

static enum items_state put_mixed(struct item_reader *r, const struct record *record, struct bytes all,
                                  struct span *out) {
    enum items_state state = ITEMS_MORE;
    while (state == ITEMS_MORE && out->at < out->end) {
        if (r->open)
            put_entry(r, all, out);
        else
            state = open_mixed(r, record);
    }
    return state;
}

/* The summary of a result that is not JSON has the items as a JSON result has them; but it is left out if it is long. */
enum items_state items_put_result(struct item_reader *r, const struct record *record, struct span *out) {
    const struct record_binary *binary = record->binary;
    const struct slice *result = &record->result;
    if (binary != NULL && binary->summary.size > 0)
        return put_text(r, binary->summary.data, binary->summary.size, out);
    const unsigned char *bytes = result->size == 0 ? NULL : slice_map(result);
    if (bytes == NULL)
        return ITEMS_BAD;
    enum items_state state = result_is_mixed(record) ? put_mixed(r, record, (struct bytes){bytes, result->size}, out)
                                                     : put_text(r, (const char *)bytes, result->size, out);
    slice_unmap(result, bytes);
    return state;
}
