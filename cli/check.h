/* check.h: what the checks of `check-program` have in common: the process under test, the calls that it was sent, and how
 * its answers are read. The functions that return bool write into `why` before they return false: what was received, and
 * what docs/programs.md wants. */
#ifndef OFFLOAD_CLI_CHECK_H
#define OFFLOAD_CLI_CHECK_H

#include <stdbool.h>
#include <stdint.h>

#include <jansson.h>

#include "base/buf.h"
#include "cli/program.h"

struct check {
    char **words;      /* of the command */
    json_t *given;     /* parameters by type, from --params */
    int64_t load_ms;   /* until hello must have come */
    int64_t answer_ms; /* until an answer must have come */

    json_t *hello;
    bool forks;
    int cancel_signal; /* 0: none */

    struct program template; /* if it forks */
    struct program now;      /* the one that gets calls; a child of the template, if it forks */
    json_int_t next_call, next_answer;
    int nudge; /* a signal that the process gets again and again until it answers; 0: none */
    json_int_t cancelled_from, cancelled_to; /* these calls were cancelled; none, if from is above to */

    struct buf why;
    unsigned passed, failed;
};

/* Prints a verdict. what: what was checked; `why` is printed if it is not good, and then emptied. Returns good. */
bool check_verdict(struct check *k, bool good, const char *type, const char *what);
/* Appends to `why`, and returns false. */
bool check_fault(struct check *k, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The same, with the message behind the text. */
bool check_fault_with(struct check *k, json_t *message, const char *text);
int64_t check_deadline(int64_t ms); /* of the monotonic clock, from now */

/* Receives the next message from the process. wanted: the sentence about what is due, for the case that nothing comes.
 * NULL: a fault. The caller owns the message. */
json_t *check_receive(struct check *k, struct program *p, int64_t ms, const char *wanted);
/* Receives hello. NULL: a fault. The caller owns it. */
json_t *check_receive_hello(struct check *k, struct program *p, bool forked);
/* Starts the program, and takes its hello, which has to be right. nursery: see program_start. */
bool check_start(struct check *k, struct program *p, pid_t *nursery);
/* Has the template fork a process with this parent. It has said hello then. */
bool check_fork(struct check *k, struct program *template, pid_t parent, struct program *child);
/* Makes `now` a process that has no unanswered call: the present one, or a new one. */
bool check_begin(struct check *k);
/* Ends `now` and the template. */
void check_end(struct check *k);

/* The message `run` with these parameters (borrowed), `count` times. It takes the numbers of the calls. */
json_t *check_run_message(struct check *k, json_t *type, json_t *params, unsigned count);
/* Sends a message, whose reference it takes. */
bool check_send(struct check *k, json_t *message);
/* Receives answers until all calls are answered. values: NULL; or an array, to which the values are appended. An error is
 * an answer, too. */
bool check_answers(struct check *k, json_t *values);
/* Looks at a message (borrowed) that has to be the `result` of the call that is due, or of several. */
bool check_result(struct check *k, json_t *message, json_t *values);
/* Receives the next message that is no `progress`: an answer to a call which is due, or NULL after a fault. */
json_t *check_next_answer(struct check *k);
/* Notes that these calls are cancelled from now on, so that the error `cancelled` is right. */
void check_note_cancel(struct check *k, json_int_t from, json_int_t to);
/* True if no message of the process is waiting; what else it says is a fault. */
bool check_silent(struct check *k);

const char *check_name(json_t *type);
bool check_has_flag(json_t *type, const char *flag);
/* The parameters for a type: those given, or made from its schema. The caller owns them. */
json_t *check_params(struct check *k, json_t *type);

#endif
