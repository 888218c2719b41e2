/* state.h: for state machines. Each is an enum with a diagram on top of the file that owns it. One function moves it,
 * and looks the move up in a table. Any process. */
#ifndef OFFLOAD_STATE_H
#define OFFLOAD_STATE_H

/* Call it for a move that the diagram does not have: that is a bug of ours. It logs an error. Then a debug build (make
 * DEBUG=1, and each build with SANITIZE) aborts. In other builds the caller makes the move, because a service that goes
 * on in an odd state is worth more to its users than one that has ended. machine, from, to: texts for the log. */
void state_illegal_move(const char *machine, const char *from, const char *to);

#endif
