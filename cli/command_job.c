/* command_job.c: the commands that ask once about jobs, and print the answer of the service byte for byte. Process: the
 * client. */
#include "cli/command_job.h"

#include <string.h>

#include "cli/job.h"
#include "cli/say.h"

#define LS_LIMIT   100
#define PAGE_LIMIT 100

int command_submit(struct command_input *in) {
    struct answer a = {0};
    int code = job_submit(&in->service, in->words, in->word_count, in->options, "respond-async", 0, &a);
    if (code == EXIT_DONE)
        job_print(&a);
    answer_deinit(&a);
    return code;
}

int command_get(struct command_input *in) {
    struct answer a = {0};
    bool result = options_given(in->options, OPTION_RESULT) || options_given(in->options, OPTION_OUTPUT);
    int code = result ? job_print_result(&in->service, in->words[0], in->options, &a)
                      : job_get(&in->service, in->words[0], 0, false, &a);
    if (code == EXIT_DONE && !result)
        job_print(&a);
    if (code == EXIT_NOT_ENDED)
        say("job %s has not ended yet", in->words[0]);
    answer_deinit(&a);
    return code;
}

int command_cancel(struct command_input *in) {
    struct answer a = {0};
    int code = job_cancel(&in->service, in->words[0], &a);
    if (code == EXIT_DONE)
        job_print(&a);
    answer_deinit(&a);
    return code;
}

static void add_query(struct service *s, struct buf *path, const char *name, const char *value) {
    if (value == NULL)
        return;
    buf_printf(path, "&%s=", name);
    client_escape(s->client, path, value);
}

static int get_page(struct command_input *in, int64_t left, const char *cursor, struct answer *a) {
    struct client_request request = {.method = "GET"};
    buf_printf(&request.path, "/v1/jobs?limit=%d", (int)(left < PAGE_LIMIT ? left : PAGE_LIMIT));
    add_query(&in->service, &request.path, "status", in->options->text[OPTION_STATUS]);
    add_query(&in->service, &request.path, "type", in->options->text[OPTION_TYPE]);
    add_query(&in->service, &request.path, "cursor", cursor);
    int code = service_call(&in->service, &request, false, a);
    if (code == EXIT_DONE && !json_is_array(json_object_get(a->json, "jobs")))
        code = service_tell_foreign(&in->service, "it does not answer with a list of jobs");
    return code;
}

/* Prints one job a line, and no more than `left`. Returns how many. */
static int64_t print_page(const struct answer *a, int64_t left) {
    struct slice rest = answer_slice(a, "jobs"), job;
    int64_t printed = 0;
    while (printed < left && rest.data != NULL && slice_next(&rest, &job)) {
        fwrite(job.data, 1, job.size, stdout);
        putchar('\n');
        printed++;
    }
    return printed;
}

int command_ls(struct command_input *in) {
    struct answer page = {0}, next = {0};
    int64_t left = options_number(in->options, OPTION_LIMIT, LS_LIMIT);
    int code = EXIT_DONE;
    const char *cursor = NULL; /* points into `page` while `next` is filled */
    do {
        code = get_page(in, left, cursor, &next);
        answer_deinit(&page);
        page = next;
        next = (struct answer){0};
        int64_t printed = code == EXIT_DONE ? print_page(&page, left) : 0;
        cursor = printed > 0 ? answer_text(&page, "next_cursor") : NULL;
        left -= printed;
    } while (code == EXIT_DONE && cursor != NULL && left > 0);
    answer_deinit(&page);
    return code;
}
