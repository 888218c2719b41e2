/* head.c: see head.h. Front end; pure functions, fuzzed by tests/fuzz/head.c.
 *
 *     GET /v1/jobs?limit=1 HTTP/1.1 CR LF        method SP target SP version, one space each
 *     Host: localhost CR LF                      name ":" optional white space, value, optional white space
 *     CR LF
 */
#include "server/http/head.h"

#include <arpa/inet.h>
#include <string.h>
#include <strings.h>

#include "base/field.h"

#define FREE_ITEMS 100 /* fields, query parameters and cookies that cost nothing beyond their bytes */
#define ITEM_COST  64  /* bytes of libmicrohttpd's memory for each further one */

/* Characters by kind (RFC 9110 section 5.6.2, RFC 3986 section 3.2.2). */
enum { TOKEN = 1, HOST = 2 };
static const unsigned char kinds[256] = {
    ['!'] = TOKEN | HOST,
    ['#'] = TOKEN,
    ['$'] = TOKEN | HOST,
    ['%'] = TOKEN | HOST,
    ['&'] = TOKEN | HOST,
    ['\''] = TOKEN | HOST,
    ['*'] = TOKEN | HOST,
    ['+'] = TOKEN | HOST,
    ['-'] = TOKEN | HOST,
    ['.'] = TOKEN | HOST,
    ['^'] = TOKEN,
    ['_'] = TOKEN | HOST,
    ['`'] = TOKEN,
    ['|'] = TOKEN,
    ['~'] = TOKEN | HOST,
    ['('] = HOST,
    [')'] = HOST,
    [';'] = HOST,
    ['='] = HOST,
    ['0' ... '9'] = TOKEN | HOST,
    ['a' ... 'z'] = TOKEN | HOST,
    ['A' ... 'Z'] = TOKEN | HOST,
};

static bool is_kind(char c, unsigned char kind) {
    return (kinds[(unsigned char)c] & kind) != 0;
}

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

static int fail(struct head_fault *f, enum problem_code code, const char *detail, const char *field) {
    *f = (struct head_fault){.code = code, .detail = detail, .field = field};
    return -1;
}

static int bad(struct head_fault *f, const char *detail) {
    return fail(f, PROBLEM_BAD_REQUEST, detail, NULL);
}

static int too_large(struct head_fault *f, enum problem_code code, uint64_t limit) {
    *f = (struct head_fault){.code = code, .limit = limit};
    return -1;
}

/* ---- Host -------------------------------------------------------------------------------------------------------- */

/* Checks host[:port] (RFC 9110 section 7.2). Sets *host_size to the length of the host. */
static bool host_is_valid(const char *value, size_t size, size_t *host_size) {
    char address[64];
    size_t n = 0;
    if (size > 0 && value[0] == '[') { /* [address]: IPv6, without a zone */
        const char *end = memchr(value, ']', size);
        struct in6_addr ignored;
        if (end == NULL || (size_t)(end - value) > sizeof address)
            return false;
        n = (size_t)(end - value) + 1;
        memcpy(address, value + 1, n - 2);
        address[n - 2] = '\0';
        if (memchr(value, '\0', n) != NULL || inet_pton(AF_INET6, address, &ignored) != 1)
            return false;
    } else {
        while (n < size && is_kind(value[n], HOST))
            n++;
    }
    *host_size = n;
    if (n == 0)
        return false;
    if (n == size)
        return true;
    if (value[n] != ':' || size - n > 6)
        return false;
    unsigned port = 0;
    for (size_t i = n + 1; i < size; i++) {
        if (!is_digit(value[i]))
            return false;
        port = port * 10 + (unsigned)(value[i] - '0');
    }
    return port <= 65535;
}

static bool is_name(const char *text, size_t size, const char *name) {
    return strlen(name) == size && strncasecmp(text, name, size) == 0;
}

/* A page on the web can have a name of its own that resolves to 127.0.0.1 (DNS rebinding), and would then reach a
 * service on the loopback interface. It cannot choose its Host, so the name gives it away. */
