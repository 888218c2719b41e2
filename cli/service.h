/* service.h: the service as the commands see it: a request goes out, and either an answer with a 2xx status comes back,
 * or an exit code, after the reason was written to stderr. */
#ifndef OFFLOAD_CLI_SERVICE_H
#define OFFLOAD_CLI_SERVICE_H

#include <stdbool.h>

#include <jansson.h>

#include "base/attributes.h"
#include "cli/client.h"
#include "cli/slice.h"

/* The exit codes of the program, beside 128 + the signal after an interrupt. The help page explains them. */
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
/* The value of a member that is a string, or NULL. Both borrow from the answer. */
const char *answer_text(const struct answer *a, const char *member);
struct slice answer_slice(const struct answer *a, const char *member); /* of any member: its bytes as they were sent */

struct service {
    struct client *client;
    unsigned retries; /* how often a busy service is asked again at most */
};

/* Says that the answer is not one of offload, and what is wrong with it. Returns EXIT_TROUBLE. */
int service_tell_foreign(const struct service *s, const char *what);

/* EXIT_DONE if *a is an answer with a 2xx status, else an exit code, after a line on stderr. A busy service (429, 503)
 * is asked again after the time that it names (Retry-After); patient: so is one that cannot be reached. Frees what *a
 * held before, and the request's path. The caller calls answer_deinit in all cases. */
MUST_CHECK int service_call(struct service *s, struct client_request *request, bool patient, struct answer *a);
/* Writes a problem document (RFC 9457) or a job's error to stderr. subject: what it is about. */
void service_tell_problem(const json_t *problem, const char *subject);

#endif
