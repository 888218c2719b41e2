/* check_forks.c: see check_forks.h. Process: the client, which is the parent of the processes that the template forks. */
#include "cli/check_forks.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"

#define END_MS 1000

/* A line such as "Threads:\t3" of /proc/PID/status; -1 if there is none. */
static int threads_of(pid_t pid) {
    char path[64], line[256];
    int threads = -1;
    snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
    FILE *status = fopen(path, "re");
    while (status != NULL && threads < 0 && fgets(line, sizeof line, status) != NULL)
        if (sscanf(line, "Threads: %d", &threads) != 1)
            threads = -1;
    if (status != NULL)
        fclose(status);
    return threads;
}

static bool one_thread(struct check *k, json_t *type) {
    (void)type;
    if (!check_start(k, &k->template, NULL))
        return false;
    int threads = threads_of(k->template.pid);
    return threads == 1 || check_fault(k, "a program with \"fork\": true has to have one thread, and has %d", threads);
}

/* Gives `now` a call. */
static bool answers_a_call(struct check *k, json_t *type) {
    json_t *params = check_params(k, type);
    bool good = check_send(k, check_run_message(k, type, params, 1)) && check_answers(k, NULL);
    json_decref(params);
    return good;
}

static bool forks(struct check *k, json_t *type) {
    (void)type;
    return check_begin(k);
}

/* Each of them is `now` for a call. */
static bool two_children(struct check *k, json_t *type) {
    struct program second = PROGRAM_NONE;
    bool good = check_begin(k) && check_fork(k, &k->template, getpid(), &second);
    for (int turn = 0; good && turn < 4; turn++) {
        struct program other = k->now;
        k->now = second;
        second = other;
        good = answers_a_call(k, type);
    }
    program_kill(&second);
    return good;
}

/* True if the conversation ends now that the process is dead. */
static bool is_at_end(struct check *k, struct program *p) {
    json_t *message;
    enum talk_result result = talk_receive(&p->talk, check_deadline(END_MS), &message, &k->why);
    json_decref(message);
    return result == TALK_END;
}

static bool child_dies(struct check *k, json_t *type) {
    struct program second = PROGRAM_NONE;
    int status;
    bool good = check_begin(k) && check_fork(k, &k->template, getpid(), &second);
    if (good) {
        kill(second.pid, SIGKILL);
        if (!program_ended(&second, check_deadline(END_MS), &status))
            good = check_fault(
                k, "\"forked\" has to have the number of the new process in \"pid\"; %d did not die of SIGKILL",
                (int)second.pid);
        else if (!is_at_end(k, &second))
            good = check_fault(k, "a process was killed, and its conversation has not ended: the template, and the"
                                  " processes that it forks, have to close the descriptors of the others");
    }
    program_kill(&second);
    return good && answers_a_call(k, type);
}

static bool template_dies(struct check *k, json_t *type) {
    int status;
    if (!check_begin(k))
        return false;
    kill(k->template.pid, SIGKILL);
    bool good = program_ended(&k->template, check_deadline(END_MS), &status) && answers_a_call(k, type);
    if (good && !is_at_end(k, &k->template))
        good = check_fault(k, "the template was killed, and its conversation has not ended: a new process has to close"
                              " the socket of its template");
    check_end(k);
    return good;
}

static bool parent_dies(struct check *k, json_t *type) {
    struct program template, child = PROGRAM_NONE;
    pid_t nursery = 0;
    int status = 0;
    (void)type;
    bool good = check_start(k, &template, &nursery) && check_fork(k, &template, nursery, &child);
    if (nursery > 0) { /* the template and the child become ours */
        kill(nursery, SIGKILL);
        waitpid(nursery, NULL, 0);
    }
    if (good && (!program_ended(&child, check_deadline(END_MS), &status) || !WIFSIGNALED(status) ||
                 WTERMSIG(status) != SIGKILL))
        good = check_fault(k,
                           "a new process has to set PR_SET_PDEATHSIG to SIGKILL, so that it dies with its parent; its"
                           " parent was killed, and %s",
                           child.pid != 0 ? "it lives on" : "it has not died of SIGKILL");
    program_kill(&child);
    program_kill(&template);
    return good;
}

static bool template_ends(struct check *k, bool told) {
    int status = 0;
    const char *what = told ? "\"exit\"" : "the end of the stream";
    check_end(k);
    if (!check_start(k, &k->template, NULL))
        return false;
    if (!told)
        talk_close(&k->template.talk);
    else if (talk_send_message(&k->template.talk, json_pack("{s:s}", "kind", "exit"), check_deadline(k->answer_ms)) !=
             0)
        return check_fault(k, "the template has closed its end of the conversation");
    if (!program_ended(&k->template, check_deadline(END_MS), &status))
        return check_fault(k, "%s has to end the template at once, and it still lives after %d ms", what, END_MS);
    return status == 0 || check_fault(k, "%s has to end the template with exit code 0", what);
}

static bool template_at_exit(struct check *k, json_t *type) {
    (void)type;
    return template_ends(k, true);
}

static bool template_at_end_of_stream(struct check *k, json_t *type) {
    (void)type;
    return template_ends(k, false);
}

struct row {
    const char *what;
    bool (*check)(struct check *k, json_t *type);
};

static bool run_row(struct check *k, json_t *type, const struct row *row) {
    bool good = check_verdict(k, row->check(k, type), "fork", row->what);
    if (!good)
        check_end(k);
    return good;
}

bool check_fork_at_all(struct check *k) {
    bool single = run_row(k, NULL, &(struct row){"the template has one thread", one_thread});
    return run_row(k, NULL, &(struct row){"it forks, and the new process says hello", forks}) && single;
}

void check_forks(struct check *k, json_t *type) {
    static const struct row rows[] = {
        {"two new processes answer side by side", two_children},
        {"a new process that is killed leaves the others alone", child_dies},
        {"a template that is killed leaves its processes alone", template_dies},
        {"a new process dies with its parent", parent_dies},
        {"exit ends the template", template_at_exit},
        {"the end of the stream ends the template", template_at_end_of_stream},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        run_row(k, type, &rows[i]);
    check_end(k);
}
