/* raw.c: raw bodies, which a worker parses because they are large (host.h). What it finds travels to the front end as
 * bytes that only this file reads and writes. They are in the byte order of this machine, at an address that is a
 * multiple of 8:
 *
 *     OFFSET  SIZE  FIELD
 *          0     4  type
 *          4     4  map      1: yes
 *          8     4  items    of a map
 *         12     4  zero
 *         16    32  hash     of the request in canonical form; zeros if it is not wanted
 *         48        the options (options.h)
 *
 * The bytes belong to the wire: raise WIRE_VERSION (pool/wire.h) with every change of them.
 *
 * It writes them in workers and reads them in the front end. */
#include <string.h>

#include "handlers/host/canonical.h"
#include "handlers/host/execute.h"
#include "handlers/host/fault.h"
#include "handlers/host/host.h"

struct raw_head {
    uint32_t type, map, items, zero;
    uint8_t hash[32];
};
_Static_assert(sizeof(struct raw_head) == 48, "the options behind it are aligned to 8");

void host_write_submission(const struct submission *s, const uint8_t hash[32], struct buf *out) {
    struct raw_head head = {.type = s->type, .map = s->map, .items = s->items};
    memcpy(head.hash, hash, sizeof head.hash);
    buf_append(out, &head, sizeof head);
    options_pack(&s->options, out);
}

/* Base64 becomes attachments that this process makes. The front end looks the others up, so it must parse a body that has
 * them itself. */
static int take_extras(struct submission *s, const struct host_hooks *hooks, struct fault *fault) {
    struct host_output *o = hooks == NULL ? NULL : hooks->output;
    if (s->extra_count > 0 && o == NULL)
        return fault_set(fault, "handler_failed", "there is no place for what the request has in itself");
    if (s->extra_count > HOST_MAX_MADE)
        return fault_set(fault, "invalid_params", "there are more than %d base64 texts in the JSON", HOST_MAX_MADE);
    for (uint32_t i = 0; i < s->extra_count; i++) {
        struct host_extra *e = &s->extras[i];
        if (e->kind != HOST_EXTRA_BYTES) {
            struct faults faults = {.code = "invalid_params"};
            faults_add_pointer(&faults, e->where, "is taken only if the JSON of the request has at most 32 KiB");
            return faults_finish(&faults, fault);
        }
        if ((e->fd >= 0 ? host_add_made(o, e->fd, e->size) : host_add_made_bytes(o, &e->bytes)) != 0)
            return fault_set(fault, "memory_limit", "there is no memory for the data in the request");
        e->fd = -1;
    }
    return 0;
}

/* The steps take so long for a large body that the job can be cancelled meanwhile. */
static int parse_steps(struct bytes body, unsigned max_depth, uint8_t *hash, const struct host_hooks *hooks,
                       struct submission *s, struct fault *fault) {
    const struct host_attachments *parts = hooks == NULL ? NULL : hooks->attachments;
    int rc = submission_parse(body.data, body.size, max_depth, parts == NULL ? 0 : parts->count, s, fault);
    if (rc == 0)
        rc = take_extras(s, hooks, fault);
    if (rc == 0 && execute_is_cancelled(hooks))
        return HOST_CANCELLED;
    if (rc == 0 && hash != NULL)
        rc = canonical_hash(body.data, body.size, hash, fault);
    return rc == 0 && execute_is_cancelled(hooks) ? HOST_CANCELLED : rc;
}

/* What the parse has given becomes *p, unless rc says that it has failed. Frees the submission. */
static int give(struct submission *s, int rc, const uint8_t hash[32], struct host_parsed *p, struct fault *fault) {
    if (rc == 0) {
        *p = (struct host_parsed){.type = s->type,
                                  .map = s->map,
                                  .isolated =
                                      s->options.isolated != 0 || (host_handler(s->type)->flags & HANDLER_SPAWN) != 0,
                                  .wanted_chunks = (unsigned)s->options.chunks,
                                  .params = s->params};
        s->params = (struct buf){0};
        host_write_submission(s, hash, &p->submission);
        if (p->submission.failed)
            rc = fault_set(fault, "memory_limit", "there is no memory for the request");
    }
    submission_deinit(s);
    return rc;
}

int host_parse_raw(struct bytes body, unsigned max_depth, bool want_hash, const struct host_hooks *hooks,
                   struct host_parsed *p, struct fault *fault) {
    struct submission s;
    memset(p, 0, sizeof *p);
    uint8_t hash[32] = {0};
    int rc = parse_steps(body, max_depth, want_hash ? hash : NULL, hooks, &s, fault);
    return give(&s, rc, hash, p, fault);
}

int host_parse_raw_params(uint32_t type, struct bytes body, unsigned max_depth, const struct host_hooks *hooks,
                          struct host_parsed *p, struct fault *fault) {
    struct submission s;
    memset(p, 0, sizeof *p);
    const uint8_t no_hash[32] = {0};
    int rc = submission_parse_params(type, body.data, body.size, max_depth, &s, fault);
    if (rc == 0 && execute_is_cancelled(hooks))
        rc = HOST_CANCELLED;
    return give(&s, rc, no_hash, p, fault);
}

void host_parsed_deinit(struct host_parsed *p) {
    buf_deinit(&p->params);
    buf_deinit(&p->submission);
}

bool host_read_submission(struct bytes submission, struct submission *s, uint8_t *hash) {
    struct raw_head head;
    const char *bytes = submission.data;
    memset(s, 0, sizeof *s);
    if (submission.size < sizeof head)
        return false;
    memcpy(&head, bytes, sizeof head);
    if (head.type >= host_count() || head.map > 1 || head.zero != 0 || head.items > (head.map ? HOST_MAX_ITEMS : 0))
        return false;
    if (!options_unpack(bytes + sizeof head, submission.size - sizeof head, &s->options))
        return false;
    s->type = head.type;
    s->map = head.map != 0;
    s->items = head.items;
    if (hash != NULL)
        memcpy(hash, head.hash, sizeof head.hash);
    return true;
}
