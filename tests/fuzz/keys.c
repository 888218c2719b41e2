/* keys.c: fuzzes the keys file. Whatever its text is, a line that was taken is good; and when the lines are written
 * again, the file is read as the same one. */
#include <stdlib.h>
#include <string.h>

#include "server/access/keys.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MUST(condition)                                                                                                \
    do {                                                                                                               \
        if (!(condition))                                                                                              \
            abort();                                                                                                   \
    } while (0)

static void write_rate(struct buf *out, const char *name, struct quota_rate rate) {
    if (rate.amount > 0)
        buf_printf(out, " %s=%.0f/%c", name, rate.amount, rate.window_s == 1 ? 's' : rate.window_s == 60 ? 'm' : 'h');
}

static void write_line(struct buf *out, const struct key_line *line) {
    static const char *const scopes[] = {"submit", "read", "admin"};
    const struct key_grant *g = &line->grant;
    const char *before = " ";
    buf_puts(out, line->name);
    if (line->kind == KEY_UID)
        buf_printf(out, " uid:%lld", (long long)line->uid);
    else
        buf_puts(out, line->kind == KEY_HASH ? " sha256:" : " cert");
    for (size_t i = 0; line->kind == KEY_HASH && i < sizeof line->hash; i++)
        buf_printf(out, "%02x", line->hash[i]);
    for (size_t i = 0; i < 3; i++) {
        if ((g->scopes & 1U << i) == 0)
            continue;
        buf_printf(out, "%s%s", before, scopes[i]);
        before = ",";
    }
    write_rate(out, "rate", g->rate);
    write_rate(out, "cpu", g->cpu);
    write_rate(out, "bytes", g->bytes);
    if (g->jobs > 0)
        buf_printf(out, " jobs=%llu", (unsigned long long)g->jobs);
    buf_printf(out, " weight=%u\n", g->weight);
}

static void check_line(const struct key_line *line) {
    const struct key_grant *g = &line->grant;
    MUST(strlen(line->name) >= 1 && strlen(line->name) <= ACCESS_MAX_NAME);
    MUST(g->scopes != 0 && (g->scopes & ~7U) == 0);
    MUST(g->weight >= 1 && g->weight <= 100);
    MUST(g->rate.amount >= 0 && g->cpu.amount >= 0 && g->bytes.amount >= 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct keys keys, again;
    struct buf error = {0}, text = {0};
    char *copy = malloc(size + 1); /* with nothing behind it */
    MUST(copy != NULL);
    memcpy(copy, data, size);
    if (keys_parse(&keys, copy, size, &error) != 0) {
        MUST(error.size > 0 && keys.count == 0);
    } else {
        for (size_t i = 0; i < keys.count; i++) {
            check_line(&keys.lines[i]);
            write_line(&text, &keys.lines[i]);
        }
        MUST(keys_parse(&again, text.data, text.size, &error) == 0 && again.count == keys.count);
        for (size_t i = 0; i < keys.count; i++) {
            again.lines[i].number = keys.lines[i].number;
            MUST(memcmp(&again.lines[i].hash, &keys.lines[i].hash, sizeof keys.lines[i].hash) == 0);
            MUST(again.lines[i].grant.scopes == keys.lines[i].grant.scopes);
        }
        keys_deinit(&again);
    }
    keys_deinit(&keys);
    buf_deinit(&text);
    buf_deinit(&error);
    free(copy);
    return 0;
}
