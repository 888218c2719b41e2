/* tls.c: see tls.h. Front end.
 *
 *          tls_session_begin                          the certificates ("identities")
 *                 │
 *                 ▼   handshake done                   reload        no session has it any more
 *              SHAKING ─────────────► OPEN     current ────────► old ─────────────────────────► freed
 *                 │ │                  │
 *    no TLS, but  │ │ a fault          │ a fault
 *    an HTTP head │ └──────► BROKEN ◄──┘
 *                 ▼
 *               PLAIN
 *
 * A session keeps the identity that it has begun with: a reload changes nothing for it.
 *
 * GnuTLS's sessions are libmicrohttpd's, which makes them, encrypts answers with them, and frees them. The handshake is
 * ours, and so is reading. libmicrohttpd 0.9.75 to 1.0.1 would ask for the next step of a handshake again and again, without
 * a rest, until the client has sent it; and thousands of clients who never do would cost more the more often it runs. So
 * libmicrohttpd is told at once that the handshake is done (connection.c), and when it reads, the handshake goes on
 * here.
 *
 * GnuTLS says "again" also where the socket has more, and takes a FIN without a close_notify for the end of both
 * directions. But a client that has closed its side can wait for its answer. So GnuTLS reads by a function of ours
 * (pull). For GnuTLS a FIN is as if nothing had come; we know it by `fin`.
 */
#include "server/http/tls.h"

#include <dlfcn.h>
#include <errno.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <utlist.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/state.h"
#include "base/textfile.h"

#define SOON_S        (14 * 86400) /* a certificate that expires within that is warned of */
#define MAX_KEY_BITS  8192         /* of a certificate that a client shows: a larger key takes long to verify with */
#define MAX_CHAIN     8            /* certificates of a client, and of those who have signed it */
#define MAX_TRIES     64           /* of GnuTLS in one call, while it has read something and gives nothing */
#define ENOUGH_MEMORY (96 * 1024)  /* for a step of a handshake, or to read a certificate */

/* TLS 1.2 needs ECDHE and AEAD: all other key exchanges and ciphers of it are weaker or slower. Most clients have sent a
 * share for X25519; if another group were first, they would need one more round trip. */
const char tls_priorities[] = "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2"
                              ":-KX-ALL:+ECDHE-ECDSA:+ECDHE-RSA"
                              ":-CIPHER-ALL:+AES-128-GCM:+AES-256-GCM:+CHACHA20-POLY1305:-MAC-ALL:+AEAD"
                              ":-GROUP-ALL:+GROUP-X25519:+GROUP-SECP256R1:+GROUP-SECP384R1:+GROUP-SECP521R1"
                              ":-SIGN-RSA-SHA1:-SIGN-ECDSA-SHA1:%SERVER_PRECEDENCE";

int tls_no_certificate(void) {
    return -1;
}

struct identity {
    gnutls_certificate_credentials_t credentials;
    int64_t valid_from_s, expires_s;
    bool asks_clients; /* for their certificates */
    unsigned sessions; /* that have it */
    struct identity *prev, *next;
};

struct tls {
    struct identity *current;
    struct identity *old; /* those before it, until no session has them */
    uint64_t failed;
};

enum session_state { SESSION_SHAKING, SESSION_OPEN, SESSION_PLAIN, SESSION_BROKEN, SESSION_STATES };

struct tls_session {
    struct tls *all;
    struct identity *identity;
    gnutls_session_t session; /* libmicrohttpd's; NULL before tls_session_begin */
    int fd;
    enum session_state state;
    bool begun;               /* the client has sent its first byte */
    bool opened;              /* it was SESSION_OPEN once */
    bool drained;             /* by pull: the socket has nothing more now */
    bool fin;                 /* by pull: it will never have more */
    char name[TLS_NAME_SIZE]; /* of the client; "": it has none */
    int64_t client_expires_s; /* when its certificate, or one that signed it, expires first; Unix time */
};

static const struct state_row states[SESSION_STATES] = {
    [SESSION_SHAKING] = {"shaking", TO(SESSION_OPEN) | TO(SESSION_PLAIN) | TO(SESSION_BROKEN)},
    [SESSION_OPEN] = {"open", TO(SESSION_BROKEN)},
    [SESSION_PLAIN] = {"plain", 0},
    [SESSION_BROKEN] = {"broken", 0},
};

static void move(struct tls_session *s, enum session_state to) {
    state_check_move("tls session", states, s->state, to);
    s->state = to;
}

