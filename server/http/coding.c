/* coding.c: see coding.h. Front end. */
#include "server/http/coding.h"

#include <string.h>

#include "base/field.h"

void http_coding_read(struct http_coding_wish *w, const char *line) {
    struct field_part rest = {line, strlen(line)}, member, coding;
    while (field_next(&rest, ',', &member)) {
        if (!field_next(&member, ';', &coding))
            continue;
        int weight = field_read_weight(member);
        if (weight < 0)
            continue;
        if (field_is(&coding, "gzip") || field_is(&coding, "x-gzip"))
            w->gzip = weight;
        else if (field_is(&coding, "zstd"))
            w->zstd = weight;
        else if (field_is(&coding, "identity"))
            w->identity = weight;
        else if (field_is(&coding, "*"))
            w->any = weight;
    }
}

enum http_coding http_coding_choose(const struct http_coding_wish *w) {
    int gzip = w->gzip >= 0 ? w->gzip : w->any, best = w->zstd >= gzip ? w->zstd : gzip;
    if (best <= 0 || best < w->identity)
        return HTTP_IDENTITY;
    return best == w->zstd ? HTTP_ZSTD : HTTP_GZIP;
}
