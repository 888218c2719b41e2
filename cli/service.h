/* service.h: the service as the commands see it. A request goes out. What comes back is either an answer of
 * the 2xx kind, or an exit code, and then the reason was told on stderr. */
#ifndef OFFLOAD_CLI_SERVICE_H
#define OFFLOAD_CLI_SERVICE_H

#include <stdbool.h>

#include <jansson.h>

#include "base/attributes.h"
#include "cli/client.h"
#include "cli/slice.h"

/* How the program ends; 128 + the signal when interrupted. The help page explains them. */
enum exit_code {
    EXIT_DONE = 0,
    EXIT_UNSUCCESSFUL = 1,
    EXIT_USAGE = 2,
    EXIT_REJECTED = 3,
    EXIT_TROUBLE = 4,
    EXIT_NOT_ENDED = 5
};

struct answer {
    struct client_response http;
    json_t *json; /* the body as an object; NULL if it went to a sink */
};
void answer_deinit(struct answer *a);
const char *answer_text(const struct answer *a, const char *member); /* a string member, or NULL */
struct slice answer_slice(const struct answer *a, const char *member);

struct service {
    struct client *client;
    unsigned retries; /* how often a busy service is asked again */
};

/* 0 with *a filled by a 2xx, or an exit code. A busy service (429, 503) is asked again after the time it named; with
 * `patient` one that cannot be reached is, too. Frees what *a held before, and the request's path. */
MUST_CHECK int service_call(struct service *s, struct client_request *request, bool patient, struct answer *a);
/* Tells a problem document or a job's error on stderr; `subject` is what it is about. */
void service_tell_problem(const json_t *problem, const char *subject);

#endif
