/* client.c: see client.h. Process: the client. libcurl's multi interface is used for a single transfer, because its
 * poll takes the descriptor of interrupt.h, too: ctrl-C ends a long poll at once, and not only at libcurl's next look
 * at the clock. All that the service sends is hostile: bodies are bounded, and redirects and other protocols are not
 * followed, so the key goes to the host of the URL and to no other. */
#include "cli/client.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <curl/curl.h>

#include "cli/interrupt.h"
#include "cli/say.h"

#define CONNECT_TIMEOUT_S 10L
#define STALL_TIMEOUT_S   30L
#define DOCUMENT_BYTES    (16u << 20) /* a Job has at most 256 KiB of result */
#define PROBLEM_BYTES     (256u << 10)

struct client {
    CURLM *multi;
    CURL *easy;
    char *name;
    char *base;         /* the URL without a slash at its end */
    const char *socket; /* the path of a unix: URL, or NULL */
    bool loopback;      /* the service is on this machine: no proxy, even if the environment names one */
    struct client_access access;
    char *authorization; /* the header, or NULL */
    CURLcode code;       /* how the last exchange ended */
    char error[CURL_ERROR_SIZE];
};

struct transfer {
    struct client *client;
    const struct client_request *request;
    struct client_response *response;
    const char *fault; /* why the body was rejected, or NULL */
};

static char *url_part(CURLU *url, CURLUPart part) {
    char *text = NULL;
    curl_url_get(url, part, &text, 0);
    char *copy = text != NULL ? strdup(text) : NULL;
    curl_free(text);
    return copy;
}

static int client_set_http(struct client *c, const char *text) {
    CURLU *url = curl_url();
    char *scheme = NULL, *host = NULL;
    int status = -1;
    if (url == NULL || strstr(text, "://") == NULL || curl_url_set(url, CURLUPART_URL, text, 0) != CURLUE_OK)
        goto out;
    curl_url_set(url, CURLUPART_QUERY, NULL, 0);
    curl_url_set(url, CURLUPART_FRAGMENT, NULL, 0);
    c->base = url_part(url, CURLUPART_URL);
    scheme = url_part(url, CURLUPART_SCHEME);
    host = url_part(url, CURLUPART_HOST);
    /* The name is for people to read: it has no credentials. */
    curl_url_set(url, CURLUPART_USER, NULL, 0);
    curl_url_set(url, CURLUPART_PASSWORD, NULL, 0);
    c->name = url_part(url, CURLUPART_URL);
    if (c->base == NULL || c->name == NULL || scheme == NULL || host == NULL)
        goto out;
    c->loopback = strcmp(host, "localhost") == 0 || strncmp(host, "127.", 4) == 0 || strcmp(host, "[::1]") == 0;
    status = strcmp(scheme, "http") == 0 || strcmp(scheme, "https") == 0 ? 0 : -1;
out:
    free(scheme);
    free(host);
    curl_url_cleanup(url);
    return status;
}

static int client_set_unix(struct client *c, const char *text) {
    c->name = strdup(text);
    c->base = strdup("http://localhost");
    if (c->name == NULL || c->base == NULL)
        return -1;
    c->socket = c->name + strlen("unix:");
    return c->socket[0] == '/' ? 0 : -1;
}

static void cut_slashes(char *url) {
    size_t size = strlen(url);
    while (size != 0 && url[size - 1] == '/')
        url[--size] = '\0';
}

/* False: memory ran out. */
static bool client_set_access(struct client *c, const struct client_access *access) {
    static const char name[] = "Authorization: Bearer ";
    c->access = *access;
    if (access->key == NULL)
        return true;
    size_t size = sizeof name + strlen(access->key);
    c->authorization = malloc(size);
    if (c->authorization != NULL)
        snprintf(c->authorization, size, "%s%s", name, access->key);
    return c->authorization != NULL;
}

struct client *client_new(const char *url, const struct client_access *access) {
    struct client *c = calloc(1, sizeof *c);
    if (c == NULL || curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK || !client_set_access(c, access))
        goto fail;
    c->multi = curl_multi_init();
    c->easy = curl_easy_init();
    if (c->multi == NULL || c->easy == NULL)
        goto fail;
    if ((strncmp(url, "unix:", 5) == 0 ? client_set_unix(c, url) : client_set_http(c, url)) == 0) {
        cut_slashes(c->base);
        cut_slashes(c->name);
        return c;
    }
    say("not a URL that can be used: %s (http://HOST:PORT, https://HOST or unix:/PATH)", url);
    client_free(c);
    return NULL;
fail:
    say("libcurl could not be started");
    client_free(c);
    return NULL;
}

