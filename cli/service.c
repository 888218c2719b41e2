/* service.c: see service.h. Process: the client. */
#include "cli/service.h"

#include <string.h>

#include "cli/interrupt.h"
#include "cli/say.h"

#define RETRY_LIMIT_S 300 /* a service that names a longer time is not asked again */
#define ERRORS_TOLD   20

void answer_deinit(struct answer *a) {
    json_decref(a->json);
    a->json = NULL;
    buf_deinit(&a->http.body);
}

const char *answer_text(const struct answer *a, const char *member) {
    return json_string_value(json_object_get(a->json, member));
}

struct slice answer_slice(const struct answer *a, const char *member) {
    return slice_member((struct slice){a->http.body.data, a->http.body.size}, member);
}

void service_tell_problem(const json_t *problem, const char *subject) {
    const char *code = json_string_value(json_object_get(problem, "code"));
    const char *detail = json_string_value(json_object_get(problem, "detail"));
    if (detail == NULL)
        detail = json_string_value(json_object_get(problem, "title"));
    say("%s: %s: %s", subject, code != NULL ? code : "error", detail != NULL ? detail : "no reason given");
    const json_t *errors = json_object_get(problem, "errors");
    for (size_t i = 0; i < json_array_size(errors) && i < ERRORS_TOLD; i++) {
        const json_t *error = json_array_get(errors, i);
        const char *pointer = json_string_value(json_object_get(error, "pointer"));
        detail = json_string_value(json_object_get(error, "detail"));
        say("  %s: %s", pointer != NULL ? pointer : "", detail != NULL ? detail : "");
    }
}

int service_tell_foreign(const struct service *s, const char *what) {
    say("%s is not an offload service: %s", client_name(s->client), what);
    return EXIT_TROUBLE;
}

/* What to do when the service does not let us in. */
static void tell_way_out(const struct service *s, const struct answer *a) {
    const char *code = answer_text(a, "code");
    if (strcmp(code, "unauthorized") == 0 && client_has_key(s->client))
        say("  it does not know our key: the key's line has to be in its --keys file, and SIGHUP has it read again");
    else if (strcmp(code, "unauthorized") == 0)
        say("  we have sent no key: --key-file FILE or OFFLOAD_API_KEY gives it; 'offload keygen NAME' makes one. A "
            "service can take certificates, too: --cert FILE");
    else if (strcmp(code, "forbidden") == 0)
        say("  our key is known, and its line in the service's --keys file does not have the scope for this");
    else if (strcmp(code, "over_quota") == 0 && a->http.retry_after_s > 0)
        say("  the quota of our key is used up; there is more of it in %lld s", (long long)a->http.retry_after_s);
    else if (strcmp(code, "over_quota") == 0)
        say("  the quota of our key is used up");
}

/* A problem with a job's id in it is about that job, not about the request. */
static int report_problem(const struct service *s, const struct answer *a) {
    char subject[120];
    const char *job = answer_text(a, "job");
    int status = a->http.status;
    if (job != NULL)
        snprintf(subject, sizeof subject, "job %.60s", job);
    else
        snprintf(subject, sizeof subject, "the service answered %d", status);
    service_tell_problem(a->json, subject);
    if (job != NULL)
        return EXIT_UNSUCCESSFUL;
    tell_way_out(s, a);
    return status / 100 == 4 ? EXIT_REJECTED : EXIT_TROUBLE;
}

static void parse(struct answer *a) {
    json_decref(a->json);
    a->json = NULL;
    if (a->http.body.size != 0)
        a->json = json_loadb(a->http.body.data, a->http.body.size, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, NULL);
    if (json_is_object(a->json))
        return;
    json_decref(a->json);
    a->json = NULL;
}

/* Waits until the same request can be sent again. False: it must not be sent again. After an interrupt there is only
 * one try. */
static bool wait_to_retry(struct service *s, enum client_result result, const struct answer *a, bool patient,
                          unsigned tried) {
    /* A problem with a job's id in it is about that job: then the service is not busy. */
    bool busy =
        result == CLIENT_ANSWERED && (a->http.status == 429 || a->http.status == 503) && answer_text(a, "job") == NULL;
    bool lost = result == CLIENT_FAILED && patient && !client_is_hopeless(s->client);
    int64_t delay_s = busy ? a->http.retry_after_s : 0;
    if (tried >= s->retries || interrupt_signal() != 0 || (!busy && !lost) || delay_s > RETRY_LIMIT_S)
        return false;
    if (delay_s <= 0)
        delay_s = INT64_C(1) << (tried < 5 ? tried : 5);
    const char *code = result == CLIENT_ANSWERED ? answer_text(a, "code") : client_error(s->client);
    say("%s; trying again in %lld s", code != NULL ? code : "the service is busy", (long long)delay_s);
    interrupt_sleep(delay_s * 1000);
    return true;
}

static enum client_result ask(struct service *s, const struct client_request *request, bool patient, struct answer *a) {
    for (unsigned tried = 0;; tried++) {
        enum client_result result = CLIENT_INTERRUPTED;
        if (request->uninterrupted || interrupt_signal() == 0)
            result = client_perform(s->client, request, &a->http);
        parse(a);
        if (result == CLIENT_INTERRUPTED || !wait_to_retry(s, result, a, patient, tried))
            return result;
        if (interrupt_signal() != 0)
            return CLIENT_INTERRUPTED;
    }
}

int service_call(struct service *s, struct client_request *request, bool patient, struct answer *a) {
    enum client_result result = ask(s, request, patient, a);
    buf_deinit(&request->path);
    if (result == CLIENT_INTERRUPTED)
        return 128 + interrupt_signal();
    if (result == CLIENT_FAILED) {
        say("%s: %s", client_name(s->client), client_error(s->client));
        return EXIT_TROUBLE;
    }
    bool problem = a->http.status / 100 != 2;
    bool streamed = request->sink != NULL && a->http.status == 200;
    if (a->http.foreign || (!streamed && a->json == NULL) || (problem && answer_text(a, "code") == NULL)) {
        char what[60];
        snprintf(what, sizeof what, "its answer, %d, is not one of offload", a->http.status);
        return service_tell_foreign(s, what);
    }
    return problem ? report_problem(s, a) : EXIT_DONE;
}
