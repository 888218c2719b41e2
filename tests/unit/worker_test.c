/* worker_test.c: a worker process, pool/worker.c: worker_main runs in a forked child, and the test plays the front end
 * at the other end of its socket. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <errno.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "handlers/host/host.h"
#include "pool/scoreboard.h"
#include "pool/wire.h"
#include "pool/worker.h"

enum { SLOT = 1, SLOTS = 2, PROTOCOL_BROKEN = 70, LARGE = 100000 };

static pid_t worker;
static int wire_fd; /* our end of its socket */
static struct scoreboard_slot *board;
static unsigned char *buffer;
static struct wire_writer writer;
static struct wire_reader reader; /* of the datagram whose frames are looked at */
static bool reading;
static struct wire_times times; /* of the last WIRE_DONE */

/* ---- the world --------------------------------------------------------------------------------------------------- */

static void expect_reply(uint64_t ticket, uint8_t kind, struct buf *body);

static int open_worker(void **state) {
    int fds[2];
    struct timeval hang = {.tv_sec = 60};
    (void)state;
    int scoreboard_fd = scoreboard_new(SLOTS);
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds), 0);
    worker = fork();
    if (worker == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        close(fds[0]);
        worker_main(SLOT, fds[1], scoreboard_fd, -1);
    }
    close(fds[1]);
    wire_fd = fds[0];
    setsockopt(wire_fd, SOL_SOCKET, SO_RCVTIMEO, &hang, sizeof hang);
    board = scoreboard_map(scoreboard_fd, SLOT);
    close(scoreboard_fd);
    buffer = malloc(WIRE_MAX_DATAGRAM);
    reading = false;
    if (worker < 0 || board == NULL || buffer == NULL || wire_open_writer(&writer) != 0)
        return -1;
    expect_reply(0, WIRE_READY, NULL);
    return 0;
}

static int close_worker(void **state) {
    (void)state;
    close(wire_fd);
    kill(worker, SIGKILL);
    waitpid(worker, NULL, 0);
    scoreboard_unmap(board);
    if (reading)
        wire_close_reader(&reader);
    wire_close_writer(&writer);
    free(buffer);
    assert_int_equal(blob_held_bytes, 0);
    return 0;
}

/* ---- what the front end says ------------------------------------------------------------------------------------- */

static uint32_t type_of(const char *name) {
    int type = host_find(name);
    assert_true(type >= 0);
    return (uint32_t)type;
}

static struct wire_header head(uint8_t kind, uint64_t ticket, uint32_t type) {
    return (struct wire_header){.kind = kind, .ticket = ticket, .type = type};
}

static void put(struct wire_header h, const void *bytes, size_t size) {
    assert_true(wire_fits(&writer, size, false));
    assert_int_equal(wire_put(&writer, &h, bytes, size, NULL, 0, NULL), 0);
}

static void put_bulk(struct wire_header h, const void *inlined, size_t inline_size, const void *bytes, size_t size) {
    struct slice bulk = slice_all(blob_copy_sealed("worker-test", bytes, size));
    assert_true(wire_fits(&writer, inline_size, true));
    assert_int_equal(wire_put(&writer, &h, inlined, inline_size, NULL, 0, &bulk), 0);
    slice_deinit(&bulk);
}

static void flush(void) {
    assert_int_equal(wire_flush(&writer, wire_fd), 0);
}

/* The front of a WIRE_RUN or WIRE_MERGE without common: a length of 0, padded. */
static const char no_common[8];

static void put_run(struct wire_header h, const char *chunk) {
    char bytes[256] = {0};
    size_t size = strlen(chunk);
    memcpy(bytes + sizeof no_common, chunk, size);
    put(h, bytes, sizeof no_common + size);
}

/* Puts a WIRE_PLAN of a raw body. */
static void put_raw_plan(uint64_t ticket, const char *body) {
    struct wire_header h = head(WIRE_PLAN, ticket, 0);
    h.flags = WIRE_RAW;
    h.count = 64; /* nesting allowed */
    put(h, body, strlen(body));
}

/* Puts a WIRE_PLAN of checked parameters, to be run and merged at once if that costs no more than the budget. */
static void put_plan(uint64_t ticket, const char *body, uint64_t budget_ns) {
    struct submission s = {0};
    struct fault fault = {{0}};
    assert_int_equal(submission_parse(body, strlen(body), 64, 0, &s, &fault), 0);
    struct wire_header h = head(WIRE_PLAN, ticket, s.type);
    h.flags = WIRE_GO;
    h.budget_ns = budget_ns;
    if (s.params.size <= WIRE_MAX_INLINE)
        put(h, s.params.data, s.params.size);
    else
        put_bulk(h, NULL, 0, s.params.data, s.params.size);
    submission_deinit(&s);
}

/* cost_ns: what the worker is told that it takes. */
static void put_sleep_of_cost(uint64_t ticket, uint64_t ms, uint64_t cost_ns) {
    char bytes[sizeof no_common + sizeof ms] = {0};
    struct wire_header h = head(WIRE_RUN, ticket, type_of("sleep"));
    h.budget_ns = cost_ns;
    memcpy(bytes + sizeof no_common, &ms, sizeof ms);
    put(h, bytes, sizeof bytes);
}

static void put_sleep(uint64_t ticket, uint64_t ms) {
    put_sleep_of_cost(ticket, ms, ms * NS_PER_MS);
}

static void cancel(uint64_t ticket) {
    atomic_store(&board->cancelled[ticket % WIRE_MAX_IN_FLIGHT], ticket);
}

