/* engine.c: libvips in one process, a thread for each image, with which bench/run compares offloadd: what a server of
 * images like imgproxy has inside, without its HTTP.
 *
 *     engine sepia|thumbnail FILE...
 *
 * The files are read at the start. For each line on its standard input the program makes a JPEG of each of them, all at
 * once, and prints the nanoseconds that it took and the bytes that came out. */
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <vips/vips.h>

#define MOST_FILES 64

static bool small;

struct image {
    char *bytes;
    gsize size;
    size_t size_out; /* 0: it failed */
};

static const double weights[9] = {0.393, 0.769, 0.189, 0.349, 0.686, 0.168, 0.272, 0.534, 0.131};

static void *make(void *arg) {
    struct image *i = arg;
    VipsImage *in = NULL, *matrix = NULL, *out = NULL;
    void *bytes = NULL;
    i->size_out = 0;
    if (small) {
        if (vips_thumbnail_buffer(i->bytes, i->size, &out, 320, "height", 320, "size", VIPS_SIZE_DOWN, NULL) != 0)
            return NULL;
    } else {
        in = vips_image_new_from_buffer(i->bytes, i->size, "", "access", VIPS_ACCESS_SEQUENTIAL, NULL);
        matrix = vips_image_new_from_memory_copy(weights, sizeof weights, 3, 3, 1, VIPS_FORMAT_DOUBLE);
        if (in == NULL || matrix == NULL || vips_recomb(in, &out, matrix, NULL) != 0)
            return NULL;
    }
    if (vips_jpegsave_buffer(out, &bytes, &i->size_out, "Q", 80, "strip", TRUE, NULL) != 0)
        i->size_out = 0;
    g_free(bytes);
    g_object_unref(out);
    if (!small) {
        g_object_unref(matrix);
        g_object_unref(in);
    }
    vips_thread_shutdown();
    return NULL;
}

static uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static int run(struct image *images, int count) {
    pthread_t threads[MOST_FILES];
    uint64_t start = now_ns(), bytes = 0;
    for (int i = 0; i < count; i++)
        if (pthread_create(&threads[i], NULL, make, &images[i]) != 0)
            return 1;
    for (int i = 0; i < count; i++)
        pthread_join(threads[i], NULL);
    uint64_t end = now_ns();
    for (int i = 0; i < count; i++) {
        if (images[i].size_out == 0)
            return fprintf(stderr, "engine: %s", vips_error_buffer()), 1;
        bytes += images[i].size_out;
    }
    printf("%llu %llu\n", (unsigned long long)(end - start), (unsigned long long)bytes);
    return fflush(stdout) == 0 ? 0 : 1;
}

int main(int argc, char **argv) {
    struct image images[MOST_FILES];
    char line[8];
    int count = argc - 2;
    if (count < 1 || count > MOST_FILES || VIPS_INIT(argv[0]) != 0)
        return fprintf(stderr, "usage: engine sepia|thumbnail FILE...\n"), 2;
    small = strcmp(argv[1], "thumbnail") == 0;
    vips_concurrency_set(1);
    vips_cache_set_max(0);
    for (int i = 0; i < count; i++)
        if (!g_file_get_contents(argv[i + 2], &images[i].bytes, &images[i].size, NULL))
            return fprintf(stderr, "engine: %s cannot be read\n", argv[i + 2]), 2;
    while (fgets(line, sizeof line, stdin) != NULL)
        if (run(images, count) != 0)
            return 1;
    for (int i = 0; i < count; i++)
        g_free(images[i].bytes);
    return 0;
}
