/* fault.c: what is wrong with a submission or a call (fault.h). The text of a fault is bounded, whatever the client
 * sends: long names are cut in messages, and the list of errors ends with FAULTS_MAX of them or with some 14 KiB.
 *
 * It runs in the front end and in workers. */
#include "handlers/host/fault.h"

#include "handlers/handler.h"

#include <stdarg.h>
#include <stdio.h>

enum {
    DETAIL_MAX = 512,
    NAME_MAX_BYTES = 128, /* of a name in a pointer */
    POINTER_MAX = 1024,
    ERRORS_MAX_BYTES = 14 * 1024
};

void fault_deinit(struct fault *f) {
    buf_deinit(&f->json);
    buf_deinit(&f->loss.last_words);
    f->loss = (struct host_loss){0};
}

static const char *const causes[] = {
    [HOST_LOST_SIGNAL] = "signal", [HOST_LOST_EXIT] = "exit",       [HOST_LOST_OOM] = "oom",
    [HOST_LOST_MEMORY] = "memory", [HOST_LOST_TIMEOUT] = "timeout", [HOST_LOST_PROTOCOL] = "protocol"};
enum { CAUSES = sizeof causes / sizeof causes[0] };

const char *host_cause_name(uint32_t cause) {
    return cause < CAUSES ? causes[cause] : NULL;
}

enum host_cause host_find_cause(const char *name) {
    for (unsigned cause = HOST_LOST_SIGNAL; cause < CAUSES; cause++)
        if (strcmp(name, causes[cause]) == 0)
            return (enum host_cause)cause;
    return HOST_NOT_LOST;
}

static void put_string(struct buf *to, const char *name, const char *value) {
    buf_printf(to, "\"%s\":", name);
    buf_json_string(to, value, strlen(value));
}

/* Within a name, ~ and / are written ~0 and ~1 (RFC 6901, section 3). */
static void put_name(struct buf *to, const char *name) {
    size_t size = strnlen(name, NAME_MAX_BYTES);
    for (size_t i = 0; i < size; i++) {
        if (name[i] == '~')
            buf_puts(to, "~0");
        else if (name[i] == '/')
            buf_puts(to, "~1");
        else
            buf_putc(to, name[i]);
    }
}

/* In a call by columns: is the member of that name in a column that is a list? */
static bool is_in_list(const struct place *call, const char *name, size_t size) {
    for (unsigned row = 0; row < 32 && call->columns[row].name != NULL; row++)
        if (strlen(call->columns[row].name) == size && memcmp(call->columns[row].name, name, size) == 0)
            return (call->lists >> row & 1) != 0;
    return false;
}

void place_write(struct buf *to, const struct place *at) {
    if (at == NULL)
        return;
    place_write(to, at->up);
    if (to->size > POINTER_MAX || at->columns != NULL)
        return;
    buf_putc(to, '/');
    if (at->name == NULL) {
        buf_u64(to, at->index);
        return;
    }
    put_name(to, at->name);
    if (at->up != NULL && at->up->columns != NULL && is_in_list(at->up, at->name, strlen(at->name)))
        buf_printf(to, "/%zu", at->up->index);
}

void place_write_below(struct buf *to, const struct place *at, const char *pointer) {
    pointer = pointer == NULL ? "" : pointer;
    place_write(to, at);
    if (at == NULL || at->columns == NULL || *pointer != '/') {
        buf_puts(to, pointer);
        return;
    }
    size_t size = 1 + strcspn(pointer + 1, "/");
    buf_append(to, pointer, size);
    if (is_in_list(at, pointer + 1, size - 1))
        buf_printf(to, "/%zu", at->index);
    buf_puts(to, pointer + size);
}

bool faults_full(const struct faults *f) {
    return f->count >= (f->limit > 0 ? f->limit : FAULTS_MAX) || f->errors.size >= ERRORS_MAX_BYTES;
}

void faults_add_pointer(struct faults *f, const char *pointer, const char *detail) {
    if (!faults_full(f)) {
        buf_puts(&f->errors, f->count > 0 ? ",{" : "{");
        put_string(&f->errors, "pointer", pointer);
        buf_putc(&f->errors, ',');
        put_string(&f->errors, "detail", detail);
        buf_putc(&f->errors, '}');
    }
    if (f->count == 0)
        buf_printf(&f->detail, "%s%s%s", pointer, *pointer != '\0' ? ": " : "", detail);
    f->count++;
}

