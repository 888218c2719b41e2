/* image_job.h: an image through a whole job of the type "image", without processes: for the unit test and the fuzzer. */
#ifndef OFFLOAD_TESTS_IMAGE_JOB_H
#define OFFLOAD_TESTS_IMAGE_JOB_H

#include <dlfcn.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/unit/job.h"

/* Ends the threads of libvips: gcc's leak check dies when it looks at their thread-local memory. At exit. */
static inline void image_job_end(void) {
    void *library = dlopen("libvips.so.42", RTLD_NOW | RTLD_NOLOAD);
    void (*end)(void) = NULL;
    if (library != NULL)
        *(void **)&end = dlsym(library, "vips_shutdown");
    if (end != NULL)
        end();
}

struct image_job {
    struct buf result; /* the file; empty if the job failed */
    char media_type[HANDLER_MAX_MEDIA_TYPE + 1];
    struct fault fault; /* why it failed */
    bool (*cancelled)(void *arg);
    void (*progress)(void *arg, uint64_t done, uint64_t total);
    void *arg; /* for both */
};

static inline void image_job_deinit(struct image_job *j) {
    buf_deinit(&j->result);
    fault_deinit(&j->fault);
}

/* The one chunk of the plan, and its merge. 0, or what host_run or host_merge has answered. */
static inline int image_job_work(struct image_job *j, size_t type, const struct host_plan *plan,
                                 struct host_hooks *hooks) {
    struct host_output made = {0}, output = {0};
    struct buf part = {0}, json = {0};
    struct bytes common = {plan->common.data, plan->common.size}, chunk = {plan->bytes.data, plan->chunks[0].size},
                 view;
    hooks->output = &made;
    int rc = host_run(type, 0, common, chunk, hooks, &part, &j->fault);
    if (rc == 0) {
        view.size = (size_t)made.size;
        view.data = mmap(NULL, view.size, PROT_READ, MAP_SHARED, made.fd, (off_t)made.offset);
        if (!made.has_fd || view.data == MAP_FAILED)
            abort();
        hooks->output = &output;
        rc = host_merge(type, common, &view, 1, hooks, &json, &j->fault);
        if (rc == 0)
            buf_append(&j->result, view.data, view.size);
        snprintf(j->media_type, sizeof j->media_type, "%s", output.media_type);
        union {
            const void *in;
            void *out;
        } at = {view.data};
        munmap(at.out, view.size);
    }
    host_output_deinit(&made);
    host_output_deinit(&output);
    buf_deinit(&part);
    buf_deinit(&json);
    return rc;
}

/* Runs it. params: JSON text. 0, or -1 with a fault, or HOST_CANCELLED. The caller frees the job by image_job_deinit. */
static inline int image_job(struct image_job *j, const char *params, size_t params_size, const void *bytes,
                            size_t size) {
    struct host_attachment image = {.fd = -1, .bytes = bytes, .size = size, .media_type = ""};
    struct host_attachments all = {&image, 0, 1};
    struct host_output none = {0};
    struct host_hooks hooks = {
        .arg = j->arg, .cancelled = j->cancelled, .progress = j->progress, .attachments = &all, .output = &none};
    struct host_plan plan = {0};
    struct submission s = {0};
    struct buf body = {0};
    static bool called;
    if (!called)
        atexit(image_job_end);
    called = true;
    job_init();
    buf_puts(&body, "{\"type\":\"image\",\"params\":");
    buf_append(&body, params, params_size);
    buf_putc(&body, '}');
    int rc = submission_parse(body.data, body.size, 64, 1, &s, &j->fault);
    if (rc == 0 && s.map)
        rc = -1;
    else if (rc == 0)
        rc = host_plan(s.type, s.params.data, s.params.size, 0, &hooks, &plan, &j->fault);
    if (rc == 0)
        rc = image_job_work(j, s.type, &plan, &hooks);
    host_plan_deinit(&plan);
    submission_deinit(&s);
    buf_deinit(&body);
    return rc;
}

#endif
