/* attach.h: the attachments of a submission. It makes a JSON text in which each PARAM_BYTES has one form, so that all that
 * reads it afterwards, here, in a worker or after a restart, finds the attachment by its number alone:
 *
 *     {"image": "iVBORw0…"}         ──► {"image": {"part": 2}}     base64: an extra, number 2 behind two data parts
 *     {"image": {"job": "0192…"}}   ──► {"image": {"part": 3}}     an extra, which the front end looks up
 *     {}                            ──► {"image": {"part": 0}}     not given: the next data part
 *
 * Private to handlers/host. These functions have no state: any thread may call them. */
#ifndef OFFLOAD_HOST_ATTACH_H
#define OFFLOAD_HOST_ATTACH_H

#include "handlers/host/host.h"
#include "handlers/host/params.h"

/* Where the members stand in the body; `at` is NULL for those that are missing. */
struct attach_body {
    struct json_span whole, params, items, columns;
    size_t calls; /* of items or columns: how many */
};

/* Writes the text to s->text, and the extras to s->extras. `parts` is how many data parts there are. What is wrong with a
 * value stays as it is, and is found when it is packed. Adds to *faults the data parts that nothing uses. False: memory
 * ran out. */
MUST_CHECK bool attach_lower(const struct params_table *t, const struct attach_body *body, uint32_t parts,
                             struct submission *s, struct faults *faults);

#endif
