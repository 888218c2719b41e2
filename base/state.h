/* state.h: for state machines. Each is an enum with a diagram on top of the file that owns it, and one function moves
 * it, which looks the move up in a table. */
#ifndef OFFLOAD_STATE_H
#define OFFLOAD_STATE_H

/* To be called for a move that the diagram does not have: a bug of ours. Aborts in debug builds (make DEBUG=1, and all
 * builds with SANITIZE); in others it logs an error, and the caller makes the move, because a service that goes on in
 * an odd state is worth more to its users than one that has ended. `machine`, `from`, `to`: static texts for the log. */
void state_illegal_move(const char *machine, const char *from, const char *to);

#endif
