/* command_run.c: the commands that wait for a job.
 *
 * A job is submitted with "respond-async, wait=1": a short one is answered in the same exchange. A longer one is
 * answered with a 202, so that a lost connection does not cancel it, and long polls wait for its end. On a terminal
 * these are short, so that the progress bar moves. Ctrl-C cancels the job that `run` has started. `wait` only watches
 * its job, and ctrl-C only ends the watching. Process: the client. */
#include "cli/command_run.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "cli/events.h"
#include "cli/interrupt.h"
#include "cli/job.h"
#include "cli/progress.h"
#include "cli/say.h"

#define SUBMIT_WAIT_S 1
#define POLL_WAIT_S   30

/* Polls until the job has ended. EXIT_DONE: *a is the Job at its end. */
static int await(struct service *s, const char *id, struct answer *a) {
    int64_t started_ns = clock_monotonic_ns();
    int code = EXIT_DONE;
    while (code == EXIT_DONE && !job_has_ended(a)) {
        int64_t asked_ns = clock_monotonic_ns();
        progress_draw(a->json, (asked_ns - started_ns) / NS_PER_MS);
        code = job_get(s, id, progress_visible() ? 1 : POLL_WAIT_S, true, a);
        /* A service or a proxy without long polls is asked once a second at most. */
        int64_t early_ns = asked_ns + NS_PER_S - clock_monotonic_ns();
        if (code == EXIT_DONE && !job_has_ended(a) && early_ns > 0)
            interrupt_sleep(early_ns / NS_PER_MS);
    }
    progress_clear();
    return code;
}

/* Prints a JSON result that is in the Job. */
static int print_slice(const struct options *options, struct slice result) {
    FILE *to = job_open_output(options);
    if (to == NULL)
        return EXIT_TROUBLE;
    fwrite(result.data, 1, result.size, to);
    putc('\n', to);
    return job_close_output(options, to);
}

/* Bytes would do harm to a terminal. */
static int print_bytes(struct command_input *in, const char *id, struct answer *a) {
    if (options_given(in->options, OPTION_OUTPUT) || !isatty(STDOUT_FILENO))
        return job_print_result(&in->service, id, in->options, a);
    say("the result is %s: offload get %s -o FILE", answer_text(a, "result_media_type"), id);
    return EXIT_DONE;
}

/* Prints the result of a job that has ended, or says why it has none. */
static int conclude(struct command_input *in, const char *id, struct answer *a) {
    const char *status = answer_text(a, "status");
    bool whole = options_given(in->options, OPTION_JOB);
    if (whole)
        job_print(a);
    if (strcmp(status, "succeeded") == 0) {
        struct slice result = answer_slice(a, "result");
        if (whole && !options_given(in->options, OPTION_OUTPUT))
            return EXIT_DONE;
        if (answer_text(a, "result_media_type") != NULL)
            return print_bytes(in, id, a);
        if (result.data == NULL) /* it is too large to be in the Job */
            return job_print_result(&in->service, id, in->options, a);
        return print_slice(in->options, result);
    }
    char subject[120];
    snprintf(subject, sizeof subject, "job %.60s", id);
    if (strcmp(status, "failed") == 0)
        service_tell_problem(json_object_get(a->json, "error"), subject);
    else
        say("%s was cancelled", subject);
    return EXIT_UNSUCCESSFUL;
}

/* Waits for the job whose Job is in *a, and prints its result. owner: an interrupt cancels it. */
static int see_through(struct command_input *in, bool owner, struct answer *a) {
    char *id = strdup(answer_text(a, "id"));
    if (id == NULL) {
        say("out of memory");
        return EXIT_TROUBLE;
    }
    if (options_given(in->options, OPTION_LOG))
        events_follow_log(&in->service, id, stderr); /* even if that fails, the result is wanted */
    int code = await(&in->service, id, a);
    if (code == EXIT_DONE) {
        code = conclude(in, id, a);
    } else if (owner && interrupt_signal() != 0) {
        say("interrupted: cancelling job %s (ctrl-C again to leave it)", id);
        if (job_cancel(&in->service, id, a) == EXIT_DONE)
            say("job %s: %s", id, answer_text(a, "status"));
    } else if (owner) { /* the scope to read is missing, or the service is lost */
        say("job %s goes on: 'offload wait %s' waits for it, 'offload cancel %s' ends it", id, id, id);
    }
    free(id);
    return code;
}

int command_run(struct command_input *in) {
    struct answer a = {0};
    bool wants_more = options_given(in->options, OPTION_JOB) || options_given(in->options, OPTION_LOG);
    interrupt_watch();
    int code =
        job_submit(&in->service, in->words, in->word_count, in->options, "respond-async, wait=1", SUBMIT_WAIT_S, &a);
    if (code == EXIT_DONE) {
        code = see_through(in, true, &a);
    } else if (code == EXIT_UNSUCCESSFUL && wants_more) {
        /* It failed while the service waited: the answer is its problem; --log wants its log, and --job the whole Job. */
        const char *named = answer_text(&a, "job");
        char *id = named != NULL ? strdup(named) : NULL;
        if (id != NULL && options_given(in->options, OPTION_LOG))
            events_follow_log(&in->service, id, stderr);
        if (id != NULL && options_given(in->options, OPTION_JOB) &&
            job_get(&in->service, id, 0, false, &a) == EXIT_DONE)
            job_print(&a);
        free(id);
    }
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