void client_free(struct client *c) {
    if (c == NULL)
        return;
    curl_easy_cleanup(c->easy);
    curl_multi_cleanup(c->multi);
    if (c->authorization != NULL)
        explicit_bzero(c->authorization, strlen(c->authorization));
    free(c->authorization);
    free(c->name);
    free(c->base);
    free(c);
    curl_global_cleanup();
}

const char *client_name(const struct client *c) {
    return c->name;
}

const char *client_error(const struct client *c) {
    return c->error;
}

bool client_is_hopeless(const struct client *c) {
    switch (c->code) {
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_CERTPROBLEM: return true;
    default: return false;
    }
}

bool client_has_key(const struct client *c) {
    return c->authorization != NULL;
}

void client_escape(struct client *c, struct buf *out, const char *text) {
    char *escaped = curl_easy_escape(c->easy, text, 0);
    if (escaped == NULL)
        out->failed = true;
    else
        buf_puts(out, escaped);
    curl_free(escaped);
}

/* "text/plain; charset=utf-8" is of the type "text/plain". */
static bool is_type(const char *given, const char *type) {
    size_t size = strlen(type);
    return given != NULL && strncasecmp(given, type, size) == 0 && strchr("; \t", given[size]) != NULL;
}

static bool has_header(struct client *c, const char *name) {
    struct curl_header *found;
    return curl_easy_header(c->easy, name, 0, CURLH_HEADER, -1, &found) == CURLHE_OK;
}