static bool is_local_host(const char *host, size_t size, const struct head_rules *rules) {
    char address[INET_ADDRSTRLEN];
    struct in_addr ignored;
    if (host[0] == '[' || is_name(host, size, "localhost"))
        return true;
    for (unsigned i = 0; i < rules->host_count; i++)
        if (is_name(host, size, rules->hosts[i]))
            return true;
    if (size >= sizeof address)
        return false;
    memcpy(address, host, size);
    address[size] = '\0';
    return inet_pton(AF_INET, address, &ignored) == 1;
}

/* ---- the first line ---------------------------------------------------------------------------------------------- */

struct first_line {
    const char *host; /* of a target in absolute form; else NULL */
    size_t host_size;
    bool is_1_0;
    size_t parameters; /* of the query */
};

/* Checks "http://authority/path" (RFC 9112 section 3.2.2). */
static int check_absolute(const char *target, size_t size, struct first_line *line, struct head_fault *f) {
    size_t scheme = strncasecmp(target, "http://", 7) == 0 ? 7 : strncasecmp(target, "https://", 8) == 0 ? 8 : 0;
    size_t n = 0;
    if (size < 8 || scheme == 0)
        return bad(f, "the target of the request begins neither with / nor with http://");
    while (scheme + n < size && target[scheme + n] != '/' && target[scheme + n] != '?')
        n++;
    line->host = target + scheme;
    if (!host_is_valid(line->host, n, &line->host_size))
        return bad(f, "the target of the request names no valid host");
    return 0;
}

/* Checks the characters of the target, and counts the parameters of its query. */
static int check_target(const char *target, size_t size, const char *method, size_t method_size,
                        struct first_line *line, struct head_fault *f) {
    bool query = false;
    for (size_t i = 0; i < size; i++) {
        unsigned char c = (unsigned char)target[i];
        if (c <= 0x20 || c >= 0x7F || c == '#')
            return bad(f, "the target of the request has a character that no URI has");
        if (query && c == '%' && size - i >= 3 && target[i + 1] == '0' && target[i + 2] == '0')
            return fail(f, PROBLEM_INVALID_QUERY, "the query has a NUL byte (%00)", NULL);
        if (c == '?' && !query) {
            query = true;
            line->parameters = 1;
        } else if (query && c == '&') {
            line->parameters++;
        }
    }
    if (target[0] == '/')
        return 0;
    if (size == 1 && target[0] == '*' && is_name(method, method_size, "OPTIONS"))
        return 0;
    return check_absolute(target, size, line, f);
}

/* line: without CR LF. */
static int check_first_line(const char *text, size_t size, struct first_line *line, struct head_fault *f) {
    const char *end = text + size, *target, *version;
    size_t method_size = 0;
    while (method_size < size && is_kind(text[method_size], TOKEN))
        method_size++;
    if (method_size == 0 || method_size == size || text[method_size] != ' ')
        return bad(f, "the request does not begin with a method and a space");
    target = text + method_size + 1;
    version = memrchr(target, ' ', (size_t)(end - target));
    if (version == NULL || version == target)
        return bad(f, "the first line is not: method, target, version, with one space between them");
    size_t target_size = (size_t)(version - target);
    version++;
    if (end - version != 8 || memcmp(version, "HTTP/", 5) != 0 || !is_digit(version[5]) || version[6] != '.' ||
        !is_digit(version[7]))
        return bad(f, "the version of the request is not HTTP/1.1 or HTTP/1.0");
    if (version[5] != '1' || version[7] > '1')
        return fail(f, PROBLEM_VERSION_NOT_SUPPORTED, NULL, NULL);
    line->is_1_0 = version[7] == '0';
    if (method_size == 7 && memcmp(text, "CONNECT", 7) == 0)
        return fail(f, PROBLEM_NOT_IMPLEMENTED, "the service is no proxy", NULL);
    return check_target(target, target_size, text, method_size, line, f);
}

/* ---- fields ------------------------------------------------------------------------------------------------------ */