/* ---- what the worker says ---------------------------------------------------------------------------------------- */

/* The next reply has this ticket and kind. Copies its payload, without the times of a WIRE_DONE, and a NUL behind
 * it. */
static void expect_reply(uint64_t ticket, uint8_t kind, struct buf *body) {
    struct wire_frame f;
    struct slice bulk = {NULL, 0, 0};
    if (!reading || reader.offset == reader.size)
        assert_int_equal(wire_receive(wire_fd, buffer, &reader), 1);
    reading = true;
    assert_int_equal(wire_next(&reader, &f), 1);
    assert_int_equal(f.header.ticket, ticket);
    assert_int_equal(f.header.kind, kind);
    size_t front = kind == WIRE_DONE ? sizeof(struct wire_times) : 0;
    assert_true(f.header.length >= front);
    if (front > 0)
        memcpy(&times, f.inlined, sizeof times);
    if ((f.header.flags & WIRE_BULK) != 0) {
        assert_int_equal(f.header.length, front);
        assert_int_equal(wire_take_bulk(&reader, &f, &bulk), 0);
    }
    if (body != NULL) {
        struct slice payload = wire_payload(&f, &bulk, front);
        const unsigned char *bytes = slice_map(&payload);
        buf_append(body, bytes, payload.size);
        buf_append(body, "", 1);
        slice_unmap(&payload, bytes);
        slice_deinit(&payload);
    }
    slice_deinit(&bulk);
}

static void expect_text(uint64_t ticket, uint8_t kind, const char *text) {
    struct buf body = {0};
    expect_reply(ticket, kind, &body);
    assert_string_equal(body.data, text);
    buf_deinit(&body);
}

static void expect_exit(int exit_status) {
    int status;
    pid_t pid = 0;
    for (int ms = 0; ms < 60000 && pid == 0; ms++) {
        usleep(1000);
        pid = waitpid(worker, &status, WNOHANG);
    }
    assert_int_equal(pid, worker);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), exit_status);
}

/* The frames that were put break the protocol: the worker ends. */
static void expect_broken(void) {
    flush();
    expect_exit(PROTOCOL_BROKEN);
}

/* ---- tasks ------------------------------------------------------------------------------------------------------- */

static void a_cheap_job_is_planned_run_and_merged_at_once(void **state) {
    (void)state;
    put_plan(7, "{\"type\":\"echo\",\"params\":{\"value\":[1,2]}}", UINT64_MAX);
    flush();
    expect_text(7, WIRE_DONE, "{\"value\":[1,2]}");
    assert_int_equal(atomic_load(&board->current), 0);
}

static void expect_plan(uint64_t ticket) {
    struct buf plan = {0};
    flush();
    expect_reply(ticket, WIRE_PLANNED, &plan);
    assert_true(plan.size > sizeof(struct wire_plan));
    buf_deinit(&plan);
}

static void a_job_beyond_the_budget_is_planned_only(void **state) {
    (void)state;
    put_plan(7, "{\"type\":\"echo\",\"params\":{\"value\":[1,2]}}", 0);
    expect_plan(7);
}

static void a_body_is_parsed_and_planned(void **state) {
    (void)state;
    put_raw_plan(7, "{\"type\":\"echo\",\"params\":{\"value\":[1,2]}}");
    expect_plan(7);
}

static void a_job_for_an_isolated_worker_is_parsed_only(void **state) {
    (void)state;
    put_raw_plan(7, "{\"type\":\"echo\",\"params\":{\"value\":1},\"options\":{\"isolation\":\"fresh\"}}");
    flush();
    expect_reply(7, WIRE_PARSED, NULL);
}

static void a_body_that_is_wrong_fails_with_its_fault(void **state) {
    (void)state;
    struct buf fault = {0};
    put_raw_plan(7, "{\"type\":");
    flush();
    expect_reply(7, WIRE_FAILED, &fault);
    assert_non_null(strstr(fault.data, "invalid_json"));
    buf_deinit(&fault);
}

static void a_chunk_becomes_a_part(void **state) {
    (void)state;
    put_run(head(WIRE_RUN, 1, type_of("echo")), "\"chunk\"");
    flush();
    expect_text(1, WIRE_DONE, "\"chunk\"");
}

static void a_chunk_that_is_also_merged_becomes_a_result(void **state) {
    (void)state;
    struct wire_header h = head(WIRE_RUN, 1, type_of("echo"));
    h.flags = WIRE_GO;
    put_run(h, "\"chunk\"");
    flush();
    expect_text(1, WIRE_DONE, "{\"value\":\"chunk\"}");
}

/* ---- batches ----------------------------------------------------------------------------------------------------- */

enum how { HOW_OK, HOW_FAIL, HOW_LOST, HOW_REFUSE, HOW_TWO, HOW_GATHER, HOW_LEAVE };

static int plan_batcher(struct call *c, const struct params *p) {
    size_t size;
    const char *value = param_json(p, "value", &size);
    char chunk[64] = {(char)param_choice(p, "how")};
    assert_true(size < sizeof chunk);
    memcpy(chunk + 1, value, size);
    if (chunk[0] == HOW_REFUSE)
        return call_fail(c, CALL_INVALID, "/value", "it is refused");
    for (int i = chunk[0] == HOW_TWO; i > 0; i--)
        plan_chunk(c, chunk, 1 + size, 1000);
    return plan_chunk(c, chunk, 1 + size, 1000);
}

