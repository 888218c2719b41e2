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
    return (struct accept){first, second, -1, -1, 0};
}

/* How exactly a media range names that type: 0..3, as in struct accept. */
static int range_rank(const struct field_part *range, const char *type) {
    size_t main = strcspn(type, "/") + 1;
    if (field_is(range, type))
        return 3;
    if (range->size == main + 1 && range->at[main] == '*' && strncasecmp(range->at, type, main) == 0)
        return 2;
    return field_is(range, "*/*") ? 1 : 0;
}

void accept_parse(struct accept *a, const char *line) {
    struct field_part rest = {line, strlen(line)}, member, range;
    while (field_next(&rest, ',', &member)) {
        if (!field_next(&member, ';', &range))
            continue;
        int q = field_read_weight(member);
        int rank = range_rank(&range, a->second);
        if (q < 0)
            continue;
        if (field_is(&range, a->first))
            a->first_q = q;
        if (rank > 0 && rank >= a->second_rank) {
            a->second_rank = rank;
            a->second_q = q;
        }
    }
}

bool accept_prefers_first(const struct accept *a) {
    if (a->first_q <= 0)
        return false;
    return a->second_rank == 3 ? a->first_q > a->second_q : a->first_q >= a->second_q;
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
