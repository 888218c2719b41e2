/* check_calls.c: see check_calls.h. Process: the client. */
#include "cli/check_calls.h"

#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "cli/output.h"
#include "cli/say.h"

#define SEVERAL        3
#define CHUNKS_MAX     4096
#define CHUNKS_RUN_MAX 16
#define LARGE_BYTES    (1 << 20)
#define BEGIN_MS       20 /* until a call is probably under way */
#define END_MS         1000

typedef bool check_function(struct check *k, json_t *type, json_t *params);

/* ---- one type ---------------------------------------------------------------------------------------------------- */

static bool one_call(struct check *k, json_t *type, json_t *params) {
    return check_send(k, check_run_message(k, type, params, 1)) && check_answers(k, NULL);
}

static bool several_calls(struct check *k, json_t *type, json_t *params) {
    return check_send(k, check_run_message(k, type, params, SEVERAL)) && check_answers(k, NULL);
}

static bool two_frames(struct check *k, json_t *type, json_t *params) {
    return check_send(k, check_run_message(k, type, params, 2)) &&
           check_send(k, check_run_message(k, type, params, 1)) && check_answers(k, NULL);
}

static bool check_planned(struct check *k, json_t *message, json_int_t call) {
    json_t *chunks = json_object_get(message, "chunks"), *chunk;
    size_t i;
    if (json_integer_value(json_object_get(message, "call")) != call)
        return check_fault_with(k, message, "\"planned\" has to have the \"call\" of the plan");
    if (json_array_size(chunks) == 0 || json_array_size(chunks) > CHUNKS_MAX)
        return check_fault_with(k, message, "\"chunks\" has to be an array of 1 to 4096 params");
    json_array_foreach(chunks, i, chunk) {
        if (!json_is_object(chunk))
            return check_fault_with(k, message, "each of the \"chunks\" has to be an object, the params of a call");
    }
    return true;
}

/* Sends the plan. *chunks: an array, the caller's; NULL if the answer is an error, which is right, too. */
static bool plan(struct check *k, json_t *type, json_t *params, int wished, json_t **chunks) {
    json_int_t call = k->next_call++;
    *chunks = NULL;
    if (!check_send(k, json_pack("{s:s, s:s, s:I, s:O, s:i}", "kind", "plan", "type", check_name(type), "call", call,
                                 "params", params, "chunks", wished)))
        return false;
    json_t *message = check_next_answer(k);
    const char *kind = json_string_value(json_object_get(message, "kind"));
    bool good = false;
    if (message != NULL && strcmp(kind, "planned") == 0) {
        good = check_planned(k, message, call);
        *chunks = good ? json_incref(json_object_get(message, "chunks")) : NULL;
        k->next_answer = k->next_call;
    } else if (message != NULL && json_object_get(message, "error") != NULL)
        good = check_result(k, message, NULL);
    else if (message != NULL)
        check_fault_with(k, message, "\"plan\" has to be answered with \"planned\", or with the error of a \"result\"");
    json_decref(message);
    return good;
}

/* Plans, and runs the first chunks. *parts: their values, the caller's. */
static bool run_chunks(struct check *k, json_t *type, json_t *params, int wished, json_t *parts) {
    json_t *chunks;
    bool good = plan(k, type, params, wished, &chunks);
    while (json_array_size(chunks) > CHUNKS_RUN_MAX)
        json_array_remove(chunks, json_array_size(chunks) - 1);
    if (good && chunks != NULL) {
        json_t *message = check_run_message(k, type, params, 0);
        k->next_call += (json_int_t)json_array_size(chunks);
        json_object_set(message, "calls", chunks);
        good = check_send(k, message) && check_answers(k, parts);
    }
    json_decref(chunks);
    return good;
}

static bool plan_and_run(struct check *k, json_t *type, json_t *params) {
    json_t *parts = json_array();
    bool good = run_chunks(k, type, params, 0, parts) && run_chunks(k, type, params, 2, parts);
    json_decref(parts);
    return good;
}

static bool merge(struct check *k, json_t *type, json_t *params) {
    json_t *parts = json_array();
    bool good = check_has_flag(type, "split")
                    ? run_chunks(k, type, params, 2, parts)
                    : check_send(k, check_run_message(k, type, params, 2)) && check_answers(k, parts);
    if (good)
        good = check_send(k, json_pack("{s:s, s:s, s:I, s:O}", "kind", "merge", "type", check_name(type), "call",
                                       (json_int_t)k->next_call++, "parts", parts)) &&
               check_answers(k, NULL);
    json_decref(parts);
    return good;
}

