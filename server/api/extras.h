/* extras.h: data that a submission names in its JSON, or has in it: base64 text, the result of another job, shared memory of
 * the client. They become attachments of the job, behind the data parts of the request. Front end; all from the event
 * loop. */
#ifndef OFFLOAD_API_EXTRAS_H
#define OFFLOAD_API_EXTRAS_H

#include "server/api/deferred.h"

/* Takes the submission that was parsed, whose type takes data, and gathers its extras. The text of the request is the
 * submission's from then on, in which attachments have their numbers. Then it calls `ready`, now or later. It does not if an extra is wrong, for then the request is answered; nor if the client leaves meanwhile. */
void extras_take(struct deferred_request *d, struct submission *submission, void (*ready)(struct deferred_request *d));

#endif
