/* command_run.c: the commands that wait for a job.
 *
 * A job is submitted with "respond-async, wait=1": a short one is answered in the same exchange, a longer one
 * becomes a 202 that a lost connection does not cancel, and is then awaited by long polls. On a terminal these
 * are short, for the bar to move. Ctrl-C cancels what `run` started; `wait` only watches, and only leaves.
 * Process: the client. */
#include "cli/command_run.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli/interrupt.h"
#include "cli/job.h"
#include "cli/progress.h"
#include "cli/say.h"

#define SUBMIT_WAIT_S 1
#define POLL_WAIT_S   30

static int64_t now_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* 0 once *a is a Job that has ended. */
static int await(struct service *s, const char *id, struct answer *a) {
    int64_t started_ms = now_ms();
    int code = EXIT_DONE;
    while (code == EXIT_DONE && !job_has_ended(a)) {
        progress_draw(a->json, now_ms() - started_ms);
        int64_t asked_ms = now_ms();
        code = job_get(s, id, progress_visible() ? 1 : POLL_WAIT_S, true, a);
        /* A service or proxy that knows no long poll is not asked more than once in a second. */
        int64_t early_ms = asked_ms + 1000 - now_ms();
        if (code == EXIT_DONE && !job_has_ended(a) && early_ms > 0)
            interrupt_sleep(early_ms);
    }
    progress_clear();
    return code;
}

static int print_result(struct service *s, const char *id, struct answer *a) {
    struct slice result = answer_slice(a, "result");
    if (result.data == NULL) /* too large to stand in the Job, or not JSON */
        return job_print_result(s, id, a);
    fwrite(result.data, 1, result.size, stdout);
    putchar('\n');
    return EXIT_DONE;
}

/* Prints what came of a job that has ended. */
static int conclude(struct command_input *in, const char *id, struct answer *a) {
    const char *status = answer_text(a, "status");
    bool whole = options_given(in->options, OPTION_JOB);
    if (whole)
        job_print(a);
    if (strcmp(status, "succeeded") == 0)
        return whole ? EXIT_DONE : print_result(&in->service, id, a);
    char subject[120];
    snprintf(subject, sizeof subject, "job %.60s", id);
    if (strcmp(status, "failed") == 0)
        service_tell_problem(json_object_get(a->json, "error"), subject);
    else
        say("%s was cancelled", subject);
    return EXIT_UNSUCCESSFUL;
}

static void cancel_interrupted(struct service *s, const char *id) {
    struct answer a = {0};
    say("interrupted: cancelling job %s (ctrl-C again to leave it)", id);
    if (job_cancel(s, id, &a) == EXIT_DONE)
        say("job %s: %s", id, answer_text(&a, "status"));
    answer_deinit(&a);
}

/* *a is the Job as it stands; stays in charge of it until it has ended. */
static int see_through(struct command_input *in, bool owner, struct answer *a) {
    char *id = strdup(answer_text(a, "id"));
    if (id == NULL) {
        say("out of memory");
        return EXIT_TROUBLE;
    }
    int code = await(&in->service, id, a);
    if (code == EXIT_DONE)
        code = conclude(in, id, a);
    else if (owner && interrupt_signal() != 0)
        cancel_interrupted(&in->service, id);
    free(id);
    return code;
}

/* A job that failed within the submission's wait is answered by its problem; --job shows all of it. */
static void print_failed(struct command_input *in, struct answer *a) {
    const char *named = answer_text(a, "job");
    char *id = named != NULL ? strdup(named) : NULL;
    if (id != NULL && options_given(in->options, OPTION_JOB) && job_get(&in->service, id, 0, false, a) == EXIT_DONE)
        job_print(a);
    free(id);
}

int command_run(struct command_input *in) {
    struct answer a = {0};
    interrupt_watch();
    int code =
        job_submit(&in->service, in->words, in->word_count, in->options, "respond-async, wait=1", SUBMIT_WAIT_S, &a);
    if (code == EXIT_DONE)
        code = see_through(in, true, &a);
    else if (code == EXIT_UNSUCCESSFUL)
        print_failed(in, &a);
    answer_deinit(&a);
    return code;
}

int command_wait(struct command_input *in) {
    struct answer a = {0};
    interrupt_watch();
    int code = job_get(&in->service, in->words[0], 0, false, &a);
    if (code == EXIT_DONE)
        code = see_through(in, false, &a);
    answer_deinit(&a);
    return code;
}