static json_t *cancel_message(json_int_t call) {
    return json_pack("{s:s, s:I}", "kind", "cancel", "call", call);
}

/* As the host does it: the message, and the signal again and again. */
static bool cancel_running(struct check *k, json_t *type, json_t *params) {
    json_int_t call = k->next_call;
    if (!check_send(k, check_run_message(k, type, params, 1)))
        return false;
    output_poll(k->now.talk.fd, POLLIN, check_deadline(BEGIN_MS));
    check_note_cancel(k, call, call);
    if (!check_send(k, cancel_message(call)))
        return false;
    if (k->cancel_signal != 0)
        kill(k->now.pid, k->cancel_signal);
    k->nudge = k->cancel_signal;
    bool good = check_answers(k, NULL);
    k->nudge = 0;
    return good && one_call(k, type, params);
}

static bool cancel_waiting(struct check *k, json_t *type, json_t *params) {
    json_int_t first = k->next_call;
    check_note_cancel(k, first + 1, first + 2);
    return check_send(k, check_run_message(k, type, params, SEVERAL)) && check_send(k, cancel_message(first + 2)) &&
           check_send(k, cancel_message(first + 1)) && check_answers(k, NULL) && one_call(k, type, params);
}

/* ---- the conversation -------------------------------------------------------------------------------------------- */

static bool unknown_member(struct check *k, json_t *type, json_t *params) {
    json_t *message = check_run_message(k, type, params, 1);
    json_object_set_new(message, "of_a_later_version", json_pack("{s:[i]}", "a", 1));
    return check_send(k, message) && check_answers(k, NULL);
}

static bool unknown_kind(struct check *k, json_t *type, json_t *params) {
    return check_send(k, json_pack("{s:s, s:I}", "kind", "of-a-later-version", "call", k->next_call)) &&
           one_call(k, type, params);
}

static bool late_cancel(struct check *k, json_t *type, json_t *params) {
    return one_call(k, type, params) && check_send(k, cancel_message(k->next_call - 1)) && one_call(k, type, params);
}

static bool pieces(struct check *k, json_t *type, json_t *params) {
    struct buf bytes;
    talk_frame(check_run_message(k, type, params, 1), &bytes);
    bool good = !bytes.failed;
    for (size_t i = 0; good && i < bytes.size; i++) {
        good = talk_send(&k->now.talk, bytes.data + i, 1, check_deadline(k->answer_ms)) == 0;
        if (i < 64) /* so that it is read alone */
            output_poll(-1, 0, check_deadline(1));
    }
    buf_deinit(&bytes);
    return good ? check_answers(k, NULL) : check_fault(k, "a frame has to be read in pieces, and was not");
}

static bool one_piece(struct check *k, json_t *type, json_t *params) {
    struct buf both, second;
    talk_frame(check_run_message(k, type, params, 1), &both);
    talk_frame(check_run_message(k, type, params, 1), &second);
    buf_append(&both, second.data, second.size);
    bool good = !both.failed && talk_send(&k->now.talk, both.data, both.size, check_deadline(k->answer_ms)) == 0;
    buf_deinit(&both);
    buf_deinit(&second);
    return good ? check_answers(k, NULL) : check_fault(k, "two frames have to be read, and were not");
}

static bool large(struct check *k, json_t *type, json_t *params) {
    json_t *message = check_run_message(k, type, params, 1);
    char *text = malloc(LARGE_BYTES);
    if (text != NULL)
        memset(text, 'x', LARGE_BYTES);
    json_object_set_new(message, "of_a_later_version", json_stringn(text, text != NULL ? LARGE_BYTES : 0));
    free(text);
    return check_send(k, message) && check_answers(k, NULL);
}

/* The process has to end by itself. What it says meanwhile is not looked at: nothing is asked of it. */
static bool ends(struct check *k, const char *what) {
    int status;
    struct buf text = {0};
    if (!program_ended(&k->now, check_deadline(END_MS), &status))
        return check_fault(k, "%s has to end the process at once, and it still lives after %d ms", what, END_MS);
    if (status == 0)
        return true;
    program_write_status(&text, status);
    check_fault(k, "%s has to end the process with exit code 0, and it has ended with %s", what, text.data);
    buf_deinit(&text);
    return false;
}

