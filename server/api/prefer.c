/* prefer.c: see prefer.h. Front end. */
#include "server/api/prefer.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define MAX_WAIT_S 1000000000
#define KEY_CHARS  "abcdefghijklmnopqrstuvwxyz0123456789_-.*" /* RFC 8941, section 3.1.2 */

static const char *skip_space(const char *at) {
    return at + strspn(at, " \t");
}

static bool name_is(const char *at, size_t n, const char *name) {
    return strlen(name) == n && strncasecmp(at, name, n) == 0;
}

/* One "name" or "name=value" of n bytes. Parameters behind a ";" are not part of it. */
static void apply(struct prefer *p, const char *at, size_t n) {
    size_t name = 0;
    while (name < n && at[name] != '=' && at[name] != ' ' && at[name] != '\t')
        name++;
    const char *value = at + name, *end = at + n;
    while (value < end && (*value == ' ' || *value == '\t' || *value == '='))
        value++;
    size_t size = (size_t)(end - value);
    if (size >= 2 && value[0] == '"' && value[size - 1] == '"') {
        value++;
        size -= 2;
    }
    bool is_number = size > 0 && size <= 18 && strspn(value, "0123456789") >= size;
    if (name_is(at, name, "respond-async")) {
        p->respond_async = true;
    } else if (name_is(at, name, "wait") && is_number && !p->has_wait) {
        long long wait_s = strtoll(value, NULL, 10);
        p->has_wait = true;
        p->wait_s = wait_s > MAX_WAIT_S ? MAX_WAIT_S : wait_s;
    } else if (name_is(at, name, "return")) {
        p->minimal = p->minimal || name_is(value, size, "minimal");
        p->representation = p->representation || name_is(value, size, "representation");
    }
}

void prefer_parse(struct prefer *p, const char *line) {
    while (*line != '\0') {
        line = skip_space(line);
        size_t whole = strcspn(line, ","), n = strcspn(line, ",;");
        while (n > 0 && (line[n - 1] == ' ' || line[n - 1] == '\t'))
            n--;
        if (n > 0)
            apply(p, line, n);
        line += whole;
        line += *line == ',';
    }
}

struct accept accept_of(const char *first, const char *second) {
    return (struct accept){first, second, -1, -1, 0};
}

/* The weight in the parameters of a media range, which have n bytes: its q, or 1 if there is none. */
static double quality(const char *at, size_t n) {
    double q = 1;
    for (const char *end = at + n; at < end; at += strcspn(at, ";,")) {
        at = skip_space(at + 1);
        if (strncasecmp(at, "q=", 2) == 0 && at[2] >= '0' && at[2] <= '1')
            q = strtod(at + 2, NULL);
    }
    return q > 1 ? 1 : q;
}

/* How exactly a media range of n bytes names that type: 0..3, as in struct accept. */
static int range_rank(const char *at, size_t n, const char *type) {
    size_t main = strcspn(type, "/") + 1;
    if (name_is(at, n, type))
        return 3;
    if (n == main + 1 && at[main] == '*' && strncasecmp(at, type, main) == 0)
        return 2;
    return name_is(at, n, "*/*") ? 1 : 0;
}

void accept_parse(struct accept *a, const char *line) {
    while (*line != '\0') {
        line = skip_space(line);
        size_t whole = strcspn(line, ","), range = strcspn(line, ",;"), n = range;
        while (n > 0 && (line[n - 1] == ' ' || line[n - 1] == '\t'))
            n--;
        double q = quality(line + range, whole - range);
        int rank = range_rank(line, n, a->second);
        if (name_is(line, n, a->first))
            a->first_q = q;
        if (rank > 0 && rank >= a->second_rank) {
            a->second_rank = rank;
            a->second_q = q;
        }
        line += whole;
        line += *line == ',';
    }
}

bool accept_prefers_first(const struct accept *a) {
    if (a->first_q <= 0)
        return false;
    return a->second_rank == 3 ? a->first_q > a->second_q : a->first_q >= a->second_q;
}

int priority_parse(const char *value) {
    int urgency = -1;
    while (value != NULL && *value != '\0') {
        value = skip_space(value);
        size_t n = strcspn(value, ",");
        if (strspn(value, KEY_CHARS) == 1 && value[0] == 'u') { /* the last one counts (RFC 8941, section 3.2) */
            size_t rest = n < 3 ? 0 : strspn(value + 3, " \t");
            bool good =
                n >= 3 && value[1] == '=' && value[2] >= '0' && value[2] <= '7' && (3 + rest == n || value[3] == ';');
            urgency = good ? value[2] - '0' : -1;
        }
        value += n;
        value += *value == ',';
    }
    return urgency;
}

static bool all_hex(const char *at, size_t n) {
    return strspn(at, "0123456789abcdef") >= n;
}

bool traceparent_is_valid(const char *v) {
    static const char zeros[] = "00000000000000000000000000000000";
    if (v == NULL || strlen(v) != 55 || strncmp(v, "00-", 3) != 0 || v[35] != '-' || v[52] != '-')
        return false;
    return all_hex(v + 3, 32) && all_hex(v + 36, 16) && all_hex(v + 53, 2) && strncmp(v + 3, zeros, 32) != 0 &&
           strncmp(v + 36, zeros, 16) != 0;
}
