/* supply.c: see supply.h. Worker. */
#include "pool/supply.h"

#include <errno.h>
#include <fcntl.h>

#include "handlers/program/programs.h"
#include "pool/wire.h"

static struct scoreboard_slot *board;
static struct program_port port;

static bool ask(unsigned program) {
    struct program_request q = {.version = WIRE_VERSION, .program = program};
    return wire_send_control(port.fd, &q, sizeof q, NULL) == 0;
}

static int take(struct program_news *news, int fds[2]) {
    int got = wire_receive_control(port.fd, news, sizeof *news, fds);
    if (got == 1)
        return news->version == WIRE_VERSION ? 1 : -1;
    return got < 0 && errno == EAGAIN ? 0 : -1;
}

static void show(unsigned program, pid_t pid) {
    atomic_store_explicit(&board->programs[program], pid, memory_order_relaxed);
}

void supply_open(int socket, struct scoreboard_slot *slot) {
    board = slot;
    port = (struct program_port){.fd = socket, .ask = ask, .take = take, .show = show};
    if (socket >= 0)
        fcntl(socket, F_SETFL, fcntl(socket, F_GETFL) | O_NONBLOCK);
    programs_set_port(&port);
}
