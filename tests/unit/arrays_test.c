/* arrays_test.c: the job type "array" through plan, run and merge, with attachments made by hand: in place, with a journal
 * that a lost worker has left in each of its states, and to a second array. tests/clients/test_arrays.py compares all
 * dtypes and ops with numpy. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <math.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/memfd.h"
#include "handlers/npy.h"
#include "tests/unit/job.h"

enum { JOURNAL_BLOCK = 64 * 1024, JOURNAL_HEAD = 64 }; /* as in array_scale.c: the mark, and then the block */

/* A job under way: the data, and what its plan has made. */
struct world {
    struct host_attachment list[3];
    struct host_attachments attachments;
    struct host_output output;
    struct host_hooks hooks;
    struct host_plan plan;
    struct buf parts[64];
    struct fault fault;
    size_t type;
    struct npy header;
    unsigned looks, cancel_at; /* call_cancelled is true from that look on; 0: never */
};

static bool is_cancelled(void *arg) {
    struct world *w = arg;
    w->looks++;
    return w->cancel_at > 0 && w->looks >= w->cancel_at;
}

/* A memfd with a .npy file of `count` numbers. */
static int make_file(struct npy *header, const void *numbers, size_t count) {
    char text[NPY_MAX_WRITTEN];
    header->dimensions = 1;
    header->shape[0] = header->count = count;
    npy_write(header, text);
    int fd = memfd_new("array");
    assert_int_equal(memfd_write(fd, text, (size_t)header->data), 0);
    assert_int_equal(memfd_write(fd, numbers, count * npy_size(header->dtype)), 0);
    return fd;
}

/* Plans. False: it was refused, and w->fault says why. */
static bool plan(struct world *w, const char *params, enum npy_dtype dtype, const void *numbers, size_t count, bool own,
                 unsigned chunks) {
    struct submission s = {0};
    struct buf body = {0};
    job_init();
    memset(w, 0, sizeof *w);
    w->header.dtype = dtype;
    int fd = make_file(&w->header, numbers, count);
    w->list[0] = (struct host_attachment){
        .fd = fd, .size = w->header.data + count * npy_size(dtype), .own = own, .media_type = ""};
    w->attachments = (struct host_attachments){w->list, 0, 1};
    w->output.made_first = 1;
    w->hooks =
        (struct host_hooks){.arg = w, .cancelled = is_cancelled, .attachments = &w->attachments, .output = &w->output};
    buf_printf(&body, "{\"type\":\"array\",\"params\":%s}", params);
    assert_int_equal(submission_parse(body.data, body.size, 64, 1, &s, &w->fault), 0);
    buf_deinit(&body);
    w->type = s.type;
    int rc = host_plan(s.type, s.params.data, s.params.size, chunks, &w->hooks, &w->plan, &w->fault);
    submission_deinit(&s);
    for (uint32_t i = 0; rc == 0 && i < w->output.made_count; i++)
        w->list[1 + i] = (struct host_attachment){
            .fd = w->output.made[i].fd, .size = w->output.made[i].size, .own = true, .media_type = ""};
    w->attachments.count += w->output.made_count;
    return rc == 0;
}

static int run(struct world *w, size_t chunk, unsigned attempt) {
    struct host_output output = {0};
    struct host_hooks hooks = w->hooks;
    struct bytes common = {w->plan.common.data, w->plan.common.size};
    hooks.output = &output;
    buf_clear(&w->parts[chunk]);
    return host_run(w->type, attempt, common,
                    (struct bytes){w->plan.bytes.data + w->plan.chunks[chunk].offset, w->plan.chunks[chunk].size},
                    &hooks, &w->parts[chunk], &w->fault);
}

/* Runs all chunks from `first` on, and merges. The JSON of the result; the caller frees. `result`: the attachment that is
 * the result. */
