/* npy.c: fuzzes the headers of .npy files. A header that is accepted describes just the bytes that follow, and what is
 * written of it reads the same. One that is refused has a message. */
#include <string.h>

#include "handlers/npy.h"
#include "tests/fuzz/input.h"

static void check(const uint8_t *data, size_t size) {
    char error[NPY_MAX_ERROR];
    struct npy a, b;
    size_t have = size < NPY_MAX_HEADER ? size : NPY_MAX_HEADER;
    memset(error, 0, sizeof error);
    if (npy_read(data, have, size, &a, error) != 0) {
        MUST(error[0] != '\0' && strlen(error) < NPY_MAX_ERROR);
        return;
    }
    MUST(a.dtype < NPY_DTYPES && a.dimensions <= NPY_MAX_DIMENSIONS && a.data <= size);
    MUST(a.count * npy_size(a.dtype) == size - a.data);
    uint64_t count = 1;
    for (unsigned i = 0; i < a.dimensions; i++)
        count *= a.shape[i];
    MUST(count == a.count);
    char *written = malloc(NPY_MAX_WRITTEN);
    MUST(written != NULL);
    uint64_t before = a.data;
    npy_write(&a, written);
    MUST(a.data % 64 == 0 && a.data <= NPY_MAX_WRITTEN);
    MUST(npy_read(written, a.data, a.data + size - before, &b, error) == 0);
    MUST(b.dtype == a.dtype && b.count == a.count && b.dimensions == a.dimensions && b.fortran == a.fortran);
    MUST(b.swapped == a.swapped && memcmp(a.shape, b.shape, sizeof a.shape) == 0);
    free(written);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct npy a = {0};
    char error[NPY_MAX_ERROR];
    check(data, size);
    if (npy_read_dtype((const char *)data, size, &a, error) == 0)
        MUST(a.dtype < NPY_DTYPES);
    return 0;
}
