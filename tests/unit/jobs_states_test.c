/* jobs_states_test.c: the state machines of a job: its status, its phase and its durability. See server/jobs/job.c. A
 * move that is no arrow of the diagram in jobs.h or job.h is reported. The arrows are here once more, as text, and
 * every pair of states is tried, each in another process, because a report aborts a debug build. */
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/unit/jobs_world.h"

#ifdef OFFLOAD_DEBUG
static const bool aborts = true;
#else
static const bool aborts = false;
#endif

struct machine {
    const char *name;                             /* in the log */
    const char *const *states;                    /* their names, by number; ends with NULL */
    const char *const *arrows;                    /* the same */
    void (*put)(struct job *job, unsigned state); /* without a move */
    void (*move)(struct job *job, unsigned to);
    unsigned (*get)(const struct job *job);
};

/* How a process ended that made a move. */
struct outcome {
    int status; /* of waitpid */
    char log[512];
};

/* In the child. It exits with 0 if the move was made. */
static void make_move(const struct machine *m, struct job *job, unsigned from, unsigned to, int log_fd) {
    setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
    dup2(log_fd, STDERR_FILENO);
    log_threshold = LOG_ERROR;
    m->put(job, from);
    m->move(job, to);
    _exit(m->get(job) == to ? 0 : 1);
}

