/* transfer.c: see transfer.h. Front end. libcurl says which sockets it waits for, and until when. They become watches
 * and a timer of the loop; whenever one is due, curl_multi_socket_action goes on. Then the transfers are ended that
 * libcurl reports as over.
 *
 *     transfer_start ──► (resolve ──► may_connect ──► connect ──► TLS ──► send ──► receive) ──► done
 *                                         └─ not allowed: the next address of the name, if it has one
 */
#include "server/webhooks/transfer.h"

#include <curl/curl.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <utlist.h>

#include "base/clock.h"
#include "base/container.h"

#define TRY_AGAIN_NS (100 * NS_PER_MS)
#define BEGIN_BYTES  (1024 * 1024) /* more than curl_global_init allocates */

struct transfers {
    struct loop *loop;
    CURLM *multi;
    struct timer timer;
    bool begun; /* by curl_global_init */
    /* OpenSSL does not say that memory ran out while it began, and crashes in a later handshake. So there is memory for
     * that, given back when it begins. It is never touched, so it is not resident. */
    void *reserve;
    bool in_trouble;            /* libcurl could not go on; the timer is set to try again */
    struct transfer *unwatched; /* those with a socket that could not be watched: act ends them */
};

struct transfer {
    struct transfer *prev, *next; /* in unwatched; prev NULL: it is not */
    struct transfers *owner;
    struct transfer_request request;
    CURL *easy;
    struct curl_slist *headers;
    size_t received;  /* bytes of the answer's heads and body */
    bool answered;    /* its body has begun: the status is known, whatever comes now */
    bool not_allowed; /* may_connect said so of an address */
    char error[CURL_ERROR_SIZE];
};

/* A socket of libcurl's that is watched. */
struct link {
    struct watch watch;
    struct transfers *owner;
};

/* ---- what the loop calls ----------------------------------------------------------------------------------------- */

/* A number of seconds, or a date (RFC 9110, section 10.2.3). */
static int64_t retry_after_s(CURL *easy) {
    struct curl_header *h;
    char *end;
    if (curl_easy_header(easy, "retry-after", 0, CURLH_HEADER, -1, &h) != CURLHE_OK)
        return -1;
    errno = 0;
    long long seconds = strtoll(h->value, &end, 10);
    if (errno == 0 && end != h->value && *end == '\0')
        return seconds < 0 ? -1 : seconds;
    time_t at = curl_getdate(h->value, NULL);
    int64_t now_s = clock_wall_ms() / 1000;
    return at < now_s ? -1 : at - now_s;
}

void transfer_cancel(struct transfer *t) {
    if (t->prev != NULL)
        DL_DELETE(t->owner->unwatched, t);
    curl_multi_remove_handle(t->owner->multi, t->easy);
    curl_easy_cleanup(t->easy);
    curl_slist_free_all(t->headers);
    free(t);
}

static void end_transfer(struct transfer *t, CURLcode code) {
    struct transfer_result result = {.retry_after_s = -1};
    const struct transfer_request request = t->request;
    char error[CURL_ERROR_SIZE];
    long status = 0;
    if (code == CURLE_OK || t->answered) {
        curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &status);
        result.status = (unsigned)status;
        result.retry_after_s = retry_after_s(t->easy);
    } else {
        memcpy(error, t->error, sizeof error);
        result.not_allowed = t->not_allowed && code == CURLE_COULDNT_CONNECT;
        result.error = error[0] != '\0' ? error : curl_easy_strerror(code);
    }
    transfer_cancel(t);
    request.done(request.arg, &result);
}

/* When memory runs out, libcurl leaves transfers as they are, or gives up all of them, and forgets to say when it wants
 * to go on. curl_multi_perform looks at all of them, and sets the timer again. */
static void act(struct transfers *ts, curl_socket_t fd, int events) {
    int running, left;
    CURLMcode rc = curl_multi_socket_action(ts->multi, fd, events, &running);
    if (rc != CURLM_OK || ts->in_trouble)
        rc = curl_multi_perform(ts->multi, &running);
    ts->in_trouble = rc != CURLM_OK;
    if (ts->in_trouble)
        loop_set_timer(ts->loop, &ts->timer, clock_monotonic_ns() + TRY_AGAIN_NS);
    for (CURLMsg *m = curl_multi_info_read(ts->multi, &left); m != NULL; m = curl_multi_info_read(ts->multi, &left)) {
        struct transfer *t;
        CURLcode code = m->data.result;
        curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, (char **)&t);
        end_transfer(t, code);
    }
    while (ts->unwatched != NULL)
        end_transfer(ts->unwatched, CURLE_OUT_OF_MEMORY);
}

