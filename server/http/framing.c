/* framing.c: see framing.h. Front end.
 *
 *     IDLE ──(a byte)──► HEAD ──(an empty line)──┬──► BODY ──(all of it)──► IDLE
 *       ▲                                        ├──► IDLE [no body]
 *       │                                        └──► CHUNK_SIZE ◄───────────────┐
 *       │                                               │  └──► CHUNK ──► CHUNK_END
 *       └──────────────(an empty line)── TRAILER ◄──────┘ [size 0]
 *
 *     any ──► BROKEN [a fault]
 *
 * A head that comes in one piece, as most do, is checked where it lies. Only the pieces of a head are gathered. */
#include "server/http/framing.h"

#include <string.h>

#include "base/hex.h"
#include "base/state.h"

#define MAX_BLANKS     8           /* bytes of empty lines before a head */
#define MAX_CHUNK_LINE 1024        /* bytes of the line with the size of a chunk, with its extensions */
#define USUAL_LINE     18          /* bytes of such a line without an extension */
#define MAX_EXCESS     (16 * 1024) /* bytes of all these lines of a body, beyond the usual ones */
#define MAX_TRAILER    4096        /* bytes of a trailer; each of its lines counts as TRAILER_COST more */
#define TRAILER_COST   64          /* libmicrohttpd needs as much to keep a field */
#define MAX_DIGITS     15          /* of the size of a chunk, so that it fits into 60 bits */

static const struct state_row states[FRAMING_STATES] = {
    [FRAMING_IDLE] = {"idle", TO(FRAMING_HEAD) | TO(FRAMING_BROKEN)},
    [FRAMING_HEAD] = {"head", TO(FRAMING_IDLE) | TO(FRAMING_BODY) | TO(FRAMING_CHUNK_SIZE) | TO(FRAMING_BROKEN)},
    [FRAMING_BODY] = {"body", TO(FRAMING_IDLE)},
    [FRAMING_CHUNK_SIZE] = {"chunk_size", TO(FRAMING_CHUNK) | TO(FRAMING_TRAILER) | TO(FRAMING_BROKEN)},
    [FRAMING_CHUNK] = {"chunk", TO(FRAMING_CHUNK_END)},
    [FRAMING_CHUNK_END] = {"chunk_end", TO(FRAMING_CHUNK_SIZE) | TO(FRAMING_BROKEN)},
    [FRAMING_TRAILER] = {"trailer", TO(FRAMING_IDLE) | TO(FRAMING_BROKEN)},
    [FRAMING_BROKEN] = {"broken", 0},
};

static void move(struct framing *f, enum framing_state to) {
    state_check_move("framing", states, f->state, to);
    f->state = to;
}

void framing_deinit(struct framing *f) {
    buf_deinit(&f->part);
}

static int bad(struct head_fault *fault, const char *detail) {
    *fault = (struct head_fault){.code = PROBLEM_BAD_REQUEST, .detail = detail};
    return -1;
}

/* ---- heads ------------------------------------------------------------------------------------------------------- */

static void begin_chunk_size(struct framing *f) {
    f->left = f->lines = 0;
    f->digits = f->extension = false;
    f->last = '\0';
    move(f, FRAMING_CHUNK_SIZE);
}

static int take_head(struct framing *f, const char *bytes, size_t size, const struct head_rules *rules,
                     struct head_fault *fault) {
    struct head head;
    if (head_check(bytes, size, rules, &head, fault) != 0)
        return -1;
    f->heads++;
    f->blanks = 0;
    if (head.chunked) {
        f->excess = 0;
        begin_chunk_size(f);
        return 0;
    }
    f->left = head.length;
    move(f, head.length > 0 ? FRAMING_BODY : FRAMING_IDLE);
    return 0;
}