static char *finish(struct world *w, size_t first, uint32_t *result) {
    struct bytes views[64];
    struct buf json = {0};
    struct host_output output = {0};
    struct host_hooks hooks = w->hooks;
    for (size_t i = 0; i < w->plan.count; i++) {
        if (i >= first)
            assert_int_equal(run(w, i, 0), 0);
        views[i] = (struct bytes){w->parts[i].data, w->parts[i].size};
    }
    hooks.output = &output;
    assert_int_equal(host_merge(w->type, (struct bytes){w->plan.common.data, w->plan.common.size}, views, w->plan.count,
                                &hooks, &json, &w->fault),
                     0);
    *result = output.source == HOST_SOURCE_ATTACHMENT ? output.index : UINT32_MAX;
    if (output.source == HOST_SOURCE_ATTACHMENT) {
        assert_string_equal(output.media_type, "application/x-npy");
        assert_int_equal(output.offset, 0);
        assert_int_equal(output.size, w->list[output.index].size);
    }
    host_output_deinit(&output);
    return buf_steal(&json, NULL);
}

static void drop(struct world *w) {
    for (size_t i = 0; i < 64; i++)
        buf_deinit(&w->parts[i]);
    close(w->list[0].fd);
    host_output_deinit(&w->output);
    host_plan_deinit(&w->plan);
    fault_deinit(&w->fault);
}

static void *map_all(const struct host_attachment *a) {
    void *at = mmap(NULL, (size_t)a->size, PROT_READ | PROT_WRITE, MAP_SHARED, a->fd, 0);
    assert_ptr_not_equal(at, MAP_FAILED);
    return at;
}

/* ---- values ------------------------------------------------------------------------------------------------------ */

static void the_value_does_not_depend_on_the_chunks(void **state) {
    (void)state;
    static const char *const ops[] = {"sum", "mean", "min", "max", "argmin", "argmax", "var"};
    enum { COUNT = 20000 };
    double *numbers = calloc(COUNT, sizeof *numbers);
    uint64_t bits = 1;
    for (size_t i = 0; i < COUNT; i++) {
        bits = bits * UINT64_C(6364136223846793005) + 1442695040888963407;
        numbers[i] = ldexp((double)(int64_t)bits, (int)(bits >> 40 & 63) - 60);
    }
    for (size_t op = 0; op < sizeof ops / sizeof ops[0]; op++) {
        char params[40], *first = NULL;
        snprintf(params, sizeof params, "{\"op\":\"%s\"}", ops[op]);
        for (unsigned chunks = 0; chunks < 20; chunks += 3) {
            struct world w;
            uint32_t result;
            assert_true(plan(&w, params, NPY_F64, numbers, COUNT, true, chunks));
            assert_int_equal(w.plan.count, chunks == 0 ? 1 : chunks);
            char *json = finish(&w, 0, &result);
            assert_int_equal(result, UINT32_MAX);
            if (first != NULL)
                assert_string_equal(json, first);
            else
                first = strdup(json);
            free(json);
            drop(&w);
        }
        free(first);
    }
    free(numbers);
}

static void what_is_cancelled_ends(void **state) {
    (void)state;
    double numbers[3] = {1, 2, 3};
    static const char *const some[] = {"{}", "{\"op\":\"scale\",\"factor\":2}"};
    for (int i = 0; i < 2; i++) {
        struct world w;
        assert_true(plan(&w, some[i], NPY_F64, numbers, 3, true, 1));
        w.cancel_at = 1;
        assert_int_equal(run(&w, 0, 0), HOST_CANCELLED);
        drop(&w);
    }
}

static void damaged_bytes_are_refused(void **state) {
    (void)state;
    double numbers[3] = {1, 2, 3};
    struct world w;
    struct buf json = {0};
    assert_true(plan(&w, "{}", NPY_F64, numbers, 3, true, 1));
    struct bytes part = {"damaged", 7}, common = {w.plan.common.data, w.plan.common.size};
    assert_int_equal(host_merge(w.type, common, &part, 1, &w.hooks, &json, &w.fault), -1);
    fault_deinit(&w.fault);
    w.fault = (struct fault){0};
    assert_int_equal(host_run(w.type, 0, (struct bytes){"", 0}, part, &w.hooks, &json, &w.fault), -1);
    buf_deinit(&json);
    drop(&w);
}

