/* job.c: see job.h. Process: the client. */
#include "cli/job.h"

#include <errno.h>
#include <string.h>

#include "cli/data.h"
#include "cli/interrupt.h"
#include "cli/say.h"
#include "cli/submission.h"

#define ID_BYTES  200
#define KEY_BYTES 255

static struct buf job_path(struct service *s, const char *id, const char *below) {
    struct buf path = {0};
    buf_puts(&path, "/v1/jobs/");
    client_escape(s->client, &path, id);
    buf_puts(&path, below);
    return path;
}

static bool is_status(const char *text) {
    static const char *const all[] = {"queued", "running", "succeeded", "failed", "cancelled"};
    for (size_t i = 0; text != NULL && i < sizeof all / sizeof all[0]; i++)
        if (strcmp(text, all[i]) == 0)
            return true;
    return false;
}

/* A Job has at least an id and a status. Both are used without a check from here on. */
static int check_job(struct service *s, int code, const struct answer *a) {
    if (code != EXIT_DONE)
        return code;
    const char *id = answer_text(a, "id");
    if (id != NULL && id[0] != '\0' && strlen(id) <= ID_BYTES && is_status(answer_text(a, "status")))
        return EXIT_DONE;
    return service_tell_foreign(s, "it does not answer with a job");
}

int job_read_key(const struct options *options, const char **key) {
    *key = options->text[OPTION_KEY];
    if (*key == NULL)
        return EXIT_DONE;
    size_t size = strlen(*key), printable = 0;
    while ((*key)[printable] >= ' ' && (*key)[printable] <= '~')
        printable++;
    if (size > 0 && size <= KEY_BYTES && printable == size)
        return EXIT_DONE;
    say("--key takes 1 to %d characters of printable ASCII", KEY_BYTES);
    return EXIT_USAGE;
}

int job_submit(struct service *s, char **words, size_t count, const struct options *options, const char *prefer,
               int wait_s, struct answer *a) {
    struct buf body = {0};
    struct data data = {.count = 0};
    const char *key;
    int code = job_read_key(options, &key);
    if (code != EXIT_DONE)
        return code;
    code = EXIT_USAGE;
    if (submission_write(&body, words, count, options) != 0 || data_open(&data, options) != 0) {
        if (interrupt_signal() != 0) /* while stdin was read */
            code = 128 + interrupt_signal();
        goto out;
    }
    /* It is not interrupted: as soon as the request is sent the job can exist, and only the answer has its id. With a
     * key the request can be sent again when the connection is lost. */
    struct client_request request = {.method = "POST",
                                     .prefer = prefer,
                                     .key = key,
                                     .body = &body,
                                     .parts = data.parts,
                                     .part_count = data.count,
                                     .wait_s = wait_s,
                                     .uninterrupted = true};
    buf_puts(&request.path, "/v1/jobs");
    code = check_job(s, service_call(s, &request, key != NULL, a), a);
out:
    data_close(&data);
    buf_deinit(&body);
    return code;
}

int job_get(struct service *s, const char *id, int wait_s, bool patient, struct answer *a) {
    char prefer[32];
    snprintf(prefer, sizeof prefer, "wait=%d", wait_s);
    struct client_request request = {.method = "GET", .path = job_path(s, id, ""), .wait_s = wait_s};
    request.prefer = wait_s > 0 ? prefer : NULL;
    return check_job(s, service_call(s, &request, patient, a), a);
}

int job_cancel(struct service *s, const char *id, struct answer *a) {
    struct client_request request = {.method = "POST", .path = job_path(s, id, "/cancel"), .uninterrupted = true};
    return check_job(s, service_call(s, &request, false, a), a);
}

FILE *job_open_output(const struct options *options) {
    const char *path = options->text[OPTION_OUTPUT];
    FILE *to = path == NULL ? stdout : fopen(path, "wbe");
    if (to == NULL)
        say("cannot write %s: %s", path, strerror(errno));
    return to;
}

int job_close_output(const struct options *options, FILE *to) {
    if (to == stdout) /* main says it */
        return EXIT_DONE;
    bool bad = ferror(to) != 0;
    if (fclose(to) == 0 && !bad)
        return EXIT_DONE;
    say("cannot write %s: %s", options->text[OPTION_OUTPUT], strerror(errno));
    return EXIT_TROUBLE;
}

int job_print_result(struct service *s, const char *id, const struct options *options, struct answer *a) {
    FILE *to = job_open_output(options);
    if (to == NULL)
        return EXIT_TROUBLE;
    struct client_request request = {.method = "GET", .path = job_path(s, id, "/result"), .sink = to};
    int code = service_call(s, &request, false, a);
    if (code == EXIT_DONE && a->http.status != 200)
        code = EXIT_NOT_ENDED;
    if (code == EXIT_DONE && to == stdout && a->http.json && a->http.last != '\n')
        putchar('\n');
    int closed = job_close_output(options, to);
    return code == EXIT_DONE ? closed : code;
}

int job_write_log(struct service *s, const char *id, FILE *to) {
    struct client_request request = {
        .method = "GET", .path = job_path(s, id, "/log"), .accept = "text/plain", .sink = to};
    struct answer a = {0};
    int code = service_call(s, &request, false, &a);
    answer_deinit(&a);
    return code;
}

bool job_has_ended(const struct answer *a) {
    static const char *const ended[] = {"succeeded", "failed", "cancelled"};
    const char *status = answer_text(a, "status");
    for (size_t i = 0; i < sizeof ended / sizeof ended[0]; i++)
        if (strcmp(status, ended[i]) == 0)
            return true;
    return false;
}

void job_print(const struct answer *a) {
    const struct buf *body = &a->http.body;
    fwrite(body->data, 1, body->size, stdout);
    if (body->data[body->size - 1] != '\n')
        putchar('\n');
}