static void on_link(struct watch *w, uint32_t events) {
    struct link *l = container_of(w, struct link, watch);
    int what = (events & (EPOLLIN | EPOLLRDHUP) ? CURL_CSELECT_IN : 0) | (events & EPOLLOUT ? CURL_CSELECT_OUT : 0) |
               (events & (EPOLLERR | EPOLLHUP) ? CURL_CSELECT_ERR : 0);
    act(l->owner, w->fd, what); /* may free the link */
}

static void on_timer(struct timer *t) {
    act(container_of(t, struct transfers, timer), CURL_SOCKET_TIMEOUT, 0);
}

/* ---- what libcurl calls ------------------------------------------------------------------------------------------ */

static int set_timer(CURLM *multi, long ms, void *arg) {
    struct transfers *ts = arg;
    (void)multi;
    if (ms < 0)
        loop_clear_timer(ts->loop, &ts->timer);
    else
        loop_set_timer(ts->loop, &ts->timer, clock_monotonic_ns() + ms * NS_PER_MS);
    return 0;
}

static int add_link(struct transfers *ts, curl_socket_t fd, uint32_t events) {
    struct link *l = malloc(sizeof *l);
    if (l == NULL)
        return -1;
    *l = (struct link){.watch = {fd, on_link}, .owner = ts};
    if (loop_watch(ts->loop, &l->watch, events) == 0) {
        curl_multi_assign(ts->multi, fd, l); /* it knows the socket: it has just named it */
        return 0;
    }
    free(l);
    return -1;
}

/* act ends the transfer: it would wait for a socket of which nobody hears. */
static void leave_unwatched(CURL *easy) {
    struct transfer *t = NULL;
    int error = errno;
    curl_easy_getinfo(easy, CURLINFO_PRIVATE, (char **)&t);
    if (t == NULL || t->prev != NULL) /* NULL: one of libcurl's own */
        return;
    snprintf(t->error, sizeof t->error, "its socket cannot be watched: %s", strerror(error));
    DL_APPEND(t->owner->unwatched, t);
}

/* It never fails: for -1 libcurl 7.88 gives up all transfers, keeps a pointer to each of them with its socket, and follows
 * that when the next transfer has a socket of that number. */
static int set_link(CURL *easy, curl_socket_t fd, int what, void *arg, void *link) {
    struct transfers *ts = arg;
    struct link *l = link;
    uint32_t events = (what & CURL_POLL_IN ? EPOLLIN : 0) | (what & CURL_POLL_OUT ? EPOLLOUT : 0);
    if (what == CURL_POLL_REMOVE) {
        if (l != NULL)
            loop_unwatch(ts->loop, &l->watch);
        free(l);
        return 0;
    }
    if ((l == NULL ? add_link(ts, fd, events) : loop_rewatch(ts->loop, &l->watch, events)) != 0)
        leave_unwatched(easy);
    return 0;
}

static curl_socket_t open_socket(void *arg, curlsocktype purpose, struct curl_sockaddr *a) {
    struct transfer *t = arg;
    if (purpose != CURLSOCKTYPE_IPCXN || !t->request.may_connect(t->request.arg, &a->addr)) {
        t->not_allowed = true;
        return CURL_SOCKET_BAD;
    }
    return socket(a->family, a->socktype | SOCK_CLOEXEC, a->protocol);
}

/* Returning less than was given ends the transfer. */
static size_t take(struct transfer *t, size_t size) {
    t->received += size;
    return t->received > TRANSFER_MAX_ANSWER ? 0 : size;
}

static size_t take_header(char *bytes, size_t one, size_t size, void *arg) {
    (void)bytes;
    (void)one;
    return take(arg, size);
}

static size_t take_body(char *bytes, size_t one, size_t size, void *arg) {
    struct transfer *t = arg;
    (void)bytes;
    (void)one;
    t->answered = true;
    return take(t, size);
}

/* ---- a transfer -------------------------------------------------------------------------------------------------- */