static int merge(struct world *w, const struct bytes *parts, size_t count) {
    struct buf json = {0};
    struct host_output output = {0};
    struct host_hooks hooks = w->hooks;
    hooks.output = &output;
    fault_deinit(&w->fault);
    w->fault = (struct fault){0};
    int rc = host_merge(w->type, (struct bytes){w->plan.common.data, w->plan.common.size}, parts, count, &hooks, &json,
                        &w->fault);
    host_output_deinit(&output);
    buf_deinit(&json);
    return rc;
}

/* Two lanes, each in two slices: the bytes of the file, its header among them, are the numbers. */
static void damaged_slices_are_refused(void **state) {
    (void)state;
    enum { SIZE = 2 * 8192, HEADER = 128 };
    int8_t numbers[SIZE - HEADER] = {0};
    struct world w;
    assert_true(
        plan(&w, "{\"axis\":0,\"dtype\":\"int8\",\"shape\":[8192,2]}", NPY_I8, numbers, sizeof numbers, true, 2));
    assert_int_equal(w.header.data, HEADER);
    assert_int_equal(w.plan.count, 2);
    for (size_t i = 0; i < 2; i++)
        assert_int_equal(run(&w, i, 0), 0);
    size_t size = w.parts[0].size;
    assert_int_equal(w.parts[1].size, size - 16); /* both sums of the second slices are 0, and have no limb */
    const struct bytes whole[2] = {{w.parts[0].data, size}, {w.parts[1].data, w.parts[1].size}};
    assert_int_equal(merge(&w, whole, 2), 0);
    for (size_t cut = 1; cut <= size; cut++) {
        struct bytes parts[2] = {{whole[0].data, size - cut}, whole[1]};
        assert_int_equal(merge(&w, parts, 2), -1);
    }
    for (size_t cut = 1; cut <= whole[1].size; cut++) {
        struct bytes parts[2] = {whole[0], {whole[1].data, whole[1].size - cut}};
        assert_int_equal(merge(&w, parts, 2), -1);
    }
    assert_int_equal(merge(&w, whole, 1), -1);
    /* One lane too many in both. */
    char *more = malloc(2 * size);
    memcpy(more, whole[0].data, size);
    memcpy(more + size, whole[0].data, size);
    struct bytes twice[2] = {{more, 2 * size}, {more, 2 * size}};
    assert_int_equal(merge(&w, twice, 2), -1);
    /* A tally whose size is almost 2^64. */
    memset(more, 0xff, 8);
    twice[0].size = twice[1].size = size;
    assert_int_equal(merge(&w, twice, 2), -1);
    free(more);
    drop(&w);
}

/* ---- scale ------------------------------------------------------------------------------------------------------- */

enum { NUMBERS = 5 * JOURNAL_BLOCK / 8 + 100 }; /* some blocks, and a short one */

static int64_t *count_up(void) {
    int64_t *numbers = malloc(NUMBERS * sizeof *numbers);
    for (int64_t i = 0; i < NUMBERS; i++)
        numbers[i] = i;
    return numbers;
}

/* Ends the job, and looks at its result: each number is scaled just once. */
static void expect_scaled(struct world *w, size_t first, uint32_t where) {
    uint32_t result;
    char *json = finish(w, first, &result), expected[100];
    snprintf(expected, sizeof expected, "{\"sum\":\"%lld\",\"dtype\":\"int64\",\"shape\":[%d]}",
             3LL * NUMBERS * (NUMBERS - 1) / 2, NUMBERS);
    assert_string_equal(json, expected);
    assert_int_equal(result, where);
    char *file = map_all(&w->list[result]);
    int64_t *found = (int64_t *)(void *)(file + w->header.data);
    for (int64_t i = 0; i < NUMBERS; i++)
        if (found[i] != 3 * i)
            fail_msg("number %lld is %lld", (long long)i, (long long)found[i]);
    munmap(file, w->list[result].size);
    free(json);
}

