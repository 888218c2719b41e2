/* origin.c: see origin.h. Front end.
 *
 * Browsers say in Origin (RFC 6454) from where a page comes when it sends something, and newer ones say in Sec-Fetch-Site
 * (W3C Fetch Metadata) how that is related to the service: same-origin, same-site, cross-site, or none, if a person has
 * asked for it. No page can set either of them. */
#include "server/api/origin.h"

#include <string.h>

#include "base/web_origin.h"

/* What a page can send beyond what every page can (Access-Control-Allow-Headers). */
#define SENT                                                                                                           \
    "Accept, Authorization, Content-Encoding, Content-Type, Idempotency-Key, If-Match, If-None-Match, If-Range, "      \
    "Last-Event-ID, Prefer, Priority, Range, traceparent, tracestate, X-Request-Id"
/* What it can read beyond what every page can (Access-Control-Expose-Headers). */
#define READ                                                                                                           \
    "Accept, Accept-Encoding, Accept-Ranges, Allow, Content-Encoding, Content-Location, Content-Range, ETag, "         \
    "Idempotency-Replayed, Location, Preference-Applied, RateLimit, RateLimit-Policy, Retry-After, Server-Timing, "    \
    "WWW-Authenticate, X-Request-Id, x-should-retry"
#define MAX_AGE_S "600" /* so long a browser remembers the answer to a preflight; a reload can change it */

/* RFC 9110, section 9.2.1 */
static bool is_safe(const char *method) {
    return strcmp(method, "GET") == 0 || strcmp(method, "HEAD") == 0 || strcmp(method, "OPTIONS") == 0;
}

/* True if --cors-origin names it. "*" names also what has no origin ("null"), but nothing that is malformed. */
static bool is_named(const struct config_list *named, const char *text) {
    struct web_origin origin, other;
    bool is_origin = web_origin_read(&origin, text);
    for (unsigned i = 0; i < named->count; i++) {
        if (strcmp(named->at[i], "*") == 0 && (is_origin || strcmp(text, "null") == 0))
            return true;
        if (is_origin && web_origin_read(&other, named->at[i]) && web_origin_is(&origin, &other))
            return true;
    }
    return false;
}

/* True if the page comes from the service itself, or from a proxy that keeps Host. */
static bool is_own(struct http_request *r, const char *text) {
    const char *host = http_header(r, "Host");
    struct web_origin origin;
    return host != NULL && web_origin_read(&origin, text) && web_origin_is_host(&origin, host);
}

/* The browser itself says that the page is another's. */
static bool is_called_foreign(struct http_request *r) {
    const char *site = http_header(r, "Sec-Fetch-Site");
    return site != NULL && (strcmp(site, "cross-site") == 0 || strcmp(site, "same-site") == 0);
}

bool origin_begin(const struct server *s, struct http_request *r) {
    const struct config_list *named = &s->config.cors_origin;
    const char *origin = http_header(r, "Origin");
    bool is_admitted = origin != NULL && is_named(named, origin);
    if (named->count > 0)
        http_set_header(r, "Vary", "Origin");
    if (is_admitted) {
        http_set_header(r, "Access-Control-Allow-Origin", origin);
        http_set_header(r, "Access-Control-Expose-Headers", READ);
    }
    http_keep_headers(r);
    if (is_admitted || is_safe(http_method(r)))
        return true;
    bool is_foreign = is_called_foreign(r) || (origin != NULL && !is_own(r, origin));
    if (is_foreign)
        http_reject_because(r, PROBLEM_FORBIDDEN,
                            "The request comes from a web page of another origin than the service, and --cors-origin "
                            "does not name it.");
    return !is_foreign;
}

void origin_set_preflight(const struct server *s, struct http_request *r, const char *allow) {
    const char *origin = http_header(r, "Origin");
    if (origin == NULL || http_header(r, "Access-Control-Request-Method") == NULL ||
        !is_named(&s->config.cors_origin, origin))
        return;
    http_set_header(r, "Access-Control-Allow-Methods", allow);
    http_set_header(r, "Access-Control-Allow-Headers", SENT);
    http_set_header(r, "Access-Control-Max-Age", MAX_AGE_S);
}