/* ---- GnuTLS's own functions -------------------------------------------------------------------------------------- */

static struct {
    ssize_t (*recv)(gnutls_session_t session, void *to, size_t size);
    int (*handshake)(gnutls_session_t session);
} library;

static bool find_library(void) {
    if (library.recv == NULL)
        library.recv = (ssize_t(*)(gnutls_session_t, void *, size_t))dlsym(RTLD_NEXT, "gnutls_record_recv");
    if (library.handshake == NULL)
        library.handshake = (int (*)(gnutls_session_t))dlsym(RTLD_NEXT, "gnutls_handshake");
    return library.recv != NULL && library.handshake != NULL;
}

static _Thread_local ssize_t (*reader)(int fd, void *to, size_t size);

void tls_begin_reading(ssize_t (*read)(int fd, void *to, size_t size)) {
    reader = read;
}

void tls_end_reading(void) {
    reader = NULL;
}

/* The gnutls_handshake of the whole program. The handshake is done when libmicrohttpd reads, see above. */
int gnutls_handshake(gnutls_session_t session) {
    if (reader != NULL)
        return GNUTLS_E_SUCCESS;
    return find_library() ? library.handshake(session) : GNUTLS_E_INTERNAL_ERROR;
}

/* The gnutls_record_recv of the whole program and of its libraries. After GNUTLS_E_AGAIN libmicrohttpd waits until the
 * socket has more, and after GNUTLS_E_INTERRUPTED it does not. */
ssize_t gnutls_record_recv(gnutls_session_t session, void *to, size_t size) {
    int ours, fd; /* `ours` is no descriptor, but the session, see tls_session_begin */
    if (reader == NULL)
        return find_library() ? library.recv(session, to, size) : GNUTLS_E_INTERNAL_ERROR;
    gnutls_transport_get_int2(session, &ours, &fd);
    ssize_t n = reader(fd, to, size);
    if (n >= 0)
        return n;
    return errno == EAGAIN ? GNUTLS_E_AGAIN : errno == EINTR ? GNUTLS_E_INTERRUPTED : GNUTLS_E_PREMATURE_TERMINATION;
}

/* libtasn1 and GMP, by which GnuTLS reads certificates and calculates with keys, end the process when they get no memory.
 * So it is tried beforehand whether there is enough of it. */
static bool has_memory(void) {
    void *volatile tried = malloc(ENOUGH_MEMORY);
    free(tried);
    return tried != NULL;
}

/* ---- certificates ------------------------------------------------------------------------------------------------ */

static bool is_given(const char *path) {
    return path != NULL && path[0] != '\0';
}

bool tls_is_wanted(const struct tls_files *files) {
    return is_given(files->cert) || is_given(files->key) || is_given(files->client_ca);
}

static int fault(struct buf *error, const char *option, const char *path, const char *what, int rc) {
    if (rc == GNUTLS_E_MEMORY_ERROR)
        return -1;
    buf_printf(error, "%s %s: %s", option, path, what);
    if (rc < 0)
        buf_printf(error, ": %s", gnutls_strerror(rc));
    return -1;
}

static int read_pem(struct buf *pem, const char *option, const char *path, struct buf *error) {
    struct buf why = {0};
    int rc = textfile_read(pem, path, &why);
    if (rc != 0 && why.data != NULL && !why.failed)
        fault(error, option, path, why.data, 0);
    buf_deinit(&why);
    return rc;
}

static gnutls_datum_t datum_of(const struct buf *text) {
    return (gnutls_datum_t){(unsigned char *)text->data, (unsigned)text->size};
}

/* A certificate, those that lead from it to a root, and its key, while they are read. */
struct pair {
    gnutls_x509_crt_t *chain;
    unsigned count;
    gnutls_x509_privkey_t key;
};

static void pair_deinit(struct pair *p) {
    for (unsigned i = 0; i < p->count; i++)
        gnutls_x509_crt_deinit(p->chain[i]);
    gnutls_free(p->chain);
    if (p->key != NULL)
        gnutls_x509_privkey_deinit(p->key);
}

static int read_chain(struct pair *p, const char *path, struct buf *error) {
    struct buf pem = {0};
    if (read_pem(&pem, "--tls-cert", path, error) != 0)
        return -1;
    gnutls_datum_t text = datum_of(&pem);
    int rc = gnutls_x509_crt_list_import2(&p->chain, &p->count, &text, GNUTLS_X509_FMT_PEM, 0);
    buf_deinit(&pem);
    if (rc < 0)
        p->count = 0;
    return rc < 0 ? fault(error, "--tls-cert", path, "there is no certificate in PEM that can be read", rc) : 0;
}