static void it_scales_in_place_or_to_a_second_array(void **state) {
    (void)state;
    int64_t *numbers = count_up();
    for (unsigned chunks = 0; chunks < 5; chunks++) {
        for (int own = 0; own < 2; own++) {
            struct world w;
            assert_true(plan(&w, "{\"op\":\"scale\",\"factor\":3}", NPY_I64, numbers, NUMBERS, own != 0, chunks));
            expect_scaled(&w, 0, own ? 0 : 1);
            drop(&w);
        }
    }
    free(numbers);
}

/* What a worker leaves that dies at a mark: the blocks before are scaled, and of this one the first `overwritten` bytes. */
static void leave(struct world *w, uint64_t mark, size_t overwritten) {
    char *file = map_all(&w->list[0]), *journal = map_all(&w->list[1]);
    int64_t *numbers = (int64_t *)(void *)(file + w->header.data), scaled[JOURNAL_BLOCK / 8];
    size_t block = (size_t)(mark / 2), start = block * JOURNAL_BLOCK / 8;
    size_t count = NUMBERS - start < JOURNAL_BLOCK / 8 ? NUMBERS - start : JOURNAL_BLOCK / 8;
    for (size_t i = 0; i < start; i++)
        numbers[i] *= 3;
    for (size_t i = 0; i < count; i++)
        scaled[i] = 3 * numbers[start + i];
    if (mark % 2 == 1) {
        memcpy(journal + JOURNAL_HEAD, scaled, count * 8);
        memcpy(numbers + start, scaled, overwritten < count * 8 ? overwritten : count * 8);
    } else {
        memset(journal + JOURNAL_HEAD, 0xaa, overwritten); /* half of the block was written to the journal */
    }
    memcpy(journal, &mark, sizeof mark);
    munmap(file, w->list[0].size);
    munmap(journal, w->list[1].size);
}

static void a_lost_attempt_is_taken_up_at_each_mark(void **state) {
    (void)state;
    int64_t *numbers = count_up();
    static const size_t overwritten[] = {0, 1, 8, 1001, JOURNAL_BLOCK / 2, JOURNAL_BLOCK};
    for (uint64_t mark = 0; mark <= 12; mark++) {
        for (size_t i = 0; i < sizeof overwritten / sizeof overwritten[0]; i++) {
            struct world w;
            assert_true(plan(&w, "{\"op\":\"scale\",\"factor\":3}", NPY_I64, numbers, NUMBERS, true, 1));
            if (mark < 12)
                leave(&w, mark, overwritten[i]);
            else
                assert_int_equal(run(&w, 0, 0), 0); /* the worker was lost after its last block */
            expect_scaled(&w, 0, 0);
            drop(&w);
        }
    }
    free(numbers);
}

static void a_process_that_is_killed_loses_and_doubles_nothing(void **state) {
    (void)state;
    int64_t *numbers = count_up();
    for (unsigned round = 0; round < 20; round++) {
        struct world w;
        assert_true(plan(&w, "{\"op\":\"scale\",\"factor\":3}", NPY_I64, numbers, NUMBERS, true, 1));
        for (unsigned attempt = 0; attempt < 5; attempt++) {
            pid_t pid = fork();
            assert_true(pid >= 0);
            if (pid == 0)
                _exit(run(&w, 0, attempt) == 0 ? 0 : 1);
            usleep(20 * round * (attempt + 1));
            kill(pid, SIGKILL);
            int status;
            assert_int_equal(waitpid(pid, &status, 0), pid);
        }
        expect_scaled(&w, 0, 0);
        drop(&w);
    }
    free(numbers);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_value_does_not_depend_on_the_chunks),
        cmocka_unit_test(what_is_cancelled_ends),
        cmocka_unit_test(damaged_bytes_are_refused),
        cmocka_unit_test(damaged_slices_are_refused),
        cmocka_unit_test(it_scales_in_place_or_to_a_second_array),
        cmocka_unit_test(a_lost_attempt_is_taken_up_at_each_mark),
        cmocka_unit_test(a_process_that_is_killed_loses_and_doubles_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
