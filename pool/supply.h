/* supply.h: a worker's end of its supply socket, by which it gets program processes from the zygote: the program_port of
 * handlers/program. Worker. */
#ifndef OFFLOAD_SUPPLY_H
#define OFFLOAD_SUPPLY_H

#include "pool/scoreboard.h"

/* Takes the socket; -1: there is none, and no program can be started. */
void supply_open(int socket, struct scoreboard_slot *board);

#endif
