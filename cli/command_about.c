/* command_about.c: the commands about the service itself. `health` is made for a container's health check: one
 * line, two seconds, no retries. Process: the client. */
#include "cli/command_about.h"

#include "cli/job.h"
#include "cli/say.h"

#define HEALTH_TIMEOUT_MS 2000

int command_types(struct command_input *in) {
    struct answer a = {0};
    struct client_request request = {.method = "GET"};
    buf_puts(&request.path, "/v1/types");
    if (in->word_count > 0) {
        buf_putc(&request.path, '/');
        client_escape(in->service.client, &request.path, in->words[0]);
    }
    int code = service_call(&in->service, &request, false, &a);
    if (code == EXIT_DONE)
        job_print(&a);
    answer_deinit(&a);
    return code;
}

static int tell_health(struct command_input *in, enum client_result result, const struct client_response *response) {
    const char *name = client_name(in->service.client);
    const char *asked = options_given(in->options, OPTION_READY) ? "ready" : "live";
    if (result != CLIENT_ANSWERED) {
        say("%s: %s", name, client_error(in->service.client));
        return EXIT_UNSUCCESSFUL;
    }
    if (options_given(in->options, OPTION_VERBOSE) && response->body.size != 0)
        say_text(stdout, response->body.data, response->body.size);
    else if (response->status == 200)
        printf("%s: %s\n", name, asked);
    if (response->status == 200)
        return EXIT_DONE;
    say("%s: not %s: it answered %d", name, asked, response->status);
    return EXIT_UNSUCCESSFUL;
}

int command_health(struct command_input *in) {
    struct client_response response = {0};
    struct client_request request = {.method = "GET"};
    buf_puts(&request.path, options_given(in->options, OPTION_READY) ? "/readyz" : "/livez");
    if (options_given(in->options, OPTION_VERBOSE))
        buf_puts(&request.path, "?verbose");
    request.limit_ms = options_number(in->options, OPTION_TIMEOUT, HEALTH_TIMEOUT_MS);
    enum client_result result = client_perform(in->service.client, &request, &response);
    int code = tell_health(in, result, &response);
    buf_deinit(&request.path);
    buf_deinit(&response.body);
    return code;
}