static int read_key(struct pair *p, const char *path, struct buf *error) {
    struct buf pem = {0};
    if (read_pem(&pem, "--tls-key", path, error) != 0)
        return -1;
    gnutls_datum_t text = datum_of(&pem);
    int rc = gnutls_x509_privkey_init(&p->key);
    if (rc == 0)
        rc = gnutls_x509_privkey_import2(p->key, &text, GNUTLS_X509_FMT_PEM, NULL, 0);
    textfile_wipe(&pem);
    if (rc == GNUTLS_E_DECRYPTION_FAILED)
        return fault(error, "--tls-key", path, "it is encrypted, and there is nobody to ask for the passphrase", 0);
    return rc < 0 ? fault(error, "--tls-key", path, "there is no private key in PEM that can be read", rc) : 0;
}

static int set_pair(struct identity *i, const struct tls_files *f, struct buf *error) {
    struct pair p = {0};
    int rc = read_chain(&p, f->cert, error);
    if (rc == 0)
        rc = read_key(&p, f->key, error);
    if (rc == 0) {
        i->valid_from_s = gnutls_x509_crt_get_activation_time(p.chain[0]);
        i->expires_s = gnutls_x509_crt_get_expiration_time(p.chain[0]);
        rc = gnutls_certificate_set_x509_key(i->credentials, p.chain, (int)p.count, p.key);
        if (rc == GNUTLS_E_CERTIFICATE_KEY_MISMATCH)
            rc = fault(error, "--tls-key", f->key, "it is not the key of the certificate of --tls-cert", 0);
        else if (rc < 0)
            rc = fault(error, "--tls-cert", f->cert, "it cannot be used", rc);
    }
    pair_deinit(&p);
    return rc;
}

static void log_refused(unsigned status) {
    gnutls_datum_t why = {0};
    if (gnutls_certificate_verification_status_print(status, GNUTLS_CRT_X509, &why, 0) != 0)
        return;
    LOG(LOG_INFO, "tls_client_refused", LOG_STR("why", (const char *)why.data));
    gnutls_free(why.data);
}

/* Called for each handshake in which a client was asked for a certificate. One that sends none is let in. */
static int verify_client(gnutls_session_t session) {
    unsigned char purpose[] = GNUTLS_KP_TLS_WWW_CLIENT;
    gnutls_typed_vdata_st wanted = {GNUTLS_DT_KEY_PURPOSE_OID, purpose, 0};
    unsigned count = 0, status = 0;
    if (gnutls_certificate_get_peers(session, &count) == NULL || count == 0)
        return 0;
    int rc = gnutls_certificate_verify_peers(session, &wanted, 1, &status);
    if (rc < 0)
        return rc;
    if (status == 0)
        return 0;
    log_refused(status);
    return GNUTLS_E_CERTIFICATE_VERIFICATION_ERROR;
}

static int set_clients(struct identity *i, const char *path, struct buf *error) {
    struct buf pem = {0};
    if (!is_given(path))
        return 0;
    if (read_pem(&pem, "--tls-client-ca", path, error) != 0)
        return -1;
    gnutls_datum_t text = datum_of(&pem);
    int rc = gnutls_certificate_set_x509_trust_mem(i->credentials, &text, GNUTLS_X509_FMT_PEM);
    buf_deinit(&pem);
    if (rc <= 0)
        return fault(error, "--tls-client-ca", path, "there is no certificate in PEM that can be read", rc);
    i->asks_clients = true;
    gnutls_certificate_set_verify_function(i->credentials, verify_client);
    gnutls_certificate_set_verify_limits(i->credentials, MAX_KEY_BITS, MAX_CHAIN);
    return 0;
}

static void identity_free(struct identity *i) {
    if (i->credentials != NULL)
        gnutls_certificate_free_credentials(i->credentials);
    free(i);
}

static int check_options(const struct tls_files *f, struct buf *error) {
    if (is_given(f->cert) && is_given(f->key))
        return 0;
    if (is_given(f->cert))
        buf_puts(error, "--tls-cert: --tls-key is needed, too");
    else if (is_given(f->key))
        buf_puts(error, "--tls-key: --tls-cert is needed, too");
    else
        buf_puts(error, "--tls-client-ca: --tls-cert and --tls-key are needed, too");
    return -1;
}

