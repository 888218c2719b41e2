/* gzip.c: compresses answers while they are sent. Front end. libmicrohttpd asks for the next portion when the client
 * has taken the last one. So the event loop never waits long for a portion, and memory does not grow with the
 * answer. */
#include "server/http/gzip.h"

#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "base/field.h"

#define PORTION (32 * 1024) /* compressed in one turn, which takes well under a millisecond */

void http_gzip_read(struct http_gzip_wish *w, const char *line) {
    struct field_part rest = {line, strlen(line)}, member, coding;
    while (field_next(&rest, ',', &member)) {
        if (!field_next(&member, ';', &coding))
            continue;
        int weight = field_read_weight(member);
        if (weight < 0)
            continue;
        if (field_is(&coding, "gzip") || field_is(&coding, "x-gzip"))
            w->gzip = weight;
        else if (field_is(&coding, "identity"))
            w->identity = weight;
        else if (field_is(&coding, "*"))
            w->any = weight;
    }
}

bool http_gzip_is_accepted(const struct http_gzip_wish *w) {
    int weight = w->gzip >= 0 ? w->gzip : w->any;
    return weight > 0 && weight >= w->identity;
}

struct gzip {
    struct slice body;
    size_t at;
    z_stream z;
    bool ended;
    unsigned char in[PORTION];
};

/* zconf.h says what deflate needs: here 256 KiB and a little. The last is libmicrohttpd's buffer. */
const size_t http_gzip_bytes = sizeof(struct gzip) + (1 << (15 + 2)) + (1 << (8 + 9)) + 8 * 1024 + PORTION;

static ssize_t gzip_read(void *cls, uint64_t pos, char *to, size_t max) {
    struct gzip *g = cls;
    (void)pos;
    g->z.next_out = (Bytef *)to;
    g->z.avail_out = (uInt)(max > PORTION ? PORTION : max);
    uInt room = g->z.avail_out;
    while (!g->ended && g->z.avail_out == room) {
        if (g->z.avail_in == 0 && g->at < g->body.size) {
            size_t n = g->body.size - g->at < sizeof g->in ? g->body.size - g->at : sizeof g->in;
            if (slice_read(&g->body, g->at, g->in, n) != 0)
                return MHD_CONTENT_READER_END_WITH_ERROR;
            g->at += n;
            g->z.next_in = g->in;
            g->z.avail_in = (uInt)n;
        }
        int rc = deflate(&g->z, g->at == g->body.size ? Z_FINISH : Z_NO_FLUSH);
        g->ended = rc == Z_STREAM_END;
        if (rc != Z_OK && rc != Z_STREAM_END && rc != Z_BUF_ERROR)
            return MHD_CONTENT_READER_END_WITH_ERROR;
    }
    ssize_t n = (ssize_t)(room - g->z.avail_out);
    return n == 0 ? MHD_CONTENT_READER_END_OF_STREAM : n;
}

static void gzip_free(void *cls) {
    struct gzip *g = cls;
    deflateEnd(&g->z);
    slice_deinit(&g->body);
    free(g);
}

struct MHD_Response *http_gzip_response(const struct slice *body) {
    struct gzip *g = calloc(1, sizeof *g);
    /* 15 + 16: the largest window, and gzip's frame. */
    if (g == NULL || deflateInit2(&g->z, 1, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) != Z_OK) {
        free(g);
        return NULL;
    }
    g->body = slice_ref(body);
    struct MHD_Response *response =
        MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, PORTION, gzip_read, g, gzip_free);
    if (response == NULL)
        gzip_free(g);
    return response;
}
