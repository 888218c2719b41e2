/* image.c: fuzzes the job type "image": the first line is the params as JSON, what follows is the file. What comes out is
 * a file of the format that it is said to be, and it can be read again. What is refused has a reason. */
#include "tests/fuzz/input.h"
#include "tests/unit/image_job.h"

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    (void)argc;
    (void)argv;
    setenv("HANDLER_MAX_IMAGE_PIXELS", "10000", 1); /* more would be slow */
    setenv("HANDLER_MAX_IMAGE_FRAMES", "6", 1);
    setenv("G_SLICE", "always-malloc", 1);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char again[] = "{\"filter\":\"convert\",\"format\":\"png\"}";
    const uint8_t *end = memchr(data, '\n', size);
    struct image_job job = {{0}}, second = {{0}};
    if (end == NULL || end + 1 == data + size)
        return 0;
    size_t params_size = (size_t)(end - data);
    size_t image_size = size - params_size - 1;
    uint8_t *image = exact_copy(end + 1, image_size);
    int rc = image_job(&job, (const char *)data, params_size, image, image_size);
    MUST(rc == 0 ? job.result.size > 0 && strncmp(job.media_type, "image/", 6) == 0 : job.fault.json.size > 0);
    if (rc == 0)
        MUST(image_job(&second, again, strlen(again), job.result.data, job.result.size) == 0);
    image_job_deinit(&job);
    image_job_deinit(&second);
    free(image);
    return 0;
}