/* Whether the head that has come cannot be from offload. */
static bool is_foreign(struct client *c, const struct client_request *request) {
    const char *type = NULL, *wanted = request->accept;
    long status = 0;
    curl_easy_getinfo(c->easy, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_getinfo(c->easy, CURLINFO_CONTENT_TYPE, &type);
    if (!has_header(c, "X-Request-Id"))
        return true;
    if (status / 100 != 2) /* a probe that fails answers in its own type */
        return !is_type(type, "application/problem+json") && (wanted == NULL || !is_type(type, wanted));
    if (status == 200 && wanted != NULL)
        return !is_type(type, wanted);
    if (status == 200 && request->sink != NULL) /* a result can be of any type */
        return type == NULL || !has_header(c, "Server-Timing");
    return !is_type(type, "application/json");
}

static size_t take_body(char *data, size_t one, size_t size, void *arg) {
    (void)one;
    struct transfer *t = arg;
    struct client_response *response = t->response;
    long status = 0;
    curl_easy_getinfo(t->client->easy, CURLINFO_RESPONSE_CODE, &status);
    if (status == 200 && t->request->sink != NULL && !is_foreign(t->client, t->request)) {
        if (size == 0 || fwrite(data, 1, size, t->request->sink) == size) {
            response->last = size != 0 ? data[size - 1] : response->last;
            return size;
        }
        t->fault = "the output could not be written";
        return 0;
    }
    if (status == 200 && t->request->sink != NULL)
        return size; /* `foreign` says it */
    if (size > (status / 100 == 2 ? DOCUMENT_BYTES : PROBLEM_BYTES) - response->body.size)
        t->fault = "the answer is too large";
    buf_append(&response->body, data, t->fault == NULL ? size : 0);
    return t->fault == NULL && !response->body.failed ? size : 0;
}

static void add_header(struct curl_slist **headers, const char *name, const char *value) {
    char line[400];
    snprintf(line, sizeof line, "%s: %s", name, value);
    struct curl_slist *longer = curl_slist_append(*headers, line);
    if (longer != NULL)
        *headers = longer;
}

static struct curl_slist *make_headers(const struct client *c, const struct client_request *request) {
    struct curl_slist *headers = c->authorization != NULL ? curl_slist_append(NULL, c->authorization) : NULL;
    const char *accept = request->sink != NULL ? "*/*" : "application/json, application/problem+json";
    add_header(&headers, "Accept", request->accept != NULL ? request->accept : accept);
    if (request->prefer != NULL)
        add_header(&headers, "Prefer", request->prefer);
    if (request->key != NULL)
        add_header(&headers, "Idempotency-Key", request->key);
    if (request->last_event != NULL)
        add_header(&headers, "Last-Event-ID", request->last_event);
    if (request->part_count > 0)
        return headers; /* libcurl names the boundary of the form */
    if (request->body != NULL)
        add_header(&headers, "Content-Type", "application/json");
    else if (strcmp(request->method, "POST") == 0)
        add_header(&headers, "Content-Type", ""); /* otherwise libcurl declares the empty body a form */
    return headers;
}

static size_t read_part(char *to, size_t one, size_t count, void *arg) {
    return fread(to, one, count, arg);
}

static int seek_part(void *arg, curl_off_t offset, int origin) {
    return fseeko(arg, offset, origin) == 0 ? CURL_SEEKFUNC_OK : CURL_SEEKFUNC_FAIL;
}

static bool add_part(curl_mime *form, const struct client_part *p) {
    curl_mimepart *part = curl_mime_addpart(form);
    return part != NULL && fseeko(p->file, 0, SEEK_SET) == 0 && curl_mime_name(part, "data") == CURLE_OK &&
           (p->media_type == NULL || curl_mime_type(part, p->media_type) == CURLE_OK) &&
           curl_mime_data_cb(part, p->size, read_part, seek_part, NULL, p->file) == CURLE_OK;
}

/* NULL: memory ran out. */
static curl_mime *make_form(struct client *c, const struct client_request *request) {
    curl_mime *form = curl_mime_init(c->easy);
    curl_mimepart *job = form == NULL ? NULL : curl_mime_addpart(form);
    bool good = job != NULL && curl_mime_name(job, "job") == CURLE_OK &&
                curl_mime_type(job, "application/json") == CURLE_OK &&
                curl_mime_data(job, request->body->data, request->body->size) == CURLE_OK;
    for (size_t i = 0; good && i < request->part_count; i++)
        good = add_part(form, &request->parts[i]);
    if (good)
        return form;
    curl_mime_free(form);
    return NULL;
}

/* With a file of authorities the directory of the system's is not looked at either. */
static void set_trust(struct client *c) {
    const struct client_access *access = &c->access;
    if (access->ca != NULL) {
        curl_easy_setopt(c->easy, CURLOPT_CAINFO, access->ca);
        curl_easy_setopt(c->easy, CURLOPT_CAPATH, NULL);
    }
    if (access->cert == NULL)
        return;
    curl_easy_setopt(c->easy, CURLOPT_SSLCERT, access->cert);
    curl_easy_setopt(c->easy, CURLOPT_SSLKEY, access->cert_key != NULL ? access->cert_key : access->cert);
}

/* The options of one exchange. `url`, the request and the transfer are borrowed until it is over. */
static void set_options(struct client *c, const char *url, const struct client_request *request, struct transfer *t) {
    curl_easy_reset(c->easy);
    curl_easy_setopt(c->easy, CURLOPT_URL, url);
    curl_easy_setopt(c->easy, CURLOPT_PATH_AS_IS, 1L); /* an id can be ".." */
    curl_easy_setopt(c->easy, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(c->easy, CURLOPT_USERAGENT, "offload/" OFFLOAD_VERSION);
    if (c->socket != NULL)
        curl_easy_setopt(c->easy, CURLOPT_UNIX_SOCKET_PATH, c->socket);
    if (c->socket != NULL || c->loopback)
        curl_easy_setopt(c->easy, CURLOPT_PROXY, "");

    set_trust(c);
    curl_easy_setopt(c->easy, CURLOPT_CONNECTTIMEOUT, CONNECT_TIMEOUT_S);
    curl_easy_setopt(c->easy, CURLOPT_LOW_SPEED_LIMIT, 1L);
    curl_easy_setopt(c->easy, CURLOPT_LOW_SPEED_TIME, STALL_TIMEOUT_S + request->wait_s);
    curl_easy_setopt(c->easy, CURLOPT_TIMEOUT_MS, (long)request->limit_ms);

    if (strcmp(request->method, "POST") == 0 && request->part_count == 0) {
        curl_easy_setopt(c->easy, CURLOPT_POST, 1L);
        curl_easy_setopt(c->easy, CURLOPT_POSTFIELDS, request->body != NULL ? request->body->data : "");
        curl_easy_setopt(c->easy, CURLOPT_POSTFIELDSIZE_LARGE,
                         (curl_off_t)(request->body != NULL ? request->body->size : 0));
    }
    curl_easy_setopt(c->easy, CURLOPT_WRITEFUNCTION, take_body);
    curl_easy_setopt(c->easy, CURLOPT_WRITEDATA, t);
    curl_easy_setopt(c->easy, CURLOPT_ERRORBUFFER, c->error);
}

/* Performs the transfer, and returns how it ended. *interrupted: a signal ended it before. */
static CURLcode drive(struct client *c, bool uninterrupted, bool *interrupted) {
    struct curl_waitfd wake = {.fd = interrupt_fd(), .events = CURL_WAIT_POLLIN};
    bool listens = !uninterrupted && wake.fd >= 0;
    int running = 1;
    for (;;) {
        if (curl_multi_perform(c->multi, &running) != CURLM_OK)
            return CURLE_FAILED_INIT;
        if (running == 0)
            break;
        curl_multi_poll(c->multi, &wake, listens ? 1 : 0, 1000, NULL);
        *interrupted = listens && interrupt_signal() != 0;
        if (*interrupted)
            return CURLE_OK;
    }
    int left;
    const struct CURLMsg *message = curl_multi_info_read(c->multi, &left);
    return message != NULL ? message->data.result : CURLE_FAILED_INIT;
}

static void append_hint(struct client *c, const char *hint) {
    size_t size = strlen(c->error);
    snprintf(c->error + size, sizeof c->error - size, "%s", hint);
}

static enum client_result exchange(struct client *c, struct transfer *t) {
    struct client_response *response = t->response;
    bool interrupted = false;
    CURLcode code = CURLE_FAILED_INIT;
    if (curl_multi_add_handle(c->multi, c->easy) == CURLM_OK)
        code = drive(c, t->request->uninterrupted, &interrupted);
    curl_multi_remove_handle(c->multi, c->easy);
    c->code = code;
    if (interrupted)
        return CLIENT_INTERRUPTED;
    if (code != CURLE_OK) {
        if (t->fault != NULL)
            snprintf(c->error, sizeof c->error, "%s", t->fault);
        else if (response->body.failed)
            snprintf(c->error, sizeof c->error, "out of memory");
        else if (c->error[0] == '\0')
            snprintf(c->error, sizeof c->error, "%s", curl_easy_strerror(code));
        if (code == CURLE_PEER_FAILED_VERIFICATION)
            append_hint(c, "; --ca FILE or OFFLOAD_CA names the authority to trust");
        return CLIENT_FAILED;
    }
    long status = 0;
    curl_off_t retry_after_s = 0;
    const char *type = NULL;
    curl_easy_getinfo(c->easy, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_getinfo(c->easy, CURLINFO_RETRY_AFTER, &retry_after_s);
    curl_easy_getinfo(c->easy, CURLINFO_CONTENT_TYPE, &type);
    response->status = (int)status;
    response->retry_after_s = retry_after_s;
    response->json = is_type(type, "application/json");
    response->plain = is_type(type, "text/plain");
    response->foreign = is_foreign(c, t->request);
    return CLIENT_ANSWERED;
}

enum client_result client_perform(struct client *c, const struct client_request *request,
                                  struct client_response *response) {
    struct transfer t = {.client = c, .request = request, .response = response};
    struct buf url = {0};
    buf_clear(&response->body);
    *response = (struct client_response){.body = response->body};
    buf_puts(&url, c->base);
    buf_append(&url, request->path.data, request->path.size);
    c->error[0] = '\0';
    c->code = CURLE_OK;
    if (url.failed || request->path.failed) {
        snprintf(c->error, sizeof c->error, "out of memory");
        buf_deinit(&url);
        return CLIENT_FAILED;
    }
    struct curl_slist *headers = make_headers(c, request);
    set_options(c, url.data, request, &t);
    curl_easy_setopt(c->easy, CURLOPT_HTTPHEADER, headers);
    curl_mime *form = request->part_count > 0 ? make_form(c, request) : NULL;
    enum client_result result = CLIENT_FAILED;
    if (request->part_count > 0)
        curl_easy_setopt(c->easy, CURLOPT_MIMEPOST, form);
    if (request->part_count > 0 && form == NULL)
        snprintf(c->error, sizeof c->error, "out of memory");
    else
        result = exchange(c, &t);
    curl_mime_free(form);
    curl_slist_free_all(headers);
    buf_deinit(&url);
    return result;
}