/* The bytes from *at on belong to a head. Sets *at behind what was taken. */
static int follow_head(struct framing *f, const struct head_rules *rules, const char **at, const char *end,
                       struct head_fault *fault, const char **head, size_t *head_size) {
    const char *bytes = *at;
    size_t size = (size_t)(end - *at), before = f->part.size;
    if (f->state == FRAMING_IDLE) {
        f->lines = 0;
        move(f, FRAMING_HEAD);
    }
    if (before > 0) {
        /* No more than a head can have: what is behind it in this piece need not be copied. */
        size_t room = rules->max_header + 1 > before ? (size_t)(rules->max_header + 1 - before) : 0;
        buf_append(&f->part, bytes, size < room ? size : room);
        bytes = f->part.data;
        size = f->part.size;
    }
    size_t whole = f->part.failed ? 0 : head_end(bytes, size, before);
    *head = bytes;
    *head_size = whole > 0 ? whole : size;
    if (whole > 0) {
        if (take_head(f, bytes, whole, rules, fault) != 0)
            return -1;
        *at += whole - before;
        if (before > 0) {
            *head_size = 0;
            buf_clear(&f->part);
        }
        return 0;
    }
    if (!f->part.failed && head_check_part(bytes, size, before, &f->lines, rules, fault) != 0)
        return -1;
    if (before == 0)
        buf_append(&f->part, bytes, size);
    if (f->part.failed) {
        *fault = (struct head_fault){.code = PROBLEM_OVER_MEMORY};
        return -1;
    }
    *at = end;
    return 0;
}

/* ---- chunked bodies ---------------------------------------------------------------------------------------------- */

static uint64_t excess_of(uint64_t line) {
    return line > USUAL_LINE ? line - USUAL_LINE : 0;
}

/* Chunks of a byte with long extensions would be read for as long as a body a thousand times as large. */
static int count_line(struct framing *f, size_t bytes, struct head_fault *fault) {
    f->excess += excess_of(f->lines + bytes) - excess_of(f->lines);
    f->lines += bytes;
    if (f->lines > MAX_CHUNK_LINE)
        return bad(fault, "the line with the size of a chunk is too long");
    return f->excess > MAX_EXCESS ? bad(fault, "the lines with the sizes of the chunks are too long") : 0;
}

/* One byte of the line "1A CR LF". */
static int follow_chunk_size(struct framing *f, char c, struct head_fault *fault) {
    int digit = f->extension || f->last == '\r' ? -1 : hex_value(c);
    if (count_line(f, 1, fault) != 0)
        return -1;
    if (digit >= 0) {
        if (f->left >> (4 * (MAX_DIGITS - 1)) != 0)
            return bad(fault, "the size of a chunk is too large");
        f->left = f->left * 16 + (uint64_t)digit;
        f->digits = true;
    } else if (f->last == '\r' && c == '\n') {
        if (f->left > 0) {
            move(f, FRAMING_CHUNK);
        } else {
            f->lines = 0;
            f->line_begins = true;
            move(f, FRAMING_TRAILER);
        }
        f->last = '\0';
        return 0;
    } else if (!f->digits || f->last == '\r' || c != '\r') {
        return bad(fault, "a chunk does not begin with its size in hexadecimal digits");
    }
    f->last = c;
    return 0;
}

static bool is_extension(const struct framing *f, char c) {
    return f->last != '\r' && c != '\r' && (f->extension || (f->digits && c == ';'));
}

/* Removes the extension of a chunk at *at (";name=value", RFC 9112 section 7.1.1). It means nothing to us, and
 * libmicrohttpd 1.0.1 cannot read it. */
static int drop_extension(struct framing *f, char *at, char **end, struct head_fault *fault) {
    char *from = at;
    for (; from < *end && *from != '\r'; from++)
        if (((unsigned char)*from < 0x20 && *from != '\t') || *from == 0x7F)
            return bad(fault, "the extension of a chunk has a control character");
    f->extension = true;
    if (count_line(f, (size_t)(from - at), fault) != 0)
        return -1;
    memmove(at, from, (size_t)(*end - from));
    *end -= from - at;
    return 0;
}

static int follow_chunk_end(struct framing *f, char c, struct head_fault *fault) {
    if (f->last == '\0' && c == '\r') {
        f->last = c;
        return 0;
    }
    if (f->last != '\r' || c != '\n')
        return bad(fault, "a chunk is longer than its size says");
    begin_chunk_size(f);
    return 0;
}

