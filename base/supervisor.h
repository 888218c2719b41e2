/* supervisor.h: tells the supervisor that started us, systemd for one, what the service does. The protocol is that of
 * sd_notify(3): one datagram of lines to the Unix socket that $NOTIFY_SOCKET names. It takes a few lines, and libsystemd
 * would bring four more libraries into each process. Any process. It waits while the supervisor's
 * queue is full, as sd_notify does: a service whose start is not noticed is ended. */
#ifndef OFFLOAD_SUPERVISOR_H
#define OFFLOAD_SUPERVISOR_H

/* state: "READY=1" and the like. 1: it was sent. 0: nobody wants to hear it. -1 with errno: it could not be sent, or the
 * address is none that we know: a path, or "@" and an abstract name. */
int supervisor_tell(const char *state);

#endif
