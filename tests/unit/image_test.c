/* image_test.c: the job type "image" in this process: progress, cancellation at every point, and memory that changes
 * between plan and run. The images are those of tests/fuzz/corpus/image. Under AddressSanitizer each way out shows whether
 * something is left behind. What images look like is for tests/http/image.bats. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tests/unit/image_job.h"

/* A file of the corpus: the params on the first line, and then the image. */
struct input {
    struct buf all;
    size_t params_size;
};

static void read_input(struct input *in, const char *name) {
    char path[100], piece[4096];
    snprintf(path, sizeof path, "tests/fuzz/corpus/image/%s", name);
    memset(in, 0, sizeof *in);
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    for (size_t n; (n = fread(piece, 1, sizeof piece, f)) > 0;)
        buf_append(&in->all, piece, n);
    fclose(f);
    in->params_size = strcspn(in->all.data, "\n");
}

static int run(struct image_job *j, const struct input *in, const char *params) {
    const char *image = in->all.data + in->params_size + 1;
    size_t size = in->all.size - in->params_size - 1;
    return params != NULL ? image_job(j, params, strlen(params), image, size)
                          : image_job(j, in->all.data, in->params_size, image, size);
}

static const char *const names[] = {"jpeg",        "jpeg_exif", "png",           "png_alpha",   "png_palette",
                                    "png_profile", "webp",      "webp_lossless", "webp_moving", "gif",
                                    "gif_moving",  "tiff",      "tiff_lzw",      "avif",        "jpeg_cmyk"};
enum { NAMES = sizeof names / sizeof names[0] };

struct seen {
    uint64_t done, total;
    unsigned reports, questions, cancel_at;
};

static void note_progress(void *arg, uint64_t done, uint64_t total) {
    struct seen *s = arg;
    assert_true(done >= s->done && done <= total);
    s->done = done;
    s->total = total;
    s->reports++;
}

static bool ask(void *arg) {
    struct seen *s = arg;
    return s->questions++ >= s->cancel_at;
}

/* libvips says nothing of images that are ready at once, as those of the corpus are. */
#define LARGE                                                                                                          \
    "{\"ops\":[{\"filter\":\"flip\"},{\"filter\":\"thumbnail\",\"width\":600,\"height\":480,\"fit\":\"fill\"},"        \
    "{\"filter\":\"rotate\"},{\"filter\":\"blur\"}]}"

static void progress_goes_forward_to_its_end(void **state) {
    (void)state;
    for (size_t i = 0; i < NAMES; i++) {
        struct input in;
        struct seen seen = {.cancel_at = UINT32_MAX};
        struct image_job j = {.progress = note_progress, .cancelled = ask, .arg = &seen};
        read_input(&in, names[i]);
        assert_int_equal(run(&j, &in, LARGE), 0);
        assert_true(seen.reports > 0 && seen.questions > 0);
        if (strstr(names[i], "moving") == NULL) {
            assert_int_equal(seen.total, 100);
        } else {
            assert_int_equal(seen.total, 400);
            assert_true(seen.done >= 200);
        }
        image_job_deinit(&j);
        buf_deinit(&in.all);
    }
}

static void it_can_be_cancelled_whenever_it_asks(void **state) {
    (void)state;
    for (size_t i = 0; i < NAMES; i++) {
        struct input in;
        int rc = HOST_CANCELLED;
        read_input(&in, names[i]);
        for (unsigned at = 0; rc != 0; at = at * 3 + 1) {
            struct seen seen = {.cancel_at = at};
            struct image_job j = {.cancelled = ask, .arg = &seen};
            rc = run(&j, &in, LARGE);
            assert_true(at > 0 || rc == HOST_CANCELLED);
            assert_true(rc == 0 || rc == HOST_CANCELLED);
            assert_int_equal(j.result.size > 0, rc == 0);
            image_job_deinit(&j);
        }
        assert_int_equal(rc, 0);
        buf_deinit(&in.all);
    }
}

static void a_file_that_ends_anywhere_is_refused_or_made(void **state) {
    (void)state;
    for (size_t i = 0; i < NAMES; i++) {
        struct input in;
        read_input(&in, names[i]);
        const char *image = in.all.data + in.params_size + 1;
        size_t size = in.all.size - in.params_size - 1;
        for (size_t cut = 1; cut < size; cut += 1 + size / 40) {
            struct image_job j = {{0}};
            char *exact = malloc(cut); /* so that a sanitizer sees what is read beyond */
            assert_non_null(exact);
            memcpy(exact, image, cut);
            int rc = image_job(&j, in.all.data, in.params_size, exact, cut);
            assert_int_equal(j.fault.json.size > 0, rc != 0);
            if (rc != 0)
                assert_non_null(strstr(j.fault.json.data, "/params/image"));
            image_job_deinit(&j);
            free(exact);
        }
        buf_deinit(&in.all);
    }
}

/* A client that shares its memory exchanges the image as soon as it is planned. */
static void an_image_that_changes_after_its_plan_is_refused(void **state) {
    struct input before, after;
    struct host_attachment image = {.fd = -1, .media_type = ""};
    struct host_attachments all = {&image, 0, 1};
    struct host_output none = {0};
    struct host_hooks hooks = {.attachments = &all, .output = &none};
    struct host_plan plan = {0};
    struct submission s = {0};
    struct image_job j = {{0}};
    static const char body[] = "{\"type\":\"image\",\"params\":{\"filter\":\"sepia\"}}";
    (void)state;
    job_init();
    read_input(&before, "png");
    read_input(&after, "png_16");
    image.bytes = before.all.data + before.params_size + 1;
    image.size = before.all.size - before.params_size - 1;
    assert_int_equal(submission_parse(body, sizeof body - 1, 64, 1, &s, &j.fault), 0);
    assert_int_equal(host_plan(s.type, s.params.data, s.params.size, 0, &hooks, &plan, &j.fault), 0);
    assert_true(after.all.size - after.params_size - 1 <= image.size);
    char *changed = calloc(1, image.size);
    assert_non_null(changed);
    memcpy(changed, after.all.data + after.params_size + 1, after.all.size - after.params_size - 1);
    image.bytes = changed;
    assert_int_not_equal(image_job_work(&j, s.type, &plan, &hooks), 0);
    assert_non_null(strstr(j.fault.json.data, "has changed meanwhile"));
    free(changed);
    host_plan_deinit(&plan);
    submission_deinit(&s);
    image_job_deinit(&j);
    buf_deinit(&before.all);
    buf_deinit(&after.all);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(progress_goes_forward_to_its_end),
        cmocka_unit_test(it_can_be_cancelled_whenever_it_asks),
        cmocka_unit_test(a_file_that_ends_anywhere_is_refused_or_made),
        cmocka_unit_test(an_image_that_changes_after_its_plan_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