enum single {
    AUTHORIZATION,
    CONTENT_LENGTH,
    CONTENT_TYPE,
    HOST_FIELD,
    IDEMPOTENCY_KEY,
    IF_RANGE,
    LAST_EVENT_ID,
    ORIGIN,
    RANGE,
    REQUEST_ID,
    TRANSFER_ENCODING,
    SINGLES
};

/* Fields that can stand once. Transfer-Encoding is a list by its standard, but nobody has a reason to divide it. */
static const char *const singles[SINGLES] = {
    [AUTHORIZATION] = "Authorization",
    [CONTENT_LENGTH] = "Content-Length",
    [CONTENT_TYPE] = "Content-Type",
    [HOST_FIELD] = "Host",
    [IDEMPOTENCY_KEY] = "Idempotency-Key",
    [IF_RANGE] = "If-Range",
    [LAST_EVENT_ID] = "Last-Event-ID",
    [ORIGIN] = "Origin",
    [RANGE] = "Range",
    [REQUEST_ID] = "X-Request-Id",
    [TRANSFER_ENCODING] = "Transfer-Encoding",
};

/* SINGLES: it is none of them. */
static enum single find_single(const char *name, size_t size) {
    static const signed char by_size[][3] = {
        [4] = {HOST_FIELD, -1},
        [5] = {RANGE, -1},
        [6] = {ORIGIN, -1},
        [8] = {IF_RANGE, -1},
        [12] = {CONTENT_TYPE, REQUEST_ID, -1},
        [13] = {AUTHORIZATION, LAST_EVENT_ID, -1},
        [14] = {CONTENT_LENGTH, -1},
        [15] = {IDEMPOTENCY_KEY, -1},
        [17] = {TRANSFER_ENCODING, -1},
        [1] = {-1},
        [2] = {-1},
        [3] = {-1},
        [7] = {-1},
        [9] = {-1},
        [10] = {-1},
        [11] = {-1},
        [16] = {-1},
    };
    if (size == 0 || size >= sizeof by_size / sizeof by_size[0])
        return SINGLES;
    for (const signed char *at = by_size[size]; *at >= 0; at++)
        if (strncasecmp(name, singles[*at], size) == 0)
            return (enum single) * at;
    return SINGLES;
}

struct fields {
    const char *value[SINGLES]; /* NULL: the field is not there */
    size_t size[SINGLES];
    size_t items;   /* fields and cookies */
    size_t cookies; /* bytes of Cookie fields, which libmicrohttpd copies */
};

static size_t count(const char *text, size_t size, char c) {
    size_t n = 0;
    for (const char *end = text + size; (text = memchr(text, c, (size_t)(end - text))) != NULL; text++)
        n++;
    return n;
}

/* line: without CR LF, and not empty. */
static int take_field(struct fields *to, const char *line, size_t size, struct head_fault *f) {
    size_t name = 0;
    while (name < size && is_kind(line[name], TOKEN))
        name++;
    if (name == 0 && (line[0] == ' ' || line[0] == '\t'))
        return bad(f, "a field is continued on a second line");
    if (name == 0 || name == size || line[name] != ':')
        return bad(f, "a field does not begin with its name and a colon");
    const char *value = line + name + 1, *end = line + size;
    while (value < end && (*value == ' ' || *value == '\t'))
        value++;
    while (value < end && (end[-1] == ' ' || end[-1] == '\t'))
        end--;
    for (const char *at = value; at < end; at++)
        if ((unsigned char)*at < 0x20 ? *at != '\t' : *at == 0x7F)
            return bad(f, "the value of a field has a control character");
    to->items++;
    if (name == 6 && strncasecmp(line, "Cookie", 6) == 0) {
        to->cookies += size;
        to->items += 1 + count(value, (size_t)(end - value), ';');
    }
    enum single s = find_single(line, name);
    if (s == SINGLES)
        return 0;
    if (to->value[s] != NULL)
        return fail(f, PROBLEM_BAD_REQUEST, "a field stands twice that can stand once", singles[s]);
    to->value[s] = value;
    to->size[s] = (size_t)(end - value);
    /* libmicrohttpd 0.9.75 does not strip white space behind a value, and would see another end of the body. */
    if ((s == CONTENT_LENGTH || s == TRANSFER_ENCODING) && end != line + size)
        return fail(f, PROBLEM_BAD_REQUEST, "there is white space behind the value", singles[s]);
    return 0;
}

