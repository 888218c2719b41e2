/* tls.h: TLS (RFC 8446, RFC 5246) by GnuTLS: the server's certificate and key, handshakes, bytes of a connection, and who
 * the client is. It knows nothing of HTTP. For this room only. Event loop's thread. */
#ifndef OFFLOAD_HTTP_TLS_H
#define OFFLOAD_HTTP_TLS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/attributes.h"
#include "base/buf.h"

/* GnuTLS's gnutls_session_t and gnutls_x509_crt_t point to them. Its header and ours have a name in common, so tls.c alone
 * includes it. */
struct gnutls_session_int;
struct gnutls_x509_crt_int;

/* ---- the server's ------------------------------------------------------------------------------------------------ */

struct tls;         /* the certificate in use, and those before it that connections still have */
struct tls_session; /* a connection's part */

/* The files, see http_config; NULL or "": none. */
struct tls_files {
    const char *cert, *key, *client_ca;
};

/* What libmicrohttpd wants to know to begin a session: GnuTLS's priorities. */
extern const char tls_priorities[];
/* And someone who gives it a certificate (MHD_OPTION_HTTPS_CERT_CALLBACK). It is never called, because each session gets its
 * certificate by tls_session_begin. */
int tls_no_certificate(void);

/* True if there is a file, so TLS is asked for, be it right or wrong. */
bool tls_is_wanted(const struct tls_files *files);
/* Reads the files, and keeps nothing. 0, or -1 with one line in `error`, which is empty if memory ran out. */
MUST_CHECK int tls_check(const struct tls_files *files, struct buf *error);
/* Reads the files. Logs a warning if the certificate is not valid now, or not for long. NULL as for tls_check. */
MUST_CHECK struct tls *tls_open(const struct tls_files *files, struct buf *error);
/* Reads the files again, for sessions from now on. 0; or -1 as for tls_check, and what was read before stays. */
MUST_CHECK int tls_reload(struct tls *t, const struct tls_files *files, struct buf *error);
/* Frees the certificates that were replaced, and that no session has any more. GnuTLS's sessions of all that have ended
 * must be gone. */
void tls_sweep(struct tls *t);
/* Frees it. All sessions have ended, and GnuTLS's are gone. NULL is allowed. */
void tls_close(struct tls *t);

int64_t tls_expires_s(const struct tls *t); /* when the certificate expires; Unix time */
uint64_t tls_failed(const struct tls *t);   /* how many handshakes have begun and were never done */

/* The common name (RFC 5280 appendix A.1, X520CommonName) of the subject of a certificate. False if there is not exactly
 * one, or if it is no text of 1 to 64 characters without control characters; then `name` is "". */
#define TLS_NAME_SIZE (64 * 4 + 1)
bool tls_common_name(struct gnutls_x509_crt_int *certificate, char name[TLS_NAME_SIZE]);

/* ---- a connection's ---------------------------------------------------------------------------------------------- */

/* Its handshake is still to come. The socket, which must be non-blocking, stays the caller's. NULL if memory ran out. */
struct tls_session *tls_session_new(struct tls *t, int fd);
/* libmicrohttpd has made GnuTLS's session of it: it gets the certificate, and reads by this module. No byte of it was
 * sent or received. If this fails, so will the handshake. */
void tls_session_begin(struct tls_session *s, struct gnutls_session_int *session);
/* Frees it. GnuTLS's session may be gone already. */
void tls_session_end(struct tls_session *s);

/* Like recv(2) of what the client has sent; goes on with the handshake before that. 0: the client will send nothing more
 * (a close_notify or a FIN; RFC 8446 section 6.1). -1 with errno: EAGAIN; EINTR: call it again in a moment; EPROTO: the
 * client has begun in plain HTTP; else the session is broken, and an alert was sent if there is one to say so. */
ssize_t tls_read(struct tls_session *s, void *to, size_t size);
/* Bytes that tls_read can give without the socket. */
size_t tls_pending(const struct tls_session *s);
/* Sends what the socket takes at once. How many bytes that was, or -1 with errno. */
ssize_t tls_write(struct tls_session *s, const void *bytes, size_t size);
/* Sends a close_notify, if the socket takes it. */
void tls_end_writing(struct tls_session *s);

/* The handshake is done. */
bool tls_is_open(const struct tls_session *s);
/* tls_read has failed with EPROTO. */
bool tls_is_plain(const struct tls_session *s);
/* The handshake goes on when the socket can be written: call tls_shake then. */
bool tls_wants_to_write(const struct tls_session *s);
/* 0: the handshake is done. -1 with errno, as for tls_read. */
int tls_shake(struct tls_session *s);
/* The common name of the client's certificate, which was verified. NULL: it has none, or has expired by now. */
const char *tls_client_name(const struct tls_session *s);

/* ---- what libmicrohttpd calls ------------------------------------------------------------------------------------- */

/* libmicrohttpd calls gnutls_handshake and gnutls_record_recv, and the program has functions of its own with these names.
 * From the first to the second call, in this thread, all sessions are ours: the first one does nothing, and the second one
 * calls `read` with the socket. That returns as tls_read does. */
void tls_begin_reading(ssize_t (*read)(int fd, void *to, size_t size));
void tls_end_reading(void);

#endif