static struct identity *identity_read(const struct tls_files *f, struct buf *error) {
    struct identity *i = check_options(f, error) != 0 || !has_memory() ? NULL : calloc(1, sizeof *i);
    if (i == NULL)
        return NULL;
    if (gnutls_certificate_allocate_credentials(&i->credentials) == 0 && set_pair(i, f, error) == 0 &&
        set_clients(i, f->client_ca, error) == 0)
        return i;
    identity_free(i);
    return NULL;
}

/* A certificate that is not valid is used all the same: it is the clients who judge. */
static void warn_of_time(const struct identity *i, const char *path) {
    int64_t now_s = clock_wall_ms() / 1000, left_s = i->expires_s - now_s;
    char date[40];
    time_t expires = (time_t)i->expires_s;
    struct tm utc;
    strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&expires, &utc));
    if (left_s <= 0)
        LOG(LOG_WARN, "tls_certificate_expired", LOG_STR("file", path), LOG_STR("expires_at", date));
    else if (left_s < SOON_S)
        LOG(LOG_WARN, "tls_certificate_expires", LOG_STR("file", path), LOG_STR("expires_at", date),
            LOG_INT("days_left", left_s / 86400));
    else if (i->valid_from_s > now_s)
        LOG(LOG_WARN, "tls_certificate_not_yet_valid", LOG_STR("file", path));
}

int tls_check(const struct tls_files *files, struct buf *error) {
    struct identity *i = identity_read(files, error);
    if (i != NULL)
        identity_free(i);
    return i == NULL ? -1 : 0;
}

struct tls *tls_open(const struct tls_files *files, struct buf *error) {
    struct tls *t = find_library() ? calloc(1, sizeof *t) : NULL;
    if (t == NULL)
        return NULL;
    t->current = identity_read(files, error);
    if (t->current == NULL) {
        free(t);
        return NULL;
    }
    warn_of_time(t->current, files->cert);
    return t;
}

int tls_reload(struct tls *t, const struct tls_files *files, struct buf *error) {
    struct identity *i = identity_read(files, error);
    if (i == NULL)
        return -1;
    if (t->current->asks_clients && !i->asks_clients) {
        buf_puts(error,
                 "--tls-client-ca: without it clients would no longer be asked for certificates; that needs a restart");
        identity_free(i);
        return -1;
    }
    DL_APPEND(t->old, t->current);
    t->current = i;
    warn_of_time(i, files->cert);
    return 0;
}

void tls_sweep(struct tls *t) {
    struct identity *i, *next;
    DL_FOREACH_SAFE(t->old, i, next) {
        if (i->sessions == 0) {
            DL_DELETE(t->old, i);
            identity_free(i);
        }
    }
}

void tls_close(struct tls *t) {
    if (t == NULL)
        return;
    tls_sweep(t);
    identity_free(t->current);
    free(t);
}

int64_t tls_expires_s(const struct tls *t) {
    return t->current->expires_s;
}

uint64_t tls_failed(const struct tls *t) {
    return t->failed;
}

/* ---- names ------------------------------------------------------------------------------------------------------- */

/* Copies the name if it is one that can be compared, logged and shown: UTF-8 without control characters, C1 included. */
static bool take_name(const gnutls_datum_t *value, char name[TLS_NAME_SIZE]) {
    unsigned characters = 0;
    for (unsigned i = 0; i < value->size; i++)
        characters += (value->data[i] & 0xC0) != 0x80;
    bool good = value->size > 0 && value->size < TLS_NAME_SIZE && characters <= 64 &&
                utf8_is_printable((const char *)value->data, value->size);
    if (good)
        memcpy(name, value->data, value->size);
    name[good ? value->size : 0] = '\0';
    return good;
}

/* The tags of the strings whose bytes are UTF-8: UTF8String, PrintableString, IA5String (X.680 section 8.4). The others
 * that a name can have (RFC 5280 section 4.1.2.4) are long out of use. */
static bool is_text(unsigned tag) {
    return tag == 12 || tag == 19 || tag == 22;
}

static bool is_common_name(const gnutls_x509_ava_st *a) {
    static const char wanted[] = GNUTLS_OID_X520_COMMON_NAME;
    return a->oid.size >= sizeof wanted - 1 && strncmp((const char *)a->oid.data, wanted, a->oid.size) == 0;
}

