/* main.c: feeds a harness files, for a build without libFuzzer: `make test` passes the committed corpora.
 *
 *     wire FILE|FOLDER...     prints how many files there were; the harness aborts if something is wrong
 */
#include <dirent.h>
#include <sys/stat.h>

#include "base/buf.h"
#include "tests/fuzz/input.h"

#pragma weak LLVMFuzzerInitialize

static unsigned count;

static void feed_file(const char *path) {
    struct buf bytes = {0};
    char piece[4096];
    FILE *f = fopen(path, "rb");
    if (f == NULL) {
        perror(path);
        exit(1);
    }
    for (size_t n; (n = fread(piece, 1, sizeof piece, f)) > 0;)
        buf_append(&bytes, piece, n);
    fclose(f);
    fprintf(stderr, "%s\n", path); /* the last one is the one at fault */
    void *exact = exact_copy(bytes.data, bytes.size);
    LLVMFuzzerTestOneInput(exact, bytes.size);
    free(exact);
    buf_deinit(&bytes);
    count++;
}

static int is_visible(const struct dirent *e) {
    return e->d_name[0] != '.';
}

static void feed(const char *path) {
    struct stat st;
    struct dirent **list;
    if (stat(path, &st) == 0 && !S_ISDIR(st.st_mode)) {
        feed_file(path);
        return;
    }
    int n = scandir(path, &list, is_visible, alphasort);
    if (n < 0) {
        perror(path);
        exit(1);
    }
    for (int i = 0; i < n; i++) {
        struct buf name = {0};
        buf_printf(&name, "%s/%s", path, list[i]->d_name);
        buf_append(&name, "", 1);
        feed_file(name.data);
        buf_deinit(&name);
        free(list[i]);
    }
    free(list);
}

int main(int argc, char **argv) {
    if (LLVMFuzzerInitialize != NULL)
        LLVMFuzzerInitialize(&argc, &argv);
    for (int i = 1; i < argc; i++)
        feed(argv[i]);
    printf("%u files\n", count);
    return 0;
}