static int run_batcher(struct call *c, struct bytes common, struct bytes chunk) {
    const char *bytes = chunk.data;
    (void)common;
    if (call_cancelled(c))
        return -1;
    if (bytes[0] == HOW_FAIL)
        return call_fail(c, CALL_FAILED, NULL, "it fails");
    if (bytes[0] == HOW_LOST)
        return call_lost(c, &(struct call_loss){.cause = "exit", .exit_code = 3});
    return part_write(c, bytes + 1, chunk.size - 1);
}

static int merge_batcher(struct call *c, struct bytes common, const struct bytes *parts, size_t count) {
    (void)common, (void)count;
    json_verbatim(c, parts[0].data, parts[0].size);
    return 0;
}

/* Takes four calls before it finishes the first. GATHER: it waits until there are two; LEAVE: it returns with the calls
 * that it has taken. */
static void run_batch_batcher(struct batch *b) {
    struct {
        struct call *call;
        struct bytes common, chunk;
    } taken[4];
    for (;;) {
        unsigned n = 0, wanted = 1;
        while (n < 4) {
            taken[n].call = batch_next(b, &taken[n].common, &taken[n].chunk);
            if (taken[n].call == NULL && n >= wanted)
                break;
            if (taken[n].call == NULL && n == 0)
                return;
            if (taken[n].call == NULL) {
                usleep(1000);
                continue;
            }
            char how = ((const char *)taken[n++].chunk.data)[0];
            if (how == HOW_GATHER)
                wanted = n + 1;
            if (how == HOW_LEAVE)
                return;
        }
        for (unsigned i = 0; i < n; i++)
            batch_done(b, run_batcher(taken[i].call, taken[i].common, taken[i].chunk));
    }
}

static const char *const batcher_hows[] = {"ok", "fail", "lost", "refuse", "two", "gather", "leave", NULL};
static const struct param_spec batcher_params[] = {
    {.name = "value", .kind = PARAM_JSON, .flags = PARAM_REQUIRED, .help = "the result"},
    {.name = "how", .kind = PARAM_ENUM, .choices = batcher_hows, .fallback = "\"ok\"", .help = "what happens"},
    {.name = NULL}};
static const struct handler batcher = {.abi = HANDLER_ABI,
                                       .name = "batcher",
                                       .summary = "For tests: takes its calls in batches",
                                       .params = batcher_params,
                                       .plan = plan_batcher,
                                       .run = run_batcher,
                                       .merge = merge_batcher,
                                       .run_batch = run_batch_batcher};

static void put_batched(uint64_t ticket, const char *how) {
    char body[128];
    snprintf(body, sizeof body, "{\"type\":\"batcher\",\"params\":{\"value\":%llu,\"how\":\"%s\"}}",
             (unsigned long long)ticket, how);
    put_plan(ticket, body, UINT64_MAX);
}

static void expect_own_value(uint64_t ticket) {
    char text[32];
    snprintf(text, sizeof text, "%llu", (unsigned long long)ticket);
    expect_text(ticket, WIRE_DONE, text);
}

static void tasks_of_a_batch_are_answered_in_order_however_they_end(void **state) {
    (void)state;
    put_batched(1, "ok");
    put_batched(2, "fail");
    put_batched(3, "refuse");
    put_batched(4, "ok");
    put_batched(5, "two");
    put_batched(6, "lost");
    put_plan(7, "{\"type\":\"echo\",\"params\":{\"value\":7}}", UINT64_MAX);
    put_batched(8, "ok");
    put_batched(9, "refuse");
    put_raw_plan(10, "{\"type\":\"batcher\",\"params\":{\"value\":10}}");
    put_batched(11, "refuse");
    put_batched(12, "ok");
    flush();
    expect_own_value(1);
    expect_reply(2, WIRE_FAILED, NULL);
    expect_reply(3, WIRE_FAILED, NULL);
    expect_own_value(4);
    expect_reply(5, WIRE_PLANNED, NULL);
    expect_reply(6, WIRE_LOST, NULL);
    expect_text(7, WIRE_DONE, "{\"value\":7}");
    expect_own_value(8);
    expect_reply(9, WIRE_FAILED, NULL);
    expect_reply(10, WIRE_PLANNED, NULL);
    expect_reply(11, WIRE_FAILED, NULL);
    expect_own_value(12);
    assert_int_equal(atomic_load(&board->current), 0);
}

/* A chunk of a batch comes in a WIRE_RUN, with GO (merged, too) or without. */
static void chunks_are_run_in_batches_like_jobs(void **state) {
    static const char chunk[] = "\0\"part\"";
    (void)state;
    for (uint64_t ticket = 1; ticket <= 6; ticket++) {
        char bytes[sizeof no_common + sizeof chunk - 1] = {0};
        struct wire_header h = head(WIRE_RUN, ticket, type_of("batcher"));
        h.flags = ticket % 2 == 0 ? WIRE_GO : 0;
        h.budget_ns = 1000;
        memcpy(bytes + sizeof no_common, chunk, sizeof chunk - 1);
        put(h, bytes, sizeof bytes);
    }
    flush();
    for (uint64_t ticket = 1; ticket <= 6; ticket++)
        expect_text(ticket, WIRE_DONE, "\"part\"");
}

static void a_batch_takes_more_tasks_than_can_be_under_way(void **state) {
    (void)state;
    uint64_t last = 3 * BATCH_MAX;
    for (uint64_t ticket = 1; ticket <= last; ticket++) {
        put_batched(ticket, "ok");
        if (ticket % WIRE_MAX_FRAMES == 0)
            flush();
    }
    flush();
    for (uint64_t ticket = 1; ticket <= last; ticket++)
        expect_own_value(ticket);
}