static bool at_exit(struct check *k, json_t *type, json_t *params) {
    bool good = one_call(k, type, params) && check_send(k, json_pack("{s:s}", "kind", "exit")) && ends(k, "\"exit\"");
    program_kill(&k->now);
    return good;
}

static bool at_end_of_stream(struct check *k, json_t *type, json_t *params) {
    bool good = one_call(k, type, params);
    talk_close(&k->now.talk);
    good = good && ends(k, "the end of the stream");
    program_kill(&k->now);
    return good;
}

/* ---- the tables -------------------------------------------------------------------------------------------------- */

struct row {
    const char *what;
    check_function *check;
    const char *flag; /* for types with this flag; NULL: for all */
};

static const struct row of_type[] = {
    {"a call is answered", one_call, NULL},
    {"calls in one frame are answered in order", several_calls, NULL},
    {"two frames can be unanswered", two_frames, NULL},
    {"a plan is answered, and its chunks run", plan_and_run, "split"},
    {"a merge is answered", merge, "merge"},
    {"a call that is cancelled is answered, and the next one runs", cancel_running, NULL},
    {"calls that are cancelled before they begin are answered in order", cancel_waiting, NULL},
};

static const struct row of_conversation[] = {
    {"an unknown member is ignored", unknown_member, NULL},
    {"an unknown kind is ignored", unknown_kind, NULL},
    {"cancel of an answered call is ignored", late_cancel, NULL},
    {"a frame that comes byte by byte is understood", pieces, NULL},
    {"two frames that come at once are understood", one_piece, NULL},
    {"a frame of 1 MiB is understood", large, NULL},
    {"exit ends the process", at_exit, NULL},
    {"the end of the stream ends the process", at_end_of_stream, NULL},
};

static bool run_row(struct check *k, json_t *type, const char *name, const struct row *row) {
    json_t *params = check_params(k, type);
    bool good = check_begin(k) && row->check(k, type, params);
    json_decref(params);
    check_verdict(k, good, name, row->what);
    if (!good)
        check_end(k); /* the next check begins with another process */
    return good;
}

bool check_calls_of_type(struct check *k, json_t *type) {
    for (size_t i = 0; i < sizeof of_type / sizeof of_type[0]; i++) {
        if (of_type[i].flag != NULL && !check_has_flag(type, of_type[i].flag))
            continue;
        if (!run_row(k, type, check_name(type), &of_type[i]) && i == 0)
            return false;
    }
    return true;
}

void check_conversation(struct check *k, json_t *type) {
    for (size_t i = 0; i < sizeof of_conversation / sizeof of_conversation[0]; i++)
        run_row(k, type, NULL, &of_conversation[i]);
}

/* True if a call without its required parameters is answered with invalid_params, or if there are none. */
static bool misses_parameters(struct check *k, json_t *type) {
    json_t *required = json_object_get(json_object_get(type, "params"), "required"), *none = json_object();
    json_t *message = NULL;
    if (json_array_size(required) > 0 && check_begin(k) && check_send(k, check_run_message(k, type, none, 1)))
        message = check_next_answer(k);
    const char *code = json_string_value(json_object_get(json_object_get(message, "error"), "code"));
    bool misses = json_array_size(required) == 0 || (code != NULL && strcmp(code, "invalid_params") == 0);
    k->next_answer = k->next_call;
    if (message == NULL)
        check_end(k);
    json_decref(message);
    json_decref(none);
    buf_clear(&k->why);
    return misses;
}

void check_advice(struct check *k) {
    json_t *type;
    size_t i;
    struct buf line = {0};
    json_array_foreach(json_object_get(k->hello, "types"), i, type) {
        if (!misses_parameters(k, type))
            buf_printf(&line, "%s%s", line.size > 0 ? ", " : "# advice: ", check_name(type));
    }
    if (line.size > 0)
        buf_puts(&line,
                 ": a call without a required parameter is not answered with invalid_params; the host refuses such"
                 " parameters itself, so it is no fault");
    if (line.size > 0 && !line.failed)
        say_text(stdout, line.data, line.size);
    buf_deinit(&line);
}
