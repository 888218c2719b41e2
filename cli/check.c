/* check.c: see check.h. Process: the client. */
#include "cli/check.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "cli/hello.h"
#include "cli/output.h"
#include "cli/sample.h"
#include "cli/say.h"

#define SHOWN_BYTES 300 /* of a message */
#define END_MS      1000
#define NUDGE_NS    (50 * NS_PER_MS)

/* ---- verdicts ---------------------------------------------------------------------------------------------------- */

bool check_verdict(struct check *k, bool good, const char *type, const char *what) {
    struct buf line = {0};
    buf_puts(&line, good ? "ok - " : "not ok - ");
    if (type != NULL)
        buf_printf(&line, "%s: ", type);
    buf_puts(&line, what);
    if (!good)
        buf_printf(&line, ": %s", k->why.size > 0 ? k->why.data : "memory ran out");
    for (size_t i = 0; i < line.size; i++) /* a message can have line breaks */
        line.data[i] = line.data[i] == '\n' ? ' ' : line.data[i];
    say_text(stdout, line.data, line.size);
    fflush(stdout);
    *(good ? &k->passed : &k->failed) += 1;
    buf_deinit(&line);
    buf_clear(&k->why);
    return good;
}

bool check_fault(struct check *k, const char *format, ...) {
    char text[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    buf_puts(&k->why, text);
    return false;
}

bool check_fault_with(struct check *k, json_t *message, const char *text) {
    char *shown = json_dumps(message, JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(15));
    size_t size = shown != NULL ? strlen(shown) : 0;
    check_fault(k, "%s; received: %.*s%s", text, size < SHOWN_BYTES ? (int)size : SHOWN_BYTES,
                shown != NULL ? shown : "?", size < SHOWN_BYTES ? "" : "...");
    free(shown);
    return false;
}

int64_t check_deadline(int64_t ms) {
    return clock_monotonic_ns() + ms * NS_PER_MS;
}

/* ---- messages ---------------------------------------------------------------------------------------------------- */

/* The conversation has ended. */
static void write_end(struct check *k, struct program *p, const char *wanted) {
    int status;
    if (program_ended(p, check_deadline(END_MS), &status)) {
        buf_puts(&k->why, "the process has ended with ");
        program_write_status(&k->why, status);
    } else {
        buf_puts(&k->why, "the process has closed its end of the conversation");
    }
    buf_printf(&k->why, "; %s", wanted);
}

static void write_late(struct check *k, struct program *p, int64_t ms, const char *wanted) {
    if (p->talk.in.size == 0)
        check_fault(k, "nothing has come for %" PRId64 " ms; %s", ms, wanted);
    else
        check_fault(k,
                    "a frame has begun, of which %zu bytes have come, and no more for %" PRId64
                    " ms; its sizes have to be u32, little endian",
                    p->talk.in.size, ms);
}

json_t *check_receive(struct check *k, struct program *p, int64_t ms, const char *wanted) {
    json_t *message = NULL;
    enum talk_result result;
    int64_t end = check_deadline(ms), now;
    do {
        now = clock_monotonic_ns();
        int64_t until = k->nudge != 0 && now + NUDGE_NS < end ? now + NUDGE_NS : end;
        result = talk_receive(&p->talk, until, &message, &k->why);
        if (result == TALK_LATE && k->nudge != 0)
            kill(p->pid, k->nudge);
    } while (result == TALK_LATE && now < end);
    switch (result) {
    case TALK_END: write_end(k, p, wanted); break;
    case TALK_LATE: write_late(k, p, ms, wanted); break;
    case TALK_MESSAGE:
    case TALK_WRONG: break;
    }
    return message;
}

static bool is_kind(json_t *message, const char *kind) {
    return strcmp(json_string_value(json_object_get(message, "kind")), kind) == 0;
}

json_t *check_receive_hello(struct check *k, struct program *p, bool forked) {
    json_t *hello = check_receive(k, p, forked ? k->answer_ms : k->load_ms, "the first message has to be \"hello\"");
    if (hello == NULL || is_kind(hello, "hello"))
        return hello;
    check_fault_with(k, hello, "the first message has to be \"hello\"");
    json_decref(hello);
    return NULL;
}

/* ---- processes --------------------------------------------------------------------------------------------------- */

bool check_start(struct check *k, struct program *p, pid_t *nursery) {
    if (program_start(p, k->words, nursery, &k->why) != 0)
        return false;
    json_t *hello = check_receive_hello(k, p, false);
    bool good = hello != NULL && hello_check(hello, false, &k->why);
    json_decref(hello);
    return good;
}

/* The parent of a process, from /proc. 0: there is no such process. */
static pid_t parent_of(pid_t pid) {
    char path[64], line[512] = "";
    int parent = 0;
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    FILE *stat = fopen(path, "re");
    if (stat != NULL && fgets(line, sizeof line, stat) != NULL) {
        const char *after = strrchr(line, ')'); /* behind the name, which can have anything in it */
        if (after == NULL || sscanf(after + 1, " %*c %d", &parent) != 1)
            parent = 0;
    }
    if (stat != NULL)
        fclose(stat);
    return parent;
}

/* True if descriptor n of the process is the pipe that came with `fork`. */
static bool prints_to_us(pid_t pid, int n) {
    char path[64], theirs[128], ours[128];
    snprintf(path, sizeof path, "/proc/%d/fd/%d", (int)pid, n);
    ssize_t a = readlink(path, theirs, sizeof theirs);
    snprintf(path, sizeof path, "/proc/self/fd/%d", output_writer(OUTPUT_OF_FORKED));
    ssize_t b = readlink(path, ours, sizeof ours);
    return a > 0 && a == b && memcmp(theirs, ours, (size_t)a) == 0;
}

static bool take_forked(struct check *k, struct program *template, struct program *child) {
    json_t *forked = check_receive(k, template, k->answer_ms, "\"fork\" has to be answered with \"forked\"");
    json_int_t pid = json_integer_value(json_object_get(forked, "pid"));
    bool good = forked != NULL;
    if (forked != NULL && !is_kind(forked, "forked"))
        good = check_fault_with(k, forked, "\"fork\" has to be answered with \"forked\"");
    else if (forked != NULL && json_object_get(forked, "error") != NULL)
        good = check_fault_with(k, forked, "the template could not fork");
    else if (forked != NULL && (pid < 2 || pid > INT32_MAX || pid == template->pid))
        good = check_fault_with(k, forked, "\"forked\" has to have the number of the new process in \"pid\"");
    child->pid = good ? (pid_t)pid : 0;
    json_decref(forked);
    return good;
}

static bool check_child(struct check *k, struct program *child, pid_t parent) {
    json_t *hello = check_receive_hello(k, child, true);
    bool good = hello != NULL && hello_check(hello, true, &k->why);
    json_decref(hello);
    if (!good)
        return false;
    pid_t found = parent_of(child->pid);
    if (found == 0)
        return check_fault(k, "\"forked\" has to have the number of the new process in \"pid\"; there is no process %d",
                           (int)child->pid);
    if (found != parent)
        return check_fault(k,
                           "the new process has to be a child of \"parent\" (%d) when it says hello: the template forks"
                           " twice, and the process in between exits; its parent is %d",
                           (int)parent, (int)found);
    if (!prints_to_us(child->pid, 1) || !prints_to_us(child->pid, 2))
        return check_fault(k, "stdout and stderr of the new process have to be the second descriptor that came with"
                              " \"fork\"");
    return true;
}

bool check_fork(struct check *k, struct program *template, pid_t parent, struct program *child) {
    int ends[2];
    *child = PROGRAM_NONE;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
        return check_fault(k, "socketpair: %s", strerror(errno));
    talk_open(&child->talk, ends[0]);
    json_t *message = json_pack("{s:s, s:i}", "kind", "fork", "parent", (int)parent);
    int sent = talk_send_with(&template->talk, message, (int[]){ends[1], output_writer(OUTPUT_OF_FORKED)},
                              check_deadline(k->answer_ms));
    close(ends[1]);
    if (sent != 0)
        write_end(k, template, "\"fork\" has to be answered with \"forked\"");
    return sent == 0 && take_forked(k, template, child) && check_child(k, child, parent);
}

bool check_begin(struct check *k) {
    if (k->now.pid != 0)
        return true;
    k->next_call = k->next_answer = 1;
    k->cancelled_from = 1;
    k->cancelled_to = 0;
    if (!k->forks)
        return check_start(k, &k->now, NULL);
    return (k->template.pid != 0 || check_start(k, &k->template, NULL)) &&
           check_fork(k, &k->template, getpid(), &k->now);
}

void check_end(struct check *k) {
    program_kill(&k->now);
    program_kill(&k->template);
}

/* ---- calls ------------------------------------------------------------------------------------------------------- */

bool check_send(struct check *k, json_t *message) {
    if (talk_send_message(&k->now.talk, message, check_deadline(k->answer_ms)) == 0)
        return true;
    if (errno == ETIMEDOUT)
        return check_fault(k, "the process has not read its messages for %" PRId64 " ms", k->answer_ms);
    write_end(k, &k->now, "a program has to live until \"exit\" or the end of the stream");
    return false;
}

json_t *check_run_message(struct check *k, json_t *type, json_t *params, unsigned count) {
    json_t *calls = json_array();
    json_t *message = json_pack("{s:s, s:s, s:I, s:o, s:i}", "kind", "run", "type", check_name(type), "call",
                                (json_int_t)k->next_call, "calls", calls, "attempt", 0);
    for (unsigned i = 0; i < count; i++)
        json_array_append(calls, params);
    k->next_call += count;
    return message;
}

static bool check_progress(struct check *k, json_t *message) {
    static const char *const names[] = {"call", "done", "total"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        json_t *number = json_object_get(message, names[i]);
        if (!json_is_integer(number) || json_integer_value(number) < 0)
            return check_fault_with(k, message,
                                    "\"progress\" has to have \"call\", \"done\" and \"total\", integers from 0 up");
    }
    json_int_t call = json_integer_value(json_object_get(message, "call"));
    if (call >= k->next_call)
        return check_fault_with(k, message, "\"progress\" has to have the number of a call that was sent");
    return true;
}

json_t *check_next_answer(struct check *k) {
    for (;;) {
        json_t *message = check_receive(k, &k->now, k->answer_ms, "each call has to be answered");
        if (message == NULL || !is_kind(message, "progress"))
            return message;
        bool good = check_progress(k, message);
        json_decref(message);
        if (!good)
            return NULL;
    }
}

static bool is_text(json_t *object, const char *name) {
    json_t *value = json_object_get(object, name);
    return value == NULL || json_is_string(value);
}

static bool check_error(struct check *k, json_t *message) {
    static const char *const codes[] = {"handler_failed", "invalid_params", "memory_limit", "cancelled"};
    json_t *error = json_object_get(message, "error");
    const char *code = json_string_value(json_object_get(error, "code"));
    const char *pointer = json_string_value(json_object_get(error, "pointer"));
    bool known = false;
    for (size_t i = 0; code != NULL && i < sizeof codes / sizeof codes[0]; i++)
        known = known || strcmp(code, codes[i]) == 0;
    if (!known)
        return check_fault_with(k, message,
                                "\"error\" has to be an object, and its \"code\" one of handler_failed,"
                                " invalid_params, memory_limit and cancelled");
    if (!is_text(error, "detail") || !is_text(error, "exception") || !is_text(error, "traceback") ||
        !is_text(error, "pointer"))
        return check_fault_with(k, message,
                                "\"detail\", \"exception\", \"traceback\" and \"pointer\" have to be strings");
    if (pointer != NULL && pointer[0] != '\0' && pointer[0] != '/')
        return check_fault_with(k, message, "\"pointer\" has to be a JSON pointer within the params, such as /n");
    if (strcmp(code, "cancelled") == 0 && (k->next_answer < k->cancelled_from || k->next_answer > k->cancelled_to))
        return check_fault_with(k, message, "the error \"cancelled\" is for calls that \"cancel\" has named");
    return true;
}

bool check_result(struct check *k, json_t *message, json_t *values) {
    json_t *call = json_object_get(message, "call"), *value = json_object_get(message, "value");
    json_t *several = json_object_get(message, "values"), *error = json_object_get(message, "error");
    if (!is_kind(message, "result"))
        return check_fault_with(k, message, "a call has to be answered with \"result\"");
    if ((value != NULL) + (several != NULL) + (error != NULL) != 1)
        return check_fault_with(k, message, "\"result\" has to have one of \"value\", \"values\" and \"error\"");
    if (!json_is_integer(call) || json_integer_value(call) != k->next_answer) {
        char text[128];
        snprintf(text, sizeof text,
                 "calls have to be answered once, in the order of their numbers; %" JSON_INTEGER_FORMAT " is due",
                 k->next_answer);
        return check_fault_with(k, message, text);
    }
    if (several != NULL && json_array_size(several) == 0)
        return check_fault_with(k, message, "\"values\" has to be an array with at least one value");
    if (several != NULL && json_array_size(several) > (size_t)(k->next_call - k->next_answer))
        return check_fault_with(k, message, "\"values\" has more values than there are unanswered calls");
    if (error != NULL && !check_error(k, message))
        return false;
    if (values != NULL && value != NULL)
        json_array_append(values, value);
    if (values != NULL && several != NULL)
        json_array_extend(values, several);
    k->next_answer += several != NULL ? (json_int_t)json_array_size(several) : 1;
    return true;
}

bool check_answers(struct check *k, json_t *values) {
    bool good = true;
    while (good && k->next_answer < k->next_call) {
        json_t *message = check_next_answer(k);
        good = message != NULL && check_result(k, message, values);
        json_decref(message);
    }
    return good && check_silent(k);
}

void check_note_cancel(struct check *k, json_int_t from, json_int_t to) {
    k->cancelled_from = from;
    k->cancelled_to = to;
}

bool check_silent(struct check *k) {
    json_t *message;
    enum talk_result result = talk_receive(&k->now.talk, 0, &message, &k->why);
    bool good = result == TALK_LATE || result == TALK_END; /* whether it is to live is the matter of others */
    if (result == TALK_MESSAGE && is_kind(message, "progress"))
        good = check_progress(k, message) && check_silent(k);
    else if (result == TALK_MESSAGE)
        check_fault_with(k, message, "all calls are answered, so a program has nothing more to say");
    json_decref(message);
    return good;
}

const char *check_name(json_t *type) {
    return json_string_value(json_object_get(type, "name"));
}

bool check_has_flag(json_t *type, const char *flag) {
    json_t *one;
    size_t i;
    json_array_foreach(json_object_get(type, "flags"), i, one) {
        if (strcmp(json_string_value(one), flag) == 0)
            return true;
    }
    return false;
}

json_t *check_params(struct check *k, json_t *type) {
    json_t *given = json_object_get(k->given, check_name(type));
    return given != NULL ? json_incref(given) : sample_params(json_object_get(type, "params"));
}