static struct outcome try_move(const struct machine *m, struct job *job, unsigned from, unsigned to) {
    int fds[2];
    struct outcome o = {0};
    assert_int_equal(pipe(fds), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        make_move(m, job, from, to, fds[1]);
    close(fds[1]);
    ssize_t got;
    for (size_t size = 0; (got = read(fds[0], o.log + size, sizeof o.log - 1 - size)) > 0;)
        size += (size_t)got;
    close(fds[0]);
    assert_int_equal(waitpid(pid, &o.status, 0), pid);
    return o;
}

static bool is_arrow(const struct machine *m, const char *from, const char *to) {
    char arrow[64];
    snprintf(arrow, sizeof arrow, "%s → %s", from, to);
    for (const char *const *a = m->arrows; *a != NULL; a++)
        if (strcmp(*a, arrow) == 0)
            return true;
    return false;
}

static void assert_reported(const struct machine *m, const struct outcome *o, const char *from, const char *to) {
    char line[160];
    snprintf(line, sizeof line, "illegal_move machine=\"%s\" from=\"%s\" to=\"%s\"\n", m->name, from, to);
    assert_non_null(strstr(o->log, line));
    if (aborts) {
        assert_true(WIFSIGNALED(o->status));
        assert_int_equal(WTERMSIG(o->status), SIGABRT);
    } else {
        assert_int_equal(o->status, 0); /* the move was made */
    }
}

static void assert_moves(const struct machine *m) {
    struct client c;
    unsigned made = 0, arrows = 0;
    submit(&c, true);
    for (unsigned from = 0; m->states[from] != NULL; from++)
        for (unsigned to = 0; m->states[to] != NULL; to++) {
            struct outcome o = try_move(m, c.job, from, to);
            if (!is_arrow(m, m->states[from], m->states[to])) {
                assert_reported(m, &o, m->states[from], m->states[to]);
                continue;
            }
            assert_int_equal(o.status, 0);
            assert_string_equal(o.log, "");
            made++;
        }
    while (m->arrows[arrows] != NULL)
        arrows++;
    assert_int_equal(made, arrows); /* each names two states */
    cancel_all(&c);
}

/* ---- status ------------------------------------------------------------------------------------------------------ */

static void put_status(struct job *job, unsigned state) {
    job->record->status = (enum job_status)state;
}

static void move_status(struct job *job, unsigned to) {
    job_set_status(job, (enum job_status)to);
}

static unsigned get_status(const struct job *job) {
    return job->record->status;
}

static void a_status_moves_along_its_diagram_and_other_moves_are_reported(void **state) {
    (void)state;
    const char *names[JOB_STATUSES + 1] = {NULL};
    for (unsigned i = 0; i < JOB_STATUSES; i++)
        names[i] = job_status_name((enum job_status)i);
    static const char *const arrows[] = {
        "queued → running",    "queued → failed",  "queued → cancelled",  "running → queued",
        "running → succeeded", "running → failed", "running → cancelled", NULL};
    assert_moves(&(struct machine){"job status", names, arrows, put_status, move_status, get_status});
}

/* ---- phase ------------------------------------------------------------------------------------------------------- */

static void put_phase(struct job *job, unsigned state) {
    job->phase = (enum job_phase)state;
}

static void move_phase(struct job *job, unsigned to) {
    job_enter_phase(job, (enum job_phase)to);
}

static unsigned get_phase(const struct job *job) {
    return job->phase;
}

static void a_phase_moves_along_its_diagram_and_other_moves_are_reported(void **state) {
    (void)state;
    static const char *const names[] = {
        [PHASE_PLAN] = "plan",         [PHASE_CHUNKS] = "chunks", [PHASE_MERGE] = "merge",
        [PHASE_STOPPING] = "stopping", [PHASE_DONE] = "done",     [PHASES] = NULL};
    static const char *const arrows[] = {
        "plan → chunks", "plan → stopping",  "plan → done",  "chunks → merge",  "chunks → stopping",
        "chunks → done", "merge → stopping", "merge → done", "stopping → done", NULL};
    assert_moves(&(struct machine){"job phase", names, arrows, put_phase, move_phase, get_phase});
}

/* ---- durability -------------------------------------------------------------------------------------------------- */

static void put_durability(struct job *job, unsigned state) {
    job->durability = (enum durability)state;
}

static void move_durability(struct job *job, unsigned to) {
    job_set_durability(job, (enum durability)to);
}

static unsigned get_durability(const struct job *job) {
    return job->durability;
}

static void a_durability_moves_along_its_diagram_and_other_moves_are_reported(void **state) {
    (void)state;
    static const char *const names[] = {[DURABILITY_NONE] = "none",
                                        [DURABILITY_ENDING] = "ending",
                                        [DURABILITY_POSTING] = "posting",
                                        [DURABILITY_SUBMITTING] = "submitting",
                                        [DURABILITY_END_RECORDED] = "end_recorded",
                                        [DURABILITY_STORED] = "stored",
                                        [DURABILITY_STORE_FAILED] = "store_failed",
                                        [DURABILITIES] = NULL};
    static const char *const arrows[] = {"none → ending",
                                         "none → posting",
                                         "none → stored",
                                         "none → store_failed",
                                         "ending → posting",
                                         "posting → submitting",
                                         "posting → end_recorded",
                                         "posting → stored",
                                         "posting → store_failed",
                                         "submitting → end_recorded",
                                         "submitting → stored",
                                         "submitting → store_failed",
                                         "end_recorded → stored",
                                         "end_recorded → store_failed",
                                         NULL};
    assert_moves(&(struct machine){"job durability", names, arrows, put_durability, move_durability, get_durability});
}

/* The event loop's time can be older than the job. */
static void a_job_does_not_start_before_it_was_made(void **state) {
    (void)state;
    struct client c;
    submit(&c, true);
    job_started(c.job, c.job->accepted_ns - 5 * NS_PER_MS);
    assert_int_equal(c.record->queued_ns, 0);
    assert_int_equal(c.record->started_ms, c.record->created_ms);
    job_cancel(c.job);
    leave(&c);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        JOBS_TEST(a_job_does_not_start_before_it_was_made),
        JOBS_TEST(a_status_moves_along_its_diagram_and_other_moves_are_reported),
        JOBS_TEST(a_phase_moves_along_its_diagram_and_other_moves_are_reported),
        JOBS_TEST(a_durability_moves_along_its_diagram_and_other_moves_are_reported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