static void a_task_of_a_batch_that_is_cancelled_is_skipped(void **state) {
    (void)state;
    for (uint64_t ticket = 1; ticket <= 6; ticket++)
        put_batched(ticket, "ok");
    cancel(1);
    cancel(4);
    cancel(6);
    flush();
    for (uint64_t ticket = 1; ticket <= 6; ticket++)
        if (ticket == 1 || ticket == 4 || ticket == 6)
            expect_reply(ticket, WIRE_CANCELLED, NULL);
        else
            expect_own_value(ticket);
}

/* The first call is not done before there is a second one, which comes in another datagram. */
static void the_next_datagram_is_taken_while_a_batch_is_under_way(void **state) {
    (void)state;
    put_batched(1, "gather");
    flush();
    while (atomic_load(&board->current) != 1)
        usleep(1000);
    put_batched(2, "ok");
    put_plan(3, "{\"type\":\"echo\",\"params\":{\"value\":3}}", UINT64_MAX);
    flush();
    expect_own_value(1);
    expect_own_value(2);
    expect_text(3, WIRE_DONE, "{\"value\":3}");
}

static void calls_that_a_batch_leaves_undone_fail(void **state) {
    (void)state;
    put_batched(1, "ok");
    put_batched(2, "leave");
    put_batched(3, "ok");
    flush();
    expect_reply(1, WIRE_FAILED, NULL);
    expect_reply(2, WIRE_FAILED, NULL);
    expect_own_value(3);
}

/* ---- logs, losses and deadlines ---------------------------------------------------------------------------------- */

static void an_attempt_can_be_lost_and_the_worker_goes_on(void **state) {
    (void)state;
    struct buf body = {0};
    struct wire_loss loss;
    put_plan(1, "{\"type\":\"report\",\"params\":{\"lost\":\"exit\"}}", UINT64_MAX);
    put_plan(2, "{\"type\":\"echo\",\"params\":{\"value\":7}}", UINT64_MAX);
    flush();
    expect_reply(1, WIRE_LOST, &body);
    assert_true(body.size > sizeof loss);
    memcpy(&loss, body.data, sizeof loss);
    assert_int_equal(loss.cause, HOST_LOST_EXIT);
    assert_int_equal(loss.signal, 0);
    assert_int_equal(loss.exit_code, 3);
    assert_int_equal(loss.max_rss_bytes, 1 << 20);
    assert_int_equal(loss.cpu_ms, 12);
    assert_string_equal(body.data + sizeof loss, "last words of attempt 0\n");
    expect_text(2, WIRE_DONE, "{\"value\":7}");
    buf_deinit(&body);
}

static void a_loss_in_a_map_says_at_which_item(void **state) {
    (void)state;
    struct submission s = {0};
    struct fault fault = {0};
    struct buf body = {0};
    struct wire_plan plan;
    struct wire_chunk chunk;
    struct wire_loss loss;
    static const char map[] =
        "{\"type\":\"report\",\"items\":[{},{},{\"lost\":\"signal\"},{}],\"options\":{\"chunks\":1}}";
    assert_int_equal(submission_parse(map, sizeof map - 1, 64, 0, &s, &fault), 0);
    struct wire_header h = head(WIRE_PLAN, 1, s.type);
    h.flags = WIRE_ITEMS;
    h.count = 1;
    put(h, s.params.data, s.params.size);
    flush();
    expect_reply(1, WIRE_PLANNED, &body);
    memcpy(&plan, body.data, sizeof plan);
    memcpy(&chunk, body.data + sizeof plan, sizeof chunk);
    assert_int_equal(plan.chunks, 1);
    struct buf run = {0};
    buf_append(&run, no_common, sizeof no_common);
    buf_append(&run, body.data + sizeof plan + sizeof chunk + WIRE_PAD(plan.common_size) + chunk.offset, chunk.size);
    h = head(WIRE_RUN, 2, s.type);
    h.flags = WIRE_ITEMS;
    put(h, run.data, run.size);
    flush();
    buf_clear(&body);
    expect_reply(2, WIRE_LOST, &body);
    memcpy(&loss, body.data, sizeof loss);
    assert_int_equal(loss.cause, HOST_LOST_SIGNAL);
    assert_int_equal(loss.steps / HOST_ITEM_STEPS, 2);
    buf_deinit(&run);
    buf_deinit(&body);
    submission_deinit(&s);
}

/* Receives WIRE_LOG frames of that ticket until there are so many bytes. */
static void expect_log(uint64_t ticket, size_t bytes, struct buf *text) {
    while (text->size < bytes) {
        struct buf piece = {0};
        expect_reply(ticket, WIRE_LOG, &piece);
        assert_true(piece.size - 1 <= WIRE_MAX_LOG);
        buf_append(text, piece.data, piece.size - 1);
        buf_deinit(&piece);
    }
    assert_int_equal(text->size, bytes);
}

static void what_is_printed_comes_before_the_reply(void **state) {
    (void)state;
    struct buf text = {0};
    put_plan(1, "{\"type\":\"report\",\"params\":{\"print\":\"one\\ntwo\\n\",\"lines\":2}}", UINT64_MAX);
    flush();
    expect_log(1, 8 + 14, &text);
    assert_string_equal(text.data, "one\ntwo\nline 0\nline 1\n");
    expect_reply(1, WIRE_DONE, NULL);
    buf_deinit(&text);
}

