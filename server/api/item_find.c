/* item_find.c: see item_find.h. Front end. The text is of a worker's merge, so nothing of it is trusted. */
#include "server/api/item_find.h"

#include <string.h>

#define ITEMS_HEAD   "{\"items\":["
#define RESULTS_HEAD "{\"results\":["
#define ERRORS_HEAD  "],\"errors\":["
#define SUCCEEDED    "{\"status\":\"succeeded\",\"result\":"
#define FAILED       "{\"status\":\"failed\",\"error\":"
#define ERROR_HEAD   "{\"index\":"
#define ERROR_NAME   ",\"error\":"

/* Passes over the word if it stands there. */
static bool pass(const char *text, size_t size, size_t *at, const char *word) {
    size_t length = strlen(word);
    if (size - *at < length || memcmp(text + *at, word, length) != 0)
        return false;
    *at += length;
    return true;
}

/* What stands between `from` and the last brace of an element. */
static enum item_found found(struct item_search *s, size_t from, enum item_found what) {
    if (from + 1 >= s->done)
        return ITEM_BAD;
    s->at = from;
    s->size = s->done - 1 - from;
    return what;
}

/* An element of "items" is whole. */
static enum item_found end_item(struct item_search *s, const char *text) {
    size_t at = s->from;
    if (s->next++ != s->index)
        return ITEM_UNDECIDED;
    if (pass(text, s->done, &at, SUCCEEDED))
        return found(s, at, ITEM_RESULT);
    return pass(text, s->done, &at, FAILED) ? found(s, at, ITEM_ERROR) : ITEM_BAD;
}

/* An element of "results": `null` stands for a call that has failed, and ` null` for a result that is null. */
static enum item_found end_result(struct item_search *s, const char *text) {
    if (s->next++ != s->index)
        return ITEM_UNDECIDED;
    if (s->done - s->from == 4 && memcmp(text + s->from, "null", 4) == 0)
        return ITEM_UNDECIDED; /* its problem comes later */
    s->at = s->from + (text[s->from] == ' ');
    s->size = s->done - s->at;
    return s->size > 0 ? ITEM_RESULT : ITEM_BAD;
}

static enum item_found end_error(struct item_search *s, const char *text) {
    size_t at = s->from;
    uint64_t index = 0;
    if (!pass(text, s->done, &at, ERROR_HEAD))
        return ITEM_BAD;
    for (; at < s->done && text[at] >= '0' && text[at] <= '9' && index <= UINT32_MAX; at++)
        index = index * 10 + (uint64_t)(text[at] - '0');
    if (!pass(text, s->done, &at, ERROR_NAME))
        return ITEM_BAD;
    return index == s->index ? found(s, at, ITEM_ERROR) : ITEM_UNDECIDED;
}

static enum item_found end_element(struct item_search *s, const char *text) {
    s->open = false;
    return s->list == FIND_ITEMS     ? end_item(s, text)
           : s->list == FIND_RESULTS ? end_result(s, text)
                                     : end_error(s, text);
}

static bool begin_list(struct item_search *s, const char *text, size_t size) {
    if (pass(text, size, &s->done, ITEMS_HEAD))
        s->list = FIND_ITEMS;
    else if (pass(text, size, &s->done, RESULTS_HEAD))
        s->list = FIND_RESULTS;
    return s->list != FIND_BEGIN;
}

/* Begins the next element. False: there is none. */
static bool begin_element(struct item_search *s, const char *text, size_t size) {
    if (s->list == FIND_BEGIN && !begin_list(s, text, size))
        return false;
    if (s->list == FIND_RESULTS && pass(text, size, &s->done, ERRORS_HEAD))
        s->list = FIND_ERRORS;
    if (s->done < size && text[s->done] == ',')
        s->done++;
    s->from = s->done;
    s->done += s->done < size && text[s->done] == ' '; /* of a result that is null */
    s->scan = (struct value_scan){0};
    s->open = s->done < size && strchr(" \t\r\n,:]}", text[s->done]) == NULL;
    return s->open;
}

enum item_found item_search_step(struct item_search *s, const char *text, size_t size, size_t most) {
    enum item_found state = ITEM_UNDECIDED;
    size_t stop = most < size - s->done ? s->done + most : size;
    do {
        if (!s->open && !begin_element(s, text, size))
            return ITEM_BAD;
        size_t end = stop > s->done ? stop : s->done;
        s->done = (size_t)(scan_value(&s->scan, text + s->done, text + end) - text);
        if (s->scan.ended)
            state = end_element(s, text);
        else if (s->done >= size)
            return ITEM_BAD;
    } while (state == ITEM_UNDECIDED && s->done < stop);
    return state;
}