bool tls_common_name(gnutls_x509_crt_t certificate, char name[TLS_NAME_SIZE]) {
    gnutls_x509_dn_t subject;
    gnutls_x509_ava_st one, found = {0};
    unsigned count = 0;
    name[0] = '\0';
    if (gnutls_x509_crt_get_subject(certificate, &subject) != 0)
        return false;
    int rc = 0;
    for (int rdn = 0; rc == 0; rdn++) {
        int ava = 0;
        while ((rc = gnutls_x509_dn_get_rdn_ava(subject, rdn, ava, &one)) == 0) {
            ava++;
            if (!is_common_name(&one))
                continue;
            found = one;
            count++;
        }
        if (ava > 0 && rc == GNUTLS_E_ASN1_ELEMENT_NOT_FOUND)
            rc = 0; /* this part of the name is over, and there can be more */
    }
    return rc == GNUTLS_E_ASN1_ELEMENT_NOT_FOUND && count == 1 && is_text(found.value_tag) &&
           take_name(&found.value, name);
}

/* ---- sessions ---------------------------------------------------------------------------------------------------- */

struct tls_session *tls_session_new(struct tls *t, int fd) {
    struct tls_session *s = calloc(1, sizeof *s);
    if (s == NULL)
        return NULL;
    s->all = t;
    s->fd = fd;
    s->identity = t->current;
    s->identity->sessions++;
    return s;
}

void tls_session_end(struct tls_session *s) {
    s->identity->sessions--;
    s->all->failed += s->begun && !s->opened;
    free(s);
}

/* GnuTLS reads the socket by it. */
static ssize_t pull(gnutls_transport_ptr_t at, void *to, size_t size) {
    struct tls_session *s = at;
    ssize_t n = recvfrom(s->fd, to, size, MSG_DONTWAIT, NULL, NULL);
    if (n > 0)
        return n;
    s->drained = true;
    if (n == 0) {
        s->fin = true;
        errno = EAGAIN;
    }
    return -1;
}

void tls_session_begin(struct tls_session *s, gnutls_session_t session) {
    unsigned char protocol[] = "http/1.1"; /* RFC 7301 */
    const gnutls_datum_t protocols = {protocol, sizeof protocol - 1};
    s->session = session;
    gnutls_transport_set_ptr2(session, s, (gnutls_transport_ptr_t)(intptr_t)s->fd);
    gnutls_transport_set_pull_function(session, pull);
    if (s->identity->asks_clients)
        gnutls_certificate_server_set_request(session, GNUTLS_CERT_REQUEST);
    if (gnutls_credentials_set(session, GNUTLS_CRD_CERTIFICATE, s->identity->credentials) != 0 ||
        gnutls_alpn_set_protocols(session, &protocols, 1, GNUTLS_ALPN_MANDATORY) != 0)
        move(s, SESSION_BROKEN);
}

static int broken(struct tls_session *s, const char *event, int rc) {
    LOG(LOG_DEBUG, event, LOG_STR("error", gnutls_strerror(rc)));
    move(s, SESSION_BROKEN);
    errno = ECONNRESET;
    return -1;
}

/* The name is found once, for all requests of the connection. */
static void take_client(struct tls_session *s) {
    unsigned count = 0;
    const gnutls_datum_t *peers = s->identity->asks_clients ? gnutls_certificate_get_peers(s->session, &count) : NULL;
    s->client_expires_s = INT64_MAX;
    for (unsigned i = 0; peers != NULL && i < count; i++) {
        gnutls_x509_crt_t certificate;
        int64_t expires_s = 0; /* if it cannot be read */
        if (gnutls_x509_crt_init(&certificate) == 0) {
            if (gnutls_x509_crt_import(certificate, &peers[i], GNUTLS_X509_FMT_DER) == 0)
                expires_s = gnutls_x509_crt_get_expiration_time(certificate);
            if (i == 0 && expires_s > 0)
                tls_common_name(certificate, s->name);
            gnutls_x509_crt_deinit(certificate);
        }
        s->client_expires_s = expires_s < s->client_expires_s ? expires_s : s->client_expires_s;
    }
}

/* Looks at the first byte. 0: it is TLS, as far as that can be seen. -1 with errno. */
static int see_first_byte(struct tls_session *s) {
    unsigned char first;
    ssize_t n = recvfrom(s->fd, &first, 1, MSG_PEEK | MSG_DONTWAIT, NULL, NULL);
    if (n < 0)
        return -1;
    if (n == 0) {
        errno = ECONNRESET;
        return -1;
    }
    s->begun = true;
    if (first < 'A' || first > 'Z') /* else it is a method */
        return 0;
    move(s, SESSION_PLAIN);
    errno = EPROTO;
    return -1;
}

