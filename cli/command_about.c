/* command_about.c: the commands about the service itself. Process: the client. `health` is for the health check of a
 * container: it prints one line, waits two seconds at most, and does not try again. */
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

int command_health(struct command_input *in) {
    struct client *client = in->service.client;
    bool ready = options_given(in->options, OPTION_READY), verbose = options_given(in->options, OPTION_VERBOSE);
    const char *asked = ready ? "ready" : "live";
    struct client_response response = {0};
    struct client_request request = {.method = "GET"};
    buf_puts(&request.path, ready ? "/readyz" : "/livez");
    buf_puts(&request.path, verbose ? "?verbose" : "");
    request.limit_ms = options_number(in->options, OPTION_TIMEOUT, HEALTH_TIMEOUT_MS);
    bool answered = client_perform(client, &request, &response) == CLIENT_ANSWERED;
    bool well = answered && response.status == 200;
    if (answered && verbose && response.body.size != 0)
        say_text(stdout, response.body.data, response.body.size);
    else if (well)
        printf("%s: %s\n", client_name(client), asked);
    if (!answered)
        say("%s: %s", client_name(client), client_error(client));
    else if (!well)
        say("%s: not %s: it answered %d", client_name(client), asked, response.status);
    buf_deinit(&request.path);
    buf_deinit(&response.body);
    return well ? EXIT_DONE : EXIT_UNSUCCESSFUL;
}
