/* message.c: see message.h. The text is checked as JSON first. Then its members are read where they stand, so a large
 * value is never copied here. It runs in the zygote and in workers. */
#include "handlers/program/message.h"

#include <signal.h>
#include <stddef.h>
#include <stdlib.h>

#include "handlers/host/jsontext.h"

#define MAX_NAME 32

/* ---- values ------------------------------------------------------------------------------------------------------ */

static bool has_name(const struct json_span *member, const char *name) {
    char text[MAX_NAME];
    scan_string(member, text, sizeof text);
    return strcmp(text, name) == 0;
}

struct json_span message_member(const struct json_span *object, const char *name) {
    struct json_span member, value;
    if (object->at == NULL || *object->at != '{')
        return (struct json_span){NULL, NULL};
    for (const char *at = object->at + 1; scan_next_member(&at, object->end, &member, &value);)
        if (has_name(&member, name))
            return value;
    return (struct json_span){NULL, NULL};
}

bool message_text(const struct json_span *value, char *to, size_t room) {
    to[0] = '\0';
    if (value->at == NULL || *value->at != '"')
        return false;
    scan_string(value, to, room);
    return true;
}

bool message_u64(const struct json_span *value, uint64_t *number) {
    *number = 0;
    if (value->at == NULL)
        return false;
    const char *end = scan_plain_integer(value->at, value->end, 16);
    for (const char *at = value->at; end == value->end && at < end && *at != '-'; at++)
        *number = *number * 10 + (uint64_t)(*at - '0');
    return end == value->end && *value->at != '-' && *number <= (UINT64_C(1) << 53);
}

bool message_number(const struct json_span *value, double *number) {
    char text[32], *end;
    size_t size = value->at == NULL ? sizeof text : (size_t)(value->end - value->at);
    *number = 0;
    if (size >= sizeof text || *value->at == '-')
        return false;
    memcpy(text, value->at, size);
    text[size] = '\0';
    *number = strtod(text, &end);
    return end == text + size && *number <= 1e12;
}

static bool begins_with(const struct json_span *value, char c) {
    return value->at != NULL && *value->at == c;
}

/* ---- members -----------------------------------------------------------------------------------------------------*/

struct members {
    struct json_span kind, call, value, values, error, chunks, done, total, pid, types, sources, protocol, fork,
        fork_reason, cancel_signal, max_calls, binary, fds;
};