static void a_long_text_is_cut_before_a_character(void **state) {
    (void)state;
    struct buf body = {0}, piece = {0};
    buf_puts(&body, "{\"type\":\"report\",\"params\":{\"print\":\"x");
    for (int i = 0; i < WIRE_MAX_LOG; i += 2)
        buf_puts(&body, "\xC3\xA9");
    buf_puts(&body, "\"}}");
    put_plan(1, body.data, UINT64_MAX);
    flush();
    expect_reply(1, WIRE_LOG, &piece);
    assert_int_equal(piece.size - 1, WIRE_MAX_LOG - 1); /* "x", and whole characters of two bytes */
    buf_clear(&piece);
    expect_reply(1, WIRE_LOG, &piece);
    assert_string_equal(piece.data, "\xC3\xA9");
    expect_reply(1, WIRE_DONE, NULL);
    buf_deinit(&piece);
    buf_deinit(&body);
}

/* They share the CPU clock with replies that wait in another datagram. */
static void tasks_that_print_are_answered_in_order(void **state) {
    (void)state;
    for (uint64_t ticket = 1; ticket <= 9; ticket += 2) {
        put_plan(ticket, "{\"type\":\"report\",\"params\":{\"print\":\"a\\n\",\"cost_us\":0}}", UINT64_MAX);
        put_plan(ticket + 1, "{\"type\":\"echo\",\"params\":{\"value\":0}}", UINT64_MAX);
    }
    flush();
    unsigned logs = 0;
    for (uint64_t ticket = 1; ticket <= 10;) {
        struct wire_frame f;
        if (!reading || reader.offset == reader.size)
            assert_int_equal(wire_receive(wire_fd, buffer, &reader), 1);
        reading = true;
        assert_int_equal(wire_next(&reader, &f), 1);
        if (f.header.kind == WIRE_LOG) {
            assert_int_equal(f.header.ticket, 1 + 2 * logs);
            assert_true(f.header.ticket >= ticket); /* its reply has not come */
            logs++;
            continue;
        }
        assert_int_equal(f.header.kind, WIRE_DONE);
        assert_int_equal(f.header.ticket, ticket);
        memcpy(&times, f.inlined, sizeof times);
        assert_true(times.cpu_ns < 60 * (uint64_t)NS_PER_S);
        ticket++;
    }
    assert_int_equal(logs, 5);
}

static void a_handler_sees_the_deadline(void **state) {
    (void)state;
    struct submission s = {0};
    struct fault fault = {0};
    struct buf body = {0};
    static const char job[] = "{\"type\":\"report\",\"params\":{}}";
    assert_int_equal(submission_parse(job, sizeof job - 1, 64, 0, &s, &fault), 0);
    for (unsigned i = 0; i < 3; i++) {
        static const int64_t deadlines[] = {1764230400250, 0, INT64_MAX}; /* what cannot be a time is not known */
        struct wire_header h = head(WIRE_PLAN, i + 1, s.type);
        h.flags = WIRE_GO;
        h.budget_ns = UINT64_MAX;
        h.deadline_ms = deadlines[i];
        put(h, s.params.data, s.params.size);
        flush();
        buf_clear(&body);
        expect_reply(i + 1, WIRE_DONE, &body);
        assert_non_null(strstr(body.data, i == 0 ? "\"deadline_ms\":1764230400250}" : "\"deadline_ms\":0}"));
    }
    buf_deinit(&body);
    submission_deinit(&s);
}

static void put_merge(uint64_t ticket, uint32_t parts) {
    struct wire_header h = head(WIRE_MERGE, ticket, type_of("echo"));
    h.count = parts;
    put(h, no_common, sizeof no_common);
}

static void a_merge_is_done_when_its_last_part_is_there(void **state) {
    (void)state;
    put_merge(5, 3);
    put(head(WIRE_PART, 5, 0), "1", 1);
    flush();
    put(head(WIRE_PART, 5, 0), "2", 1);
    put(head(WIRE_PART, 5, 0), "3", 1);
    put(head(WIRE_PING, 6, 0), NULL, 0);
    flush();
    expect_text(5, WIRE_DONE, "{\"value\":1}"); /* echo takes the first part, whatever the others are */
    expect_reply(6, WIRE_PONG, NULL);
}

static void tasks_of_one_datagram_are_answered_in_order(void **state) {
    (void)state;
    for (uint64_t ticket = 1; ticket <= 9; ticket += 2) {
        put_plan(ticket, "{\"type\":\"echo\",\"params\":{\"value\":0}}", UINT64_MAX);
        put(head(WIRE_PING, ticket + 1, 0), NULL, 0);
    }
    flush();
    for (uint64_t ticket = 1; ticket <= 9; ticket += 2) {
        expect_text(ticket, WIRE_DONE, "{\"value\":0}");
        expect_reply(ticket + 1, WIRE_PONG, NULL);
    }
}

/* ---- replies that leave ------------------------------------------------------------------------------------------ */

static void await_current(uint64_t ticket) {
    for (int64_t end_ns = clock_monotonic_ns() + 60 * NS_PER_S; atomic_load(&board->current) != ticket;) {
        assert_true(clock_monotonic_ns() < end_ns);
        usleep(1000);
    }
}

/* In this test a reply that does not leave makes expect_reply fail after a minute. */
static void a_reply_leaves_before_a_slow_task_begins(void **state) {
    (void)state;
    put_run(head(WIRE_RUN, 1, type_of("echo")), "1");
    put_sleep(2, 86400000);
    flush();
    expect_text(1, WIRE_DONE, "1");
    cancel(2);
    expect_reply(2, WIRE_CANCELLED, NULL);
}