/* Only "chunked" alone is served, exactly as libmicrohttpd knows it. "chunked" before another coding, or twice, is an
 * error of the client (RFC 9112 section 6.3); other codings we do not have. */
static int check_coding(const char *list, size_t size, struct head_fault *f) {
    struct field_part rest = {list, size}, part;
    bool chunked = false;
    if (is_name(list, size, "chunked"))
        return 0;
    while (field_next(&rest, ',', &part)) {
        if (chunked)
            return fail(f, PROBLEM_BAD_REQUEST, "\"chunked\" is not the last coding", singles[TRANSFER_ENCODING]);
        chunked = field_is(&part, "chunked");
    }
    return fail(f, PROBLEM_NOT_IMPLEMENTED, "only the transfer coding \"chunked\" is known",
                singles[TRANSFER_ENCODING]);
}

/* How the body is framed (RFC 9112 section 6). */
static int check_framing(const struct fields *fields, const struct first_line *line, struct head *head,
                         struct head_fault *f) {
    const char *coding = fields->value[TRANSFER_ENCODING], *length = fields->value[CONTENT_LENGTH];
    size_t size = fields->size[CONTENT_LENGTH];
    *head = (struct head){0};
    if (coding != NULL && length != NULL)
        return fail(f, PROBLEM_BAD_REQUEST, "Content-Length and Transfer-Encoding exclude each other",
                    singles[TRANSFER_ENCODING]);
    if (coding != NULL && (line->is_1_0 || fields->size[TRANSFER_ENCODING] == 0))
        return fail(f, PROBLEM_BAD_REQUEST, line->is_1_0 ? "HTTP/1.0 has no Transfer-Encoding" : "it is empty",
                    singles[TRANSFER_ENCODING]);
    if (coding != NULL && check_coding(coding, fields->size[TRANSFER_ENCODING], f) != 0)
        return -1;
    head->chunked = coding != NULL;
    if (length == NULL)
        return 0;
    for (size_t i = 0; i < size; i++)
        if (!is_digit(length[i]))
            return fail(f, PROBLEM_BAD_REQUEST, "it is not a number", singles[CONTENT_LENGTH]);
    if (size == 0 || size > 18)
        return fail(f, PROBLEM_BAD_REQUEST, size == 0 ? "it is empty" : "the number is too large",
                    singles[CONTENT_LENGTH]);
    for (size_t i = 0; i < size; i++)
        head->length = head->length * 10 + (uint64_t)(length[i] - '0');
    return 0;
}

/* Whether the request is for this service (RFC 9112 sections 3.2 and 3.2.2, RFC 9110 section 7.4). */
static int check_host(const struct fields *fields, const struct first_line *line, const struct head_rules *rules,
                      struct head_fault *f) {
    const char *host = fields->value[HOST_FIELD];
    size_t size = fields->size[HOST_FIELD], host_size = 0;
    if (host == NULL && !line->is_1_0)
        return fail(f, PROBLEM_BAD_REQUEST, "the field is missing", singles[HOST_FIELD]);
    if (host != NULL && !host_is_valid(host, size, &host_size))
        return fail(f, PROBLEM_BAD_REQUEST, "it is not host or host:port", singles[HOST_FIELD]);
    if (line->host != NULL) { /* it counts more than Host */
        host = line->host;
        host_size = line->host_size;
    }
    if (host != NULL && rules->only_local && !is_local_host(host, host_size, rules))
        return fail(f, PROBLEM_MISDIRECTED_REQUEST, NULL, singles[HOST_FIELD]);
    return 0;
}

/* What libmicrohttpd needs to keep so many bytes and items, of which some are query parameters. */
static int check_cost(uint64_t cost, size_t items, size_t parameters, const struct head_rules *rules,
                      struct head_fault *f) {
    cost += items > FREE_ITEMS ? (items - FREE_ITEMS) * ITEM_COST : 0;
    if (cost <= rules->max_header)
        return 0;
    return too_large(f, parameters > items / 2 ? PROBLEM_URI_TOO_LONG : PROBLEM_HEADER_TOO_LARGE, rules->max_header);
}