#define MEMBER(name)                                                                                                   \
    { #name, offsetof(struct members, name) }
static const struct {
    const char *name;
    size_t offset;
} member_names[] = {MEMBER(kind),      MEMBER(call),     MEMBER(value), MEMBER(values),      MEMBER(error),
                    MEMBER(chunks),    MEMBER(done),     MEMBER(total), MEMBER(pid),         MEMBER(types),
                    MEMBER(sources),   MEMBER(protocol), MEMBER(fork),  MEMBER(fork_reason), MEMBER(cancel_signal),
                    MEMBER(max_calls), MEMBER(binary),   MEMBER(fds)};
#undef MEMBER

/* One pass: a value can have many megabytes. */
static void find_members(const struct json_span *frame, struct members *s) {
    struct json_span name, value;
    const char *at = frame->at + 1;
    memset(s, 0, sizeof *s);
    while (scan_next_member(&at, frame->end, &name, &value)) {
        char text[MAX_NAME];
        scan_string(&name, text, sizeof text);
        for (size_t i = 0; i < sizeof member_names / sizeof member_names[0]; i++)
            if (strcmp(text, member_names[i].name) == 0)
                memcpy((char *)s + member_names[i].offset, &value, sizeof value);
    }
}

/* ---- messages ---------------------------------------------------------------------------------------------------- */

static int broken(const char **why, const char *reason) {
    *why = reason;
    return -1;
}

static int read_result(const struct members *s, struct message *m, const char **why) {
    const struct json_span call = s->call;
    m->value = s->value;
    m->values = s->values;
    m->error = s->error;
    m->binary = s->binary;
    if (!message_u64(&call, &m->call))
        return broken(why, "result: \"call\" is not the number of a call");
    if ((m->value.at != NULL) + (m->values.at != NULL) + (m->error.at != NULL) + (m->binary.at != NULL) != 1)
        return broken(why, "result: it must have one of \"value\", \"values\", \"binary\" and \"error\"");
    if (m->binary.at != NULL && !begins_with(&m->binary, '{'))
        return broken(why, "result: \"binary\" is not an object");
    if (m->values.at != NULL && !begins_with(&m->values, '['))
        return broken(why, "result: \"values\" is not an array");
    if (m->error.at != NULL && !begins_with(&m->error, '{'))
        return broken(why, "result: \"error\" is not an object");
    return 0;
}

bool message_is_media_type(const char *text) {
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyz0123456789!#$&-^_.+";
    size_t type = strspn(text, allowed);
    if (type == 0 || text[type] != '/' || text[0] == '.' || text[0] == '-')
        return false;
    size_t subtype = strspn(text + type + 1, allowed);
    return subtype > 0 && text[type + 1 + subtype] == '\0' && type + 1 + subtype <= HANDLER_MAX_MEDIA_TYPE;
}

int message_read_bytes(const struct json_span *binary, struct message_bytes *out, const char **why) {
    const struct json_span media_type = message_member(binary, "media_type"), fd = message_member(binary, "fd"),
                           size = message_member(binary, "size");
    char text[HANDLER_MAX_MEDIA_TYPE + 2];
    memset(out, 0, sizeof *out);
    if (!message_text(&media_type, text, sizeof text) || !message_is_media_type(text))
        return broken(why, "result: \"media_type\" is not a media type, in lower case and without parameters");
    memcpy(out->media_type, text, strlen(text) + 1);
    if (fd.at != NULL && *fd.at != 't' && *fd.at != 'f')
        return broken(why, "result: \"fd\" is not true or false");
    out->has_fd = begins_with(&fd, 't');
    if (out->has_fd && !message_u64(&size, &out->size))
        return broken(why, "result: \"size\" is not the size of what came along");
    return 0;
}

static int read_planned(const struct members *s, struct message *m, const char **why) {
    const struct json_span call = s->call;
    m->chunks = s->chunks;
    if (!message_u64(&call, &m->call))
        return broken(why, "planned: \"call\" is not the number of a call");
    return begins_with(&m->chunks, '[') ? 0 : broken(why, "planned: \"chunks\" is not an array");
}

static int read_progress(const struct members *s, struct message *m, const char **why) {
    const struct json_span call = s->call, done = s->done, total = s->total;
    double of_done, of_total;
    if (!message_u64(&call, &m->call) || !message_number(&done, &of_done) || !message_number(&total, &of_total))
        return broken(why, "progress: \"call\", \"done\" and \"total\" must be numbers from 0 up");
    bool whole = of_done == (double)(uint64_t)of_done && of_total == (double)(uint64_t)of_total;
    m->done = (uint64_t)(whole ? of_done : of_done * 1e6);
    m->total = (uint64_t)(whole ? of_total : of_total * 1e6);
    return 0;
}

static int read_forked(const struct members *s, struct message *m, const char **why) {
    const struct json_span pid = s->pid;
    uint64_t number = 0;
    m->forked_error = s->error;
    if (pid.at != NULL && (!message_u64(&pid, &number) || number < 2 || number > INT32_MAX))
        return broken(why, "forked: \"pid\" is not the number of a process");
    m->pid = (int64_t)number;
    return pid.at != NULL || begins_with(&m->forked_error, '"') ? 0 : broken(why, "forked: it has no \"pid\"");
}

static int read_hello(const struct members *s, struct message *m, const char **why) {
    const struct json_span protocol = s->protocol, fork = s->fork, cancel = s->cancel_signal, most = s->max_calls;
    uint64_t number;
    m->types = s->types;
    m->sources = s->sources;
    if (!message_u64(&protocol, &number) || number != MESSAGE_PROTOCOL)
        return broken(why, "hello: \"protocol\" is not 1");
    if (fork.at != NULL && *fork.at != 't' && *fork.at != 'f')
        return broken(why, "hello: \"fork\" is not true or false");
    m->fork = begins_with(&fork, 't');
    m->fork_reason = s->fork_reason;
    if ((s->binary.at != NULL && *s->binary.at != 't' && *s->binary.at != 'f') ||
        (s->fds.at != NULL && *s->fds.at != 't' && *s->fds.at != 'f'))
        return broken(why, "hello: \"binary\" and \"fds\" are true or false");
    m->takes_fds = begins_with(&s->fds, 't');
    m->takes_binary = m->takes_fds || begins_with(&s->binary, 't');
    if (cancel.at != NULL && (!message_u64(&cancel, &number) || number < 1 || number >= NSIG))
        return broken(why, "hello: \"cancel_signal\" is not the number of a signal");
    m->cancel_signal = cancel.at != NULL ? (int)number : 0;
    m->max_calls = UINT64_MAX;
    if (most.at != NULL && (!message_u64(&most, &m->max_calls) || m->max_calls == 0))
        return broken(why, "hello: \"max_calls\" is not a number from 1 up");
    if (m->types.at != NULL && !begins_with(&m->types, '['))
        return broken(why, "hello: \"types\" is not an array");
    if (m->sources.at != NULL && !begins_with(&m->sources, '['))
        return broken(why, "hello: \"sources\" is not an array");
    return 0;
}

static const struct {
    const char *name;
    int (*read)(const struct members *s, struct message *m, const char **why);
} kinds[] = {
    [MESSAGE_HELLO] = {"hello", read_hello},       [MESSAGE_RESULT] = {"result", read_result},
    [MESSAGE_PLANNED] = {"planned", read_planned}, [MESSAGE_PROGRESS] = {"progress", read_progress},
    [MESSAGE_FORKED] = {"forked", read_forked},
};

int message_read(struct bytes json, struct message *m, const char **why) {
    const char *text = json.data, *end = text + json.size;
    struct fault fault = {{0}};
    char kind[MAX_NAME];
    memset(m, 0, sizeof *m);
    bool good = jsontext_check(text, json.size, MESSAGE_MAX_DEPTH, &fault) == 0;
    fault_deinit(&fault);
    if (!good)
        return broken(why, "a frame is not JSON");
    struct json_span frame = {scan_space(text, end), end};
    struct members s;
    if (*frame.at == '{')
        find_members(&frame, &s);
    if (*frame.at != '{' || !message_text(&s.kind, kind, sizeof kind))
        return broken(why, "a frame is not an object with a \"kind\"");
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        if (strcmp(kind, kinds[i].name) != 0)
            continue;
        m->kind = (enum message_kind)i;
        return kinds[i].read(&s, m, why);
    }
    return broken(why, "a frame has a \"kind\" that a program cannot send");
}