void faults_add(struct faults *f, const struct place *at, const char *format, ...) {
    char detail[DETAIL_MAX];
    va_list args;
    va_start(args, format);
    vsnprintf(detail, sizeof detail, format, args);
    va_end(args);

    struct buf pointer = {0};
    buf_append(&pointer, "", 0);
    place_write(&pointer, at);
    if (!pointer.failed)
        faults_add_pointer(f, pointer.data, detail);
    else
        f->count++;
    buf_deinit(&pointer);
}

void faults_add_no_memory(struct faults *f, const struct place *at) {
    f->code = "memory_limit";
    faults_add(f, at, "there is no memory for it");
}

int faults_finish(struct faults *f, struct fault *fault) {
    if (f->count == 0)
        return 0;
    struct buf *json = &fault->json;
    buf_clear(json);
    buf_putc(json, '{');
    put_string(json, "code", f->code);
    if (f->count > 1)
        buf_printf(&f->detail, " (and %s%zu more)", faults_full(f) ? "at least " : "", f->count - 1);
    buf_puts(json, ",\"detail\":");
    buf_json_string(json, f->detail.data, f->detail.size);
    buf_puts(json, ",\"errors\":[");
    buf_append(json, f->errors.data, f->errors.size);
    buf_puts(json, "]}");
    buf_deinit(&f->errors);
    buf_deinit(&f->detail);
    return -1;
}

int fault_set(struct fault *fault, const char *code, const char *format, ...) {
    char detail[DETAIL_MAX];
    va_list args;
    va_start(args, format);
    vsnprintf(detail, sizeof detail, format, args);
    va_end(args);

    buf_clear(&fault->json);
    buf_putc(&fault->json, '{');
    put_string(&fault->json, "code", code);
    buf_putc(&fault->json, ',');
    put_string(&fault->json, "detail", detail);
    buf_putc(&fault->json, '}');
    return -1;
}

/* It counts as jansson does: lines and columns from 1, columns in characters. */
int fault_set_text(struct fault *fault, const char *code, const char *detail, const char *text, size_t position) {
    size_t line = 1, column = 0;
    for (size_t i = 0; i < position; i++) {
        if (text[i] == '\n') {
            line++;
            column = 0;
        } else if (((unsigned char)text[i] & 0xC0) != 0x80) {
            column++;
        }
    }
    fault_set(fault, code, "%s", detail);
    if (fault->json.size > 0)
        fault->json.size--; /* the closing brace */
    buf_printf(&fault->json, ",\"line\":%zu,\"column\":%zu,\"position\":%zu}", line, column > 0 ? column : 1, position);
    return -1;
}

/* ---- problems ---------------------------------------------------------------------------------------------------- */

static const char code_member[] = "{\"code\":\"";

/* The codes that a call can fail with. The last one stands for any other. The front end has the same titles. */
static const struct {
    const char *code, *title;
    unsigned status;
} problems[] = {{"invalid_params", "Invalid job", 422},
                {"memory_limit", "Job ran out of memory", 507},
                {"worker_crashed", "Worker crashed", 500},
                {"handler_failed", "Job failed", 500}};
enum { PROBLEMS = sizeof problems / sizeof problems[0] };

static size_t find_problem(const char *fault, size_t size) {
    size_t front = sizeof code_member - 1;
    if (fault == NULL || size < front || memcmp(fault, code_member, front) != 0)
        return PROBLEMS - 1;
    for (size_t i = 0; i < PROBLEMS; i++) {
        size_t n = strlen(problems[i].code);
        if (size > front + n && memcmp(fault + front, problems[i].code, n) == 0 && fault[front + n] == '"')
            return i;
    }
    return PROBLEMS - 1;
}

void fault_write_problem(struct buf *to, const struct fault *fault) {
    size_t i = find_problem(fault->json.data, fault->json.size);
    buf_printf(to, "{\"type\":\"/problems/%s\",\"title\":\"%s\",\"status\":%u,", problems[i].code, problems[i].title,
               problems[i].status);
    if (fault->json.size > 2)
        buf_append(to, fault->json.data + 1, fault->json.size - 1);
    else
        buf_printf(to, "\"code\":\"%s\",\"detail\":\"the reason was lost\"}", problems[i].code);
}
