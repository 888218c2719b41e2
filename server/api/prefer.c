/* prefer.c: see prefer.h. Front end. */
#include "server/api/prefer.h"

#include <string.h>
#include <strings.h>

#include "base/field.h"

#define MAX_WAIT_S 1000000000
#define KEY_CHARS  "abcdefghijklmnopqrstuvwxyz0123456789_-.*" /* RFC 8941, section 3.1.2 */

/* ---- Prefer ------------------------------------------------------------------------------------------------------ */

/* "name" or "name=value". */
static void apply(struct prefer *p, struct field_part value) {
    uint64_t wait_s;
    struct field_part name = field_take_name(&value);
    if (field_is(&name, "respond-async")) {
        p->respond_async = true;
    } else if (field_is(&name, "wait") && !p->has_wait && field_read_number(&value, MAX_WAIT_S, &wait_s)) {
        p->has_wait = true;
        p->wait_s = (int64_t)wait_s;
    } else if (field_is(&name, "return")) {
        p->minimal = p->minimal || field_is(&value, "minimal");
        p->representation = p->representation || field_is(&value, "representation");
    }
}

void prefer_parse(struct prefer *p, const char *line) {
    struct field_part rest = {line, strlen(line)}, member, preference;
    while (field_next(&rest, ',', &member))
        if (member.at[0] != ';' && field_next(&member, ';', &preference)) /* parameters are not part of it */
            apply(p, preference);
}

/* ---- Accept ------------------------------------------------------------------------------------------------------ */

struct accept accept_of(const char *first, const char *second) {
    return (struct accept){.first = first, .second = second, .first_q = -1, .second_q = -1};
}

/* How exactly a media range names that type, which can have parameters: 0..3, as in struct accept. */
static int range_rank(const struct field_part *range, const char *type) {
    size_t main = strcspn(type, "/") + 1, whole = strcspn(type, "; ");
    if (range->size == whole && strncasecmp(range->at, type, whole) == 0)
        return 3;
    if (range->size == main + 1 && range->at[main] == '*' && strncasecmp(range->at, type, main) == 0)
        return 2;
    return field_is(range, "*/*") ? 1 : 0;
}

/* The more exact of two ranges counts; of two that are alike, the last one. */
static void take_weight(int *weight, int *rank, int new_weight, int new_rank) {
    if (new_rank == 0 || new_rank < *rank)
        return;
    *rank = new_rank;
    *weight = new_weight;
}

void accept_parse(struct accept *a, const char *line) {
    struct field_part rest = {line, strlen(line)}, member, range;
    while (field_next(&rest, ',', &member)) {
        if (!field_next(&member, ';', &range))
            continue;
        int q = field_read_weight(member), rank = range_rank(&range, a->first);
        if (q < 0)
            continue;
        take_weight(&a->first_q, &a->first_rank, q, rank >= (a->by_type ? 2 : 3) ? rank : 0);
        take_weight(&a->second_q, &a->second_rank, q, range_rank(&range, a->second));
    }
}

bool accept_prefers_first(const struct accept *a) {
    if (a->first_q <= 0)
        return false;
    return a->second_rank == 3 ? a->first_q > a->second_q : a->first_q >= a->second_q;
}

/* "image/webp", "image/" for all of a type, or "" for all. */
static bool range_name(const struct field_part *range, char name[HANDLER_MAX_MEDIA_TYPE + 1]) {
    const char *slash = memchr(range->at, '/', range->size);
    size_t size = range->size;
    if (slash == NULL || size > HANDLER_MAX_MEDIA_TYPE)
        return false;
    if (size == (size_t)(slash - range->at) + 2 && slash[1] == '*')
        size = slash == range->at + 1 && range->at[0] == '*' ? 0 : size - 1;
    for (size_t i = 0; i < size; i++)
        name[i] = range->at[i] >= 'A' && range->at[i] <= 'Z' ? (char)(range->at[i] | 0x20) : range->at[i];
    name[size] = '\0';
    return true;
}

void accept_ranges_parse(struct accept_ranges *a, const char *line) {
    struct field_part rest = {line, strlen(line)}, member, range;
    while (a->count < ACCEPT_MAX_RANGES && field_next(&rest, ',', &member)) {
        struct host_range *to = &a->list[a->count];
        if (!field_next(&member, ';', &range) || !range_name(&range, to->name))
            continue;
        int q = field_read_weight(member);
        if (q < 0)
            continue;
        to->quality = (unsigned)q;
        a->names_other = a->names_other || (to->name[0] != '\0' && strcmp(to->name, "application/json") != 0);
        a->count++;
    }
}

/* ---- Priority ---------------------------------------------------------------------------------------------------- */

int priority_parse(const char *value) {
    struct field_part rest = {value == NULL ? "" : value, value == NULL ? 0 : strlen(value)}, member;
    int urgency = -1;
    while (field_next(&rest, ',', &member)) { /* the last one counts (RFC 8941, section 3.2) */
        const char *at = member.at;
        if (at[0] != 'u' || (member.size > 1 && strchr(KEY_CHARS, at[1]) != NULL))
            continue;
        bool good =
            member.size >= 3 && at[1] == '=' && at[2] >= '0' && at[2] <= '7' && (member.size == 3 || at[3] == ';');
        urgency = good ? at[2] - '0' : -1;
    }
    return urgency;
}
