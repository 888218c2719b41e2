/* command_about.c: the commands about the service itself. Process: the client. `health` is for the health check of a
 * container: it prints one line, waits two seconds at most, and does not try again. */
#include "cli/command_about.h"

#include <string.h>

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
    bool known = in->word_count > 0
                     ? answer_text(&a, "name") != NULL && json_is_object(json_object_get(a.json, "params"))
                     : json_is_array(json_object_get(a.json, "types"));
    if (code == EXIT_DONE && !known)
        code = service_tell_foreign(&in->service, "it does not answer with job types");
    if (code == EXIT_DONE)
        job_print(&a);
    answer_deinit(&a);
    return code;
}

static bool is_text(struct slice s, const char *text) {
    return s.size == strlen(text) && s.size > 0 && memcmp(s.data, text, s.size) == 0;
}

/* A probe answers with checks, a line each ("[+]store ok", "[-]drain failed"), if they were asked for, and then with a
 * line that sums them up. False: offload does not answer so. *good: the service is well. */
static bool read_probe(const struct client_response *response, bool ready, bool *good) {
    const char *line = response->body.data, *end = line + response->body.size;
    while (end - line > 3 && (memcmp(line, "[+]", 3) == 0 || memcmp(line, "[-]", 3) == 0)) {
        const char *newline = memchr(line, '\n', (size_t)(end - line));
        if (newline == NULL)
            return false;
        line = newline + 1;
    }
    struct slice last = {line, (size_t)(end - line)};
    *good = is_text(last, ready ? "ready\n" : "ok\n");
    return *good || (ready && is_text(last, "not ready\n"));
}

/* A problem says why. */
static void say_unwell(const struct client_response *response, const char *name, const char *asked) {
    json_t *problem = json_loadb(response->body.data, response->body.size, 0, NULL);
    const char *detail = json_string_value(json_object_get(problem, "detail"));
    say("%s: not %s: it answered %d%s%s", name, asked, response->status, detail != NULL ? ": " : "",
        detail != NULL ? detail : "");
    json_decref(problem);
}

int command_health(struct command_input *in) {
    struct client *client = in->service.client;
    bool ready = options_given(in->options, OPTION_READY), verbose = options_given(in->options, OPTION_VERBOSE);
    const char *asked = ready ? "ready" : "live";
    struct client_response response = {0};
    struct client_request request = {.method = "GET", .accept = "text/plain"};
    buf_puts(&request.path, ready ? "/readyz" : "/livez");
    buf_puts(&request.path, verbose ? "?verbose" : "");
    request.limit_ms = options_number(in->options, OPTION_TIMEOUT, HEALTH_TIMEOUT_MS);
    bool answered = client_perform(client, &request, &response) == CLIENT_ANSWERED;
    bool good = false;
    bool problem = answered && !response.foreign && !response.plain && response.status / 100 != 2;
    bool ours = problem || (answered && !response.foreign && read_probe(&response, ready, &good));
    bool well = ours && response.status == 200 && good;
    if (ours && verbose)
        say_text(stdout, response.body.data, response.body.size);
    else if (well)
        printf("%s: %s\n", client_name(client), asked);
    if (!answered)
        say("%s: %s", client_name(client), client_error(client));
    else if (!ours)
        say("%s is not an offload service: its answer, %d, is not one of offload", client_name(client),
            response.status);
    else if (!well)
        say_unwell(&response, client_name(client), asked);
    buf_deinit(&request.path);
    buf_deinit(&response.body);
    return well ? EXIT_DONE : EXIT_UNSUCCESSFUL;
}