static void a_reply_leaves_before_a_plan_goes_on_to_a_slow_run(void **state) {
    (void)state;
    put_plan(1, "{\"type\":\"echo\",\"params\":{\"value\":1}}", UINT64_MAX);
    put_plan(2, "{\"type\":\"sleep\",\"params\":{\"ms\":86400000}}", UINT64_MAX);
    flush();
    expect_text(1, WIRE_DONE, "{\"value\":1}");
    cancel(2);
    expect_reply(2, WIRE_CANCELLED, NULL);
}

static void the_scoreboard_says_what_is_done_while_a_reply_is_held_back(void **state) {
    (void)state;
    put_run(head(WIRE_RUN, 1, type_of("echo")), "1");
    put(head(WIRE_PING, 2, 0), NULL, 0);
    put_sleep_of_cost(3, 86400000, 0);
    flush();
    await_current(3);
    assert_int_equal(atomic_load(&board->passed), 2);
    cancel(3);
    expect_text(1, WIRE_DONE, "1");
    expect_reply(2, WIRE_PONG, NULL);
    expect_reply(3, WIRE_CANCELLED, NULL);
    assert_int_equal(atomic_load(&board->passed), 3);
}

/* A worker that is kept from running for a millisecond sends them apart, so there are several attempts. */
static void tiny_tasks_are_answered_in_one_datagram(void **state) {
    (void)state;
    uint64_t ticket = 0;
    bool together = false;
    for (int attempt = 0; attempt < 100 && !together; attempt++) {
        for (int i = 0; i < WIRE_MAX_FRAMES; i++)
            put_plan(++ticket, "{\"type\":\"echo\",\"params\":{\"value\":0}}", UINT64_MAX);
        flush();
        expect_reply(ticket - WIRE_MAX_FRAMES + 1, WIRE_DONE, NULL);
        size_t replies = 0;
        struct wire_reader r = reader;
        struct wire_frame f;
        while (wire_next(&r, &f) == 1)
            replies++;
        together = replies == WIRE_MAX_FRAMES - 1;
        for (int i = 1; i < WIRE_MAX_FRAMES; i++)
            expect_reply(ticket - WIRE_MAX_FRAMES + 1 + (uint64_t)i, WIRE_DONE, NULL);
    }
    assert_true(together);
}

/* ---- bulk -------------------------------------------------------------------------------------------------------- */