static void set_limits(struct transfer *t) {
    CURL *e = t->easy;
    const char *authorities = getenv("SSL_CERT_FILE");
    curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(e, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(e, CURLOPT_PROXY, ""); /* not the one of the environment either */
    curl_easy_setopt(e, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(e, CURLOPT_FRESH_CONNECT, 1L); /* each connection is checked for the transfer that uses it */
    curl_easy_setopt(e, CURLOPT_FORBID_REUSE, 1L);
    curl_easy_setopt(e, CURLOPT_TIMEOUT_MS, (long)(t->request.timeout_ns / NS_PER_MS));
    curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(e, CURLOPT_QUICK_EXIT, 1L); /* else a timeout would wait, in the loop, for the resolver's thread */
    curl_easy_setopt(e, CURLOPT_OPENSOCKETFUNCTION, open_socket);
    curl_easy_setopt(e, CURLOPT_OPENSOCKETDATA, t);
    if (authorities != NULL)
        curl_easy_setopt(e, CURLOPT_CAINFO, authorities);
    /* Often NULL. Only without a directory of certificates does libcurl parse the file once a day for all transfers. */
    curl_easy_setopt(e, CURLOPT_CAPATH, getenv("SSL_CERT_DIR"));
}

static int set_headers(struct transfer *t) {
    static const char *const own[] = {"user-agent: offload", "accept:", "expect:"}; /* the last two are not sent */
    for (size_t i = 0; i < sizeof own / sizeof own[0] + TRANSFER_MAX_HEADERS; i++) {
        const size_t n = sizeof own / sizeof own[0];
        const char *header = i < n ? own[i] : t->request.headers[i - n];
        if (header == NULL)
            break;
        struct curl_slist *more = curl_slist_append(t->headers, header);
        if (more == NULL)
            return -1;
        t->headers = more;
    }
    return 0;
}

static int set_request(struct transfer *t) {
    CURL *e = t->easy;
    if (set_headers(t) != 0 || curl_easy_setopt(e, CURLOPT_URL, t->request.url) != CURLE_OK)
        return -1;
    curl_easy_setopt(e, CURLOPT_HTTPHEADER, t->headers);
    curl_easy_setopt(e, CURLOPT_POST, 1L);
    curl_easy_setopt(e, CURLOPT_POSTFIELDS, t->request.body);
    curl_easy_setopt(e, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)t->request.size);
    curl_easy_setopt(e, CURLOPT_HEADERFUNCTION, take_header);
    curl_easy_setopt(e, CURLOPT_HEADERDATA, t);
    curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, take_body);
    curl_easy_setopt(e, CURLOPT_WRITEDATA, t);
    curl_easy_setopt(e, CURLOPT_ERRORBUFFER, t->error);
    curl_easy_setopt(e, CURLOPT_PRIVATE, t);
    return 0;
}

/* The first transfer begins it: most services send no webhook, and it makes libcurl's TLS library take some memory and
 * a millisecond. False: out of memory. */
static bool begin(struct transfers *ts) {
    if (ts->multi != NULL)
        return true;
    free(ts->reserve);
    ts->reserve = NULL;
    ts->begun = ts->begun || curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK;
    ts->multi = ts->begun ? curl_multi_init() : NULL;
    if (ts->multi == NULL)
        return false;
    curl_multi_setopt(ts->multi, CURLMOPT_SOCKETFUNCTION, set_link);
    curl_multi_setopt(ts->multi, CURLMOPT_SOCKETDATA, ts);
    curl_multi_setopt(ts->multi, CURLMOPT_TIMERFUNCTION, set_timer);
    curl_multi_setopt(ts->multi, CURLMOPT_TIMERDATA, ts);
    curl_multi_setopt(ts->multi, CURLMOPT_PIPELINING, (long)CURLPIPE_NOTHING);
    return true;
}

struct transfer *transfer_start(struct transfers *ts, const struct transfer_request *request) {
    struct transfer *t = begin(ts) ? calloc(1, sizeof *t) : NULL;
    if (t == NULL)
        return NULL;
    t->owner = ts;
    t->request = *request;
    t->easy = curl_easy_init();
    if (t->easy != NULL) {
        set_limits(t);
        if (set_request(t) == 0 && curl_multi_add_handle(ts->multi, t->easy) == CURLM_OK)
            return t;
        curl_easy_cleanup(t->easy);
    }
    curl_slist_free_all(t->headers);
    free(t);
    return NULL;
}

struct transfers *transfers_new(struct loop *loop) {
    if ((curl_version_info(CURLVERSION_NOW)->features & CURL_VERSION_ASYNCHDNS) == 0)
        return NULL;
    struct transfers *ts = calloc(1, sizeof *ts);
    if (ts == NULL)
        return NULL;
    ts->loop = loop;
    ts->timer.fire = on_timer;
    ts->reserve = malloc(BEGIN_BYTES);
    if (ts->reserve != NULL)
        return ts;
    free(ts);
    return NULL;
}

void transfers_free(struct transfers *ts) {
    curl_multi_cleanup(ts->multi); /* NULL is allowed */
    if (ts->begun)
        curl_global_cleanup();
    free(ts->reserve);
    loop_clear_timer(ts->loop, &ts->timer);
    free(ts);
}