/* GnuTLS can go on at once, although it has said that it cannot. */
static bool can_go_on(const struct tls_session *s, ssize_t rc) {
    bool reads = gnutls_record_get_direction(s->session) == 0;
    return rc == GNUTLS_E_AGAIN ? reads && !s->drained : gnutls_error_is_fatal((int)rc) == 0;
}

int tls_shake(struct tls_session *s) {
    int rc = GNUTLS_E_INTERRUPTED;
    if (s->state != SESSION_SHAKING || s->session == NULL) {
        errno = ECONNRESET;
        return s->state == SESSION_OPEN ? 0 : -1;
    }
    if (!s->begun && see_first_byte(s) != 0)
        return -1;
    if (!has_memory())
        return broken(s, "tls_handshake_failed", GNUTLS_E_MEMORY_ERROR);
    for (int i = 0; i < MAX_TRIES && rc != 0 && (i == 0 || can_go_on(s, rc)); i++) {
        s->drained = false;
        rc = library.handshake(s->session);
    }
    if (rc == 0) {
        move(s, SESSION_OPEN);
        s->opened = true;
        take_client(s);
        return 0;
    }
    if (rc == GNUTLS_E_AGAIN && !s->fin) {
        errno = EAGAIN;
        return -1;
    }
    if (gnutls_error_is_fatal(rc) != 0)
        gnutls_alert_send_appropriate(s->session, rc);
    return broken(s, "tls_handshake_failed", rc == GNUTLS_E_AGAIN ? GNUTLS_E_PREMATURE_TERMINATION : rc);
}

ssize_t tls_read(struct tls_session *s, void *to, size_t size) {
    if (s->state != SESSION_OPEN && tls_shake(s) != 0)
        return -1;
    ssize_t n = GNUTLS_E_AGAIN;
    for (int i = 0; i < MAX_TRIES; i++) {
        s->drained = false;
        n = library.recv(s->session, to, size);
        if (n >= 0 || n == GNUTLS_E_REHANDSHAKE || !can_go_on(s, n))
            break;
    }
    if (n >= 0 || (n == GNUTLS_E_AGAIN && s->fin))
        return n < 0 ? 0 : n;
    if (n != GNUTLS_E_REHANDSHAKE && gnutls_error_is_fatal((int)n) == 0) {
        errno = n == GNUTLS_E_AGAIN && s->drained ? EAGAIN : EINTR;
        return -1;
    }
    return broken(s, "tls_read_failed", (int)n);
}

size_t tls_pending(const struct tls_session *s) {
    return s->state == SESSION_OPEN ? gnutls_record_check_pending(s->session) : 0;
}

ssize_t tls_write(struct tls_session *s, const void *bytes, size_t size) {
    size_t at = 0;
    ssize_t n = 0;
    if (s->state != SESSION_OPEN) {
        errno = ENOTCONN;
        return -1;
    }
    /* What libmicrohttpd could not send goes first; if there is nothing, this is an invalid request. */
    n = gnutls_record_send(s->session, NULL, 0);
    if (n >= 0 || n == GNUTLS_E_INVALID_REQUEST)
        n = 1;
    while (at < size && n > 0) {
        n = gnutls_record_send(s->session, (const char *)bytes + at, size - at);
        at += n > 0 ? (size_t)n : 0;
    }
    errno = n == GNUTLS_E_AGAIN ? EAGAIN : EPIPE;
    return at > 0 ? (ssize_t)at : -1;
}

void tls_end_writing(struct tls_session *s) {
    if (s->state == SESSION_OPEN)
        gnutls_bye(s->session, GNUTLS_SHUT_WR);
}

bool tls_is_open(const struct tls_session *s) {
    return s->state == SESSION_OPEN;
}

bool tls_is_plain(const struct tls_session *s) {
    return s->state == SESSION_PLAIN;
}

bool tls_wants_to_write(const struct tls_session *s) {
    return s->state == SESSION_SHAKING && s->begun && gnutls_record_get_direction(s->session) == 1;
}

const char *tls_client_name(const struct tls_session *s) {
    bool good = s->name[0] != '\0' && clock_wall_ms() / 1000 <= s->client_expires_s;
    return good ? s->name : NULL;
}