/* What the worker has used; of all its threads. */
static uint64_t cpu_of_worker(void) {
    clockid_t clock;
    struct timespec t;
    assert_int_equal(clock_getcpuclockid(worker, &clock), 0);
    assert_int_equal(clock_gettime(clock, &t), 0);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static void put_burn(uint64_t ticket, uint64_t ns) {
    char bytes[sizeof no_common + sizeof ns] = {0};
    struct wire_header h = head(WIRE_RUN, ticket, type_of("burn"));
    memcpy(bytes + sizeof no_common, &ns, sizeof ns);
    put(h, bytes, sizeof bytes);
}

/* The tasks share a reading of the CPU's clock. In sum they must say what they have used, and no more. Some have no
 * time in their reply, and the datagram is sent in between (1 ms). */
static void the_cpu_times_of_a_datagram_are_right_in_sum(void **state) {
    (void)state;
    enum { TASKS = 12, CANCELLED = 5 };
    uint64_t burnt_ns = 0, said_ns = 0, before_ns = cpu_of_worker();
    cancel(CANCELLED);
    for (uint64_t ticket = 1; ticket <= TASKS; ticket++)
        put_burn(ticket, ticket % 2 == 0 ? 400000 : 50000);
    flush();
    for (uint64_t ticket = 1; ticket <= TASKS; ticket++) {
        struct buf body = {0};
        uint64_t ns;
        expect_reply(ticket, ticket == CANCELLED ? WIRE_CANCELLED : WIRE_DONE, &body);
        if (ticket != CANCELLED) {
            assert_int_equal(body.size, sizeof ns + 1);
            memcpy(&ns, body.data, sizeof ns);
            burnt_ns += ns;
            said_ns += times.cpu_ns;
        }
        buf_deinit(&body);
    }
    assert_true(burnt_ns > 0);
    assert_in_range(said_ns, burnt_ns - TASKS, cpu_of_worker() - before_ns); /* each is rounded down */
}

static void large_chunks_and_parts_travel_as_memfds(void **state) {
    (void)state;
    struct buf part = {0}, result = {0};
    char *chunk = malloc(LARGE);
    memset(chunk, 'x', LARGE);
    chunk[0] = chunk[LARGE - 1] = '"';
    put_bulk(head(WIRE_RUN, 1, type_of("echo")), no_common, sizeof no_common, chunk, LARGE);
    flush();
    expect_reply(1, WIRE_DONE, &part);
    assert_int_equal(part.size, LARGE + 1);
    assert_memory_equal(part.data, chunk, LARGE);
    put_merge(2, 2);
    flush();
    put_bulk(head(WIRE_PART, 2, 0), NULL, 0, part.data, LARGE);
    flush();
    put(head(WIRE_PART, 2, 0), "2", 1); /* a small one is inline beside it */
    flush();
    expect_reply(2, WIRE_DONE, &result);
    assert_true(result.size > LARGE);
    assert_memory_equal(result.data, "{\"value\":\"xx", 11);
    buf_deinit(&part);
    buf_deinit(&result);
    free(chunk);
}

static void put_text_of(struct buf *body, size_t size) {
    buf_puts(body, "{\"type\":\"echo\",\"params\":{\"value\":\"");
    while (body->size < size)
        buf_puts(body, "xxxxxxxxxx");
    buf_append(body, "\"}}", 4); /* the NUL, too */
    body->size--;
}

static void large_parameters_are_planned_and_run(void **state) {
    (void)state;
    struct buf body = {0}, result = {0};
    put_text_of(&body, LARGE);
    put_plan(1, body.data, UINT64_MAX);
    flush();
    expect_reply(1, WIRE_DONE, &result);
    assert_true(result.size > LARGE - 100);
    buf_deinit(&body);
    buf_deinit(&result);
}

static void a_large_body_is_planned(void **state) {
    (void)state;
    struct wire_header h = head(WIRE_PLAN, 1, 0);
    struct buf body = {0};
    put_text_of(&body, LARGE);
    h.flags = WIRE_RAW;
    h.count = 64;
    put_bulk(h, NULL, 0, body.data, body.size);
    expect_plan(1);
    buf_deinit(&body);
}

/* ---- cancelling -------------------------------------------------------------------------------------------------- */

static void a_task_that_is_cancelled_before_it_begins_is_skipped(void **state) {
    (void)state;
    cancel(2);
    put_run(head(WIRE_RUN, 1, type_of("echo")), "1");
    put_sleep(2, 86400000);
    put_run(head(WIRE_RUN, 3, type_of("echo")), "3");
    flush();
    expect_text(1, WIRE_DONE, "1");
    expect_reply(2, WIRE_CANCELLED, NULL);
    expect_text(3, WIRE_DONE, "3");
}

static void a_task_that_is_cancelled_while_it_runs_stops(void **state) {
    (void)state;
    put_sleep(1, 86400000);
    flush();
    await_current(1);
    while (atomic_load(&board->total) != 86400000) /* it shows its progress, too */
        usleep(1000);
    cancel(1);
    expect_reply(1, WIRE_CANCELLED, NULL);
    assert_int_equal(atomic_load(&board->current), 0);
}

static void a_merge_that_is_cancelled_drops_its_parts_and_the_next_works(void **state) {
    (void)state;
    cancel(1);
    put_merge(1, 1);
    put(head(WIRE_PART, 1, 0), "1", 1);
    put_merge(2, 1);
    put(head(WIRE_PART, 2, 0), "2", 1);
    flush();
    expect_reply(1, WIRE_CANCELLED, NULL);
    expect_text(2, WIRE_DONE, "{\"value\":2}");
}

static void sigterm_ends_no_task_that_is_not_cancelled(void **state) {
    (void)state;
    put_sleep(1, 50);
    flush();
    await_current(1);
    assert_int_equal(kill(worker, SIGTERM), 0);
    expect_reply(1, WIRE_DONE, NULL);
    assert_int_equal(kill(worker, SIGTERM), 0);
    put(head(WIRE_PING, 2, 0), NULL, 0);
    flush();
    expect_reply(2, WIRE_PONG, NULL);
}

/* ---- the end ----------------------------------------------------------------------------------------------------- */

static void it_exits_on_wire_exit_after_the_tasks_before_it(void **state) {
    (void)state;
    put_run(head(WIRE_RUN, 1, type_of("echo")), "1");
    put(head(WIRE_EXIT, 0, 0), NULL, 0);
    put_run(head(WIRE_RUN, 2, type_of("echo")), "2");
    flush();
    expect_text(1, WIRE_DONE, "1");
    expect_exit(0);
    assert_int_equal(wire_receive(wire_fd, buffer, &reader), 0);
}

static void it_exits_when_the_front_end_is_gone(void **state) {
    (void)state;
    shutdown(wire_fd, SHUT_RDWR);
    expect_exit(0);
}

static void a_handler_that_exits_takes_the_process_along(void **state) {
    (void)state;
    put_plan(1, "{\"type\":\"crash\",\"params\":{\"how\":\"exit\"}}", UINT64_MAX);
    flush();
    expect_exit(3);
}

/* ---- what breaks the protocol ends it ---------------------------------------------------------------------------- */

static void bytes_that_are_no_frame_end_it(void **state) {
    (void)state;
    assert_int_equal(send(wire_fd, "nonsense", 8, 0), 8);
    expect_exit(PROTOCOL_BROKEN);
}

static void a_reply_instead_of_a_request_ends_it(void **state) {
    (void)state;
    put(head(WIRE_DONE, 1, 0), NULL, 0);
    expect_broken();
}

static void a_part_without_a_merge_ends_it(void **state) {
    (void)state;
    put(head(WIRE_PART, 1, 0), "1", 1);
    expect_broken();
}

static void a_part_of_another_merge_ends_it(void **state) {
    (void)state;
    put_merge(1, 2);
    put(head(WIRE_PART, 2, 0), "1", 1);
    expect_broken();
}

static void a_merge_of_nothing_ends_it(void **state) {
    (void)state;
    put_merge(1, 0);
    expect_broken();
}

static void a_merge_of_too_many_parts_ends_it(void **state) {
    (void)state;
    put_merge(1, HANDLER_MAX_CHUNKS + 1);
    expect_broken();
}

static void a_merge_within_a_merge_ends_it(void **state) {
    (void)state;
    put_merge(1, 1);
    put_merge(2, 1);
    expect_broken();
}

static void a_chunk_without_its_front_ends_it(void **state) {
    (void)state;
    put(head(WIRE_RUN, 1, type_of("echo")), "1", 1);
    expect_broken();
}

static void a_front_that_is_longer_than_the_frame_ends_it(void **state) {
    (void)state;
    const uint32_t front[2] = {4096, 0};
    put(head(WIRE_RUN, 1, type_of("echo")), front, sizeof front);
    expect_broken();
}

static void a_memfd_that_is_not_sealed_ends_it(void **state) {
    (void)state;
    int fd = memfd_new("worker-test");
    assert_int_equal(memfd_write(fd, "1234", 4), 0);
    struct slice bulk = slice_all(blob_adopt(fd, 4));
    struct wire_header h = head(WIRE_RUN, 1, type_of("echo"));
    assert_int_equal(wire_put(&writer, &h, no_common, sizeof no_common, NULL, 0, &bulk), 0);
    slice_deinit(&bulk);
    expect_broken();
}

static void a_type_that_does_not_exist_fails_its_task_only(void **state) {
    (void)state;
    put_run(head(WIRE_RUN, 1, 9999), "1");
    put_run(head(WIRE_RUN, 2, type_of("echo")), "2");
    flush();
    expect_reply(1, WIRE_FAILED, NULL);
    expect_text(2, WIRE_DONE, "2");
}

static int init(void **state) {
    (void)state;
    host_init(true);
    struct buf error = {0};
    assert_int_equal(host_add(&(struct host_type){.handler = &batcher, .source = "test"}, &error), 0);
    return 0;
}

#define WORKER_TEST(f) cmocka_unit_test_setup_teardown(f, open_worker, close_worker)

int main(int argc, char **argv) {
    setproctitle_init(argc, argv, environ);
    const struct CMUnitTest tests[] = {
        WORKER_TEST(a_cheap_job_is_planned_run_and_merged_at_once),
        WORKER_TEST(a_job_beyond_the_budget_is_planned_only),
        WORKER_TEST(a_body_is_parsed_and_planned),
        WORKER_TEST(a_job_for_an_isolated_worker_is_parsed_only),
        WORKER_TEST(a_body_that_is_wrong_fails_with_its_fault),
        WORKER_TEST(a_chunk_becomes_a_part),
        WORKER_TEST(a_chunk_that_is_also_merged_becomes_a_result),
        WORKER_TEST(a_merge_is_done_when_its_last_part_is_there),
        WORKER_TEST(tasks_of_one_datagram_are_answered_in_order),
        WORKER_TEST(a_reply_leaves_before_a_slow_task_begins),
        WORKER_TEST(a_reply_leaves_before_a_plan_goes_on_to_a_slow_run),
        WORKER_TEST(the_scoreboard_says_what_is_done_while_a_reply_is_held_back),
        WORKER_TEST(tiny_tasks_are_answered_in_one_datagram),
        WORKER_TEST(the_cpu_times_of_a_datagram_are_right_in_sum),
        WORKER_TEST(tasks_of_a_batch_are_answered_in_order_however_they_end),
        WORKER_TEST(chunks_are_run_in_batches_like_jobs),
        WORKER_TEST(a_batch_takes_more_tasks_than_can_be_under_way),
        WORKER_TEST(a_task_of_a_batch_that_is_cancelled_is_skipped),
        WORKER_TEST(the_next_datagram_is_taken_while_a_batch_is_under_way),
        WORKER_TEST(calls_that_a_batch_leaves_undone_fail),
        WORKER_TEST(an_attempt_can_be_lost_and_the_worker_goes_on),
        WORKER_TEST(a_loss_in_a_map_says_at_which_item),
        WORKER_TEST(what_is_printed_comes_before_the_reply),
        WORKER_TEST(a_long_text_is_cut_before_a_character),
        WORKER_TEST(tasks_that_print_are_answered_in_order),
        WORKER_TEST(a_handler_sees_the_deadline),
        WORKER_TEST(large_chunks_and_parts_travel_as_memfds),
        WORKER_TEST(large_parameters_are_planned_and_run),
        WORKER_TEST(a_large_body_is_planned),
        WORKER_TEST(a_task_that_is_cancelled_before_it_begins_is_skipped),
        WORKER_TEST(a_task_that_is_cancelled_while_it_runs_stops),
        WORKER_TEST(a_merge_that_is_cancelled_drops_its_parts_and_the_next_works),
        WORKER_TEST(sigterm_ends_no_task_that_is_not_cancelled),
        WORKER_TEST(it_exits_on_wire_exit_after_the_tasks_before_it),
        WORKER_TEST(it_exits_when_the_front_end_is_gone),
        WORKER_TEST(a_handler_that_exits_takes_the_process_along),
        WORKER_TEST(bytes_that_are_no_frame_end_it),
        WORKER_TEST(a_reply_instead_of_a_request_ends_it),
        WORKER_TEST(a_part_without_a_merge_ends_it),
        WORKER_TEST(a_part_of_another_merge_ends_it),
        WORKER_TEST(a_merge_of_nothing_ends_it),
        WORKER_TEST(a_merge_of_too_many_parts_ends_it),
        WORKER_TEST(a_merge_within_a_merge_ends_it),
        WORKER_TEST(a_chunk_without_its_front_ends_it),
        WORKER_TEST(a_front_that_is_longer_than_the_frame_ends_it),
        WORKER_TEST(a_memfd_that_is_not_sealed_ends_it),
        WORKER_TEST(a_type_that_does_not_exist_fails_its_task_only),
    };
    return cmocka_run_group_tests(tests, init, NULL);
}