/* The trailer is skipped: its fields change nothing. */
static int follow_trailer(struct framing *f, char c, struct head_fault *fault) {
    f->lines += c == '\n' ? TRAILER_COST : 1;
    if (f->lines > MAX_TRAILER) {
        *fault = (struct head_fault){.code = PROBLEM_HEADER_TOO_LARGE, .limit = MAX_TRAILER};
        return -1;
    }
    if ((f->last == '\r') != (c == '\n') || ((unsigned char)c < 0x20 && c != '\t' && c != '\r' && c != '\n'))
        return bad(fault, "a line does not end with CR LF");
    if (c == '\n') {
        if (f->line_begins)
            move(f, FRAMING_IDLE);
        f->line_begins = true;
    } else if (c != '\r') {
        f->line_begins = false;
    }
    f->last = c;
    return 0;
}

/* ---- all together ------------------------------------------------------------------------------------------------ */

/* Skips `left` bytes of a body or a chunk. */
static const char *skip(struct framing *f, const char *at, const char *end, enum framing_state next) {
    size_t n = (uint64_t)(end - at) < f->left ? (size_t)(end - at) : (size_t)f->left;
    f->left -= n;
    if (f->left == 0) {
        f->last = '\0';
        move(f, next);
    }
    return at + n;
}

/* Removes the empty lines at *at. */
static int drop_blanks(struct framing *f, char *at, char **end, struct head_fault *fault) {
    char *from = at;
    while (from < *end && (*from == '\r' || *from == '\n')) {
        bool after_cr = (f->blanks & 1) != 0;
        if (++f->blanks > MAX_BLANKS || after_cr != (*from == '\n'))
            return bad(fault, "the request does not begin with a method");
        from++;
    }
    if (from < *end && (f->blanks & 1) != 0)
        return bad(fault, "a line does not end with CR LF");
    memmove(at, from, (size_t)(*end - from));
    *end -= from - at;
    return 0;
}

int framing_follow(struct framing *f, const struct head_rules *rules, char *bytes, size_t *size,
                   struct head_fault *fault, const char **head, size_t *head_size) {
    const char *at = bytes, *good = bytes;
    char *end = bytes + *size;
    uint64_t good_heads = f->heads;
    int rc = 0;
    *head_size = 0;
    while (rc == 0 && at < end) {
        switch (f->state) {
        case FRAMING_IDLE:
            good = at;
            good_heads = f->whole = f->heads;
            f->under_way = 0;
            if (*at == '\r' || *at == '\n' || (f->blanks & 1) != 0) {
                rc = drop_blanks(f, bytes + (at - bytes), &end, fault);
                break;
            }
            rc = follow_head(f, rules, &at, end, fault, head, head_size);
            break;
        case FRAMING_HEAD: rc = follow_head(f, rules, &at, end, fault, head, head_size); break;
        case FRAMING_BODY: at = skip(f, at, end, FRAMING_IDLE); break;
        case FRAMING_CHUNK: at = skip(f, at, end, FRAMING_CHUNK_END); break;
        case FRAMING_CHUNK_SIZE:
            if (is_extension(f, *at))
                rc = drop_extension(f, bytes + (at - bytes), &end, fault);
            else
                rc = follow_chunk_size(f, *at++, fault);
            break;
        case FRAMING_CHUNK_END: rc = follow_chunk_end(f, *at++, fault); break;
        case FRAMING_TRAILER: rc = follow_trailer(f, *at++, fault); break;
        case FRAMING_BROKEN:
        case FRAMING_STATES: rc = bad(fault, NULL); break;
        }
    }
    *size = (size_t)((rc == 0 ? end : good) - bytes);
    if (rc == 0) {
        f->under_way = f->state == FRAMING_IDLE ? 0 : f->under_way + (size_t)(end - good);
        f->whole = f->state == FRAMING_IDLE ? f->heads : f->whole;
        return 0;
    }
    f->heads = good_heads;
    if (f->state != FRAMING_BROKEN)
        move(f, FRAMING_BROKEN);
    return -1;
}
