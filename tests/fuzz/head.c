/* head.c: fuzzes the strict check of what clients send (server/http/framing.c, head.c). The first byte chooses the rules
 * and how the rest is cut into pieces. Whatever the pieces are, the verdict must be the same as for all in one piece:
 * how many heads were good, and what was wrong. */
#include <stdlib.h>
#include <string.h>

#include "server/http/framing.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct verdict {
    int rc;
    uint64_t heads;
    enum framing_state state;
    struct head_fault fault;
};

/* Follows the bytes in pieces of `step` bytes. Each is on the heap by itself, so that a sanitizer sees each byte that is
 * read beyond it. */
static struct verdict follow(const uint8_t *data, size_t size, size_t step, const struct head_rules *rules) {
    struct framing f = {.state = FRAMING_IDLE};
    struct verdict v = {0};
    for (size_t at = 0; at < size && v.rc == 0; at += step) {
        size_t n = size - at < step ? size - at : step, left = n, head_size;
        const char *head;
        char *piece = malloc(n);
        if (piece == NULL)
            abort();
        memcpy(piece, data + at, n);
        v.rc = framing_follow(&f, rules, piece, &left, &v.fault, &head, &head_size);
        if (left > n)
            abort();
        const char *id;
        if (v.rc != 0 && head_size > 0) {
            (void)head_find(head, head_size, "X-Request-Id", &id);
            (void)head_is_for_head(head, head_size);
        }
        free(piece);
    }
    v.heads = f.heads;
    v.state = f.state;
    framing_deinit(&f);
    return v;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char *const hosts[] = {"example.com"};
    if (size == 0)
        return 0;
    const struct head_rules rules = {(data[0] & 1) != 0 ? 200 : 32768, (data[0] & 2) != 0, hosts, 1};
    size_t step = 1 + (data[0] >> 2);
    data++, size--;
    struct verdict whole = follow(data, size, size, &rules), pieces = follow(data, size, step, &rules);
    if ((whole.rc == 0) != (pieces.rc == 0) || whole.state != pieces.state)
        abort();
    /* A piece can show a fault before a whole head would have shown another. */
    if (whole.rc == 0 && whole.heads != pieces.heads)
        abort();
    return 0;
}
