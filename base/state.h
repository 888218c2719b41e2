/* state.h: for state machines. Each is an enum with a diagram on top of the file that owns it. One function moves it,
 * and looks the move up in a table with a row for each state. Any process. */
#ifndef OFFLOAD_STATE_H
#define OFFLOAD_STATE_H

struct state_row {
    const char *name; /* for the log */
    unsigned next;    /* TO(state) for each state that can follow; 0: it is the last */
};
#define TO(state) (1U << (state))

/* Call it for a move that the diagram does not have: that is a bug of ours. It logs an error. Then a debug build (make
 * DEBUG=1, and each build with SANITIZE) aborts. In other builds the caller makes the move, because a service that goes
 * on in an odd state is worth more to its users than one that has ended. machine, from, to: texts for the log. */
void state_illegal_move(const char *machine, const char *from, const char *to);

/* Looks the move up in the machine's table, and calls state_illegal_move if it is not there. */
static inline void state_check_move(const char *machine, const struct state_row *states, unsigned from, unsigned to) {
    if ((states[from].next & 1U << to) == 0)
        state_illegal_move(machine, states[from].name, states[to].name);
}

#endif