int head_check(const char *bytes, size_t size, const struct head_rules *rules, struct head *head,
               struct head_fault *f) {
    struct fields fields = {.items = 0};
    struct first_line line = {0};
    const char *at = bytes, *end = bytes + size;
    while (at < end) {
        const char *lf = memchr(at, '\n', (size_t)(end - at));
        if (lf == NULL || lf == at || lf[-1] != '\r')
            return bad(f, "a line does not end with CR LF");
        size_t n = (size_t)(lf - at) - 1;
        if (at == bytes) {
            if (check_first_line(at, n, &line, f) != 0)
                return -1;
        } else if (n == 0) {
            break;
        } else if (take_field(&fields, at, n, f) != 0) {
            return -1;
        }
        at = lf + 1;
    }
    if (check_cost(size + fields.cookies, fields.items + line.parameters, line.parameters, rules, f) != 0)
        return -1;
    if (check_framing(&fields, &line, head, f) != 0)
        return -1;
    return check_host(&fields, &line, rules, f);
}

/* ---- heads that have not come whole ------------------------------------------------------------------------------ */

int head_check_part(const char *bytes, size_t size, size_t from, uint64_t *items, const struct head_rules *rules,
                    struct head_fault *f) {
    if (size > 0 && bytes[0] == 0x16) /* the first byte of a TLS record with a handshake (RFC 8446 section 5.1) */
        return fail(f, PROBLEM_COUNT, NULL, NULL);
    for (size_t i = from; i < size; i++) {
        unsigned char c = (unsigned char)bytes[i];
        bool after_cr = i > 0 && bytes[i - 1] == '\r';
        if (c >= 0x20 && c != 0x7F && !after_cr)
            continue;
        if (after_cr != (c == '\n'))
            return bad(f, "a line does not end with CR LF");
        if ((c < 0x20 && c != '\t' && c != '\r' && c != '\n') || c == 0x7F)
            return bad(f, "the head has a control character");
        *items += c == '\n';
    }
    if (size > rules->max_header)
        return too_large(f, memchr(bytes, '\n', size) == NULL ? PROBLEM_URI_TOO_LONG : PROBLEM_HEADER_TOO_LARGE,
                         rules->max_header);
    /* A first line that is whole is checked at once: an HTTP/0.9 request, and HTTP/2, have no second one. */
    const char *lf = from > 0 && memchr(bytes, '\n', from) != NULL ? NULL : memchr(bytes, '\n', size);
    struct first_line line = {0};
    if (lf != NULL && check_first_line(bytes, (size_t)(lf - bytes) - 1, &line, f) != 0)
        return -1;
    *items += line.parameters;
    return check_cost(size, *items > 0 ? *items - 1 : 0, line.parameters, rules, f); /* the first line is no item */
}

size_t head_end(const char *bytes, size_t size, size_t from) {
    from = from < 3 ? 0 : from - 3;
    if (size <= from)
        return 0;
    const char *end = memmem(bytes + from, size - from, "\r\n\r\n", 4);
    return end == NULL ? 0 : (size_t)(end - bytes) + 4;
}

size_t head_find(const char *bytes, size_t size, const char *name, const char **value) {
    const char *end = bytes + size;
    size_t n = strlen(name);
    for (const char *at = bytes; (at = memchr(at, '\n', (size_t)(end - at))) != NULL;) {
        at++;
        if ((size_t)(end - at) <= n || strncasecmp(at, name, n) != 0 || at[n] != ':')
            continue;
        at += n + 1;
        while (at < end && (*at == ' ' || *at == '\t'))
            at++;
        *value = at;
        while (at < end && *at != '\r' && *at != '\n' && *at != '\0')
            at++;
        return (size_t)(at - *value);
    }
    return 0;
}

bool head_is_for_head(const char *bytes, size_t size) {
    return size >= 5 && memcmp(bytes, "HEAD ", 5) == 0;
}
