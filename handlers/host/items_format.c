/* items_format.c: the layout of items (items_format.h), and the reading of parts (host.h). It runs in the front end and
 * in workers. */
#include "handlers/host/items_format.h"

const struct place items_place = {.name = "items"};
const struct place columns_place = {.name = "columns"};

struct place items_place_of(const struct handler *handler, const struct planned_item *item) {
    static const struct param_spec none[1];
    if (!item->by_columns)
        return (struct place){.up = &items_place, .index = item->index};
    return (struct place){.up = &columns_place,
                          .index = item->index,
                          .columns = handler->params != NULL ? handler->params : none,
                          .lists = item->lists};
}

void items_pad(struct buf *to, size_t size) {
    static const char zeros[8];
    buf_append(to, zeros, ITEMS_PAD(size) - size);
}

int items_report_damage(struct fault *fault, const char *what) {
    return fault_set(fault, "handler_failed", "the %s of the map are damaged", what);
}

bool blobs_view(struct bytes part, struct blobs_view *v) {
    struct blobs_head head;
    *v = (struct blobs_view){.whole = part, .text = part};
    if (part.size < sizeof head)
        return true;
    memcpy(&head, part.data, sizeof head);
    if (head.part.form != PART_WITH_BLOBS)
        return true;
    if (head.part.count != 0 || head.text > part.size || head.text_size > part.size - head.text ||
        head.rows > part.size || head.count > (part.size - head.rows) / sizeof(struct blob_row) || head.text % 8 != 0)
        return false;
    v->text = (struct bytes){(const char *)part.data + head.text, (size_t)head.text_size};
    v->rows = (const char *)part.data + head.rows;
    v->count = head.count;
    return true;
}

/* Takes `size` bytes of a text from *at on, behind a comma unless they are the first, and moves *at behind them. NULL:
 * they are not there. */
static const char *take_text(const char *text, size_t text_size, size_t *at, size_t size) {
    size_t start = *at + (*at > 0); /* a comma stands between two */
    if (start > text_size || size > text_size - start || (start > *at && text[*at] != ','))
        return NULL;
    *at = start + size;
    return text + start;
}

static int next_of_items(struct bytes part, const struct part_head *head, struct item_cursor *at,
                         struct item_entry *entry, const char **json) {
    const char *bytes = part.data;
    struct part_entry row;
    if (head->count > (part.size - sizeof *head) / sizeof row)
        return -1;
    const size_t front = sizeof *head + head->count * sizeof row, size = part.size - front;
    if (at->next >= head->count)
        return at->next == head->count && at->text == size ? 0 : -1;
    memcpy(&row, bytes + sizeof *head + at->next * sizeof row, sizeof row);
    *json = row.size < 2 ? NULL : take_text(bytes + front, size, &at->text, row.size);
    *entry = (struct item_entry){.index = row.index, .size = row.size, .ok = row.failed == 0};
    return *json != NULL && **json == '{' ? 1 : -1;
}

/* Makes *json, an entry of the second text, the problem within it. False: it is no such entry. */
static bool find_problem(const char **json, struct item_entry *entry) {
    static const char name[] = "{\"index\":", error[] = ",\"error\":";
    char front[sizeof name + sizeof error + 20], *end = front + sizeof name - 1;
    memcpy(front, name, sizeof name);
    end = digits_write(end, entry->index);
    memcpy(end, error, sizeof error);
    size_t size = (size_t)(end + sizeof error - 1 - front);
    if (entry->size < size + 3 || memcmp(*json, front, size) != 0 || (*json)[size] != '{')
        return false;
    *json += size;
    entry->size -= (uint32_t)size + 1;
    return true;
}

static int next_of_columns(struct bytes part, struct item_cursor *at, struct item_entry *entry, const char **json) {
    const char *bytes = part.data;
    struct columns_head head;
    struct columns_entry row;
    if (part.size < sizeof head)
        return -1;
    memcpy(&head, bytes, sizeof head);
    if (head.zero != 0 || head.part.count > (part.size - sizeof head) / sizeof row)
        return -1;
    const size_t front = sizeof head + head.part.count * sizeof row;
    if (head.text > part.size - front || head.first > UINT32_MAX - head.part.count)
        return -1;
    const size_t errors = part.size - front - (size_t)head.text;
    const char *text = bytes + front;
    if (at->next >= head.part.count)
        return at->next == head.part.count && at->text == head.text && at->errors == errors ? 0 : -1;
    memcpy(&row, bytes + sizeof head + at->next * sizeof row, sizeof row);
    *entry = (struct item_entry){.index = head.first + at->next, .size = row.size, .ok = row.failed == 0, .bare = true};
    *json = row.size == 0 ? NULL : take_text(text, (size_t)head.text, &at->text, row.failed ? 4 : row.size);
    if (*json == NULL)
        return -1;
    if (row.failed) {
        bool is_null = memcmp(*json, "null", 4) == 0;
        *json = take_text(text + head.text, errors, &at->errors, row.size);
        return is_null && *json != NULL && find_problem(json, entry) ? 1 : -1;
    }
    bool marked = row.size == 5 && **json == ' '; /* null */
    *json += marked;
    entry->size -= marked;
    return 1;
}

int host_next_item(struct bytes part, struct item_cursor *at, struct item_entry *entry, const char **json) {
    struct part_head head;
    if (part.size == 0)
        return 0;
    if (part.size < sizeof head)
        return -1;
    memcpy(&head, part.data, sizeof head);
    if (head.form == PART_WITH_BLOBS) {
        struct blobs_view v;
        if (!blobs_view(part, &v) || v.text.size < sizeof head)
            return -1;
        part = v.text;
        memcpy(&head, part.data, sizeof head);
    }
    int got = head.form == PART_OF_ITEMS     ? next_of_items(part, &head, at, entry, json)
              : head.form == PART_OF_COLUMNS ? next_of_columns(part, at, entry, json)
                                             : -1;
    at->next += got == 1;
    return got;
}

int64_t host_count_items(struct bytes part, uint32_t items) {
    struct item_entry entry;
    struct item_cursor at = {0};
    const char *json;
    int got = host_next_item(part, &at, &entry, &json);
    while (got == 1 && entry.index < items)
        got = host_next_item(part, &at, &entry, &json);
    return got == 0 ? (int64_t)at.next : -1;
}
