/* safetensors.c: fuzzes files of tensors. Every tensor of a file that is accepted lies in it, has the size of its shape,
 * and can be copied. A file that is refused has a reason: one line. */
#include <jansson.h>

#include "handlers/embed/safetensors.h"
#include "tests/fuzz/input.h"

static void check_tensor(const struct safetensors *s, const char *name, const uint8_t *data, size_t size) {
    struct tensor t;
    MUST(safetensors_find(s, name, &t));
    MUST(t.dimensions <= SAFETENSORS_MAX_DIMENSIONS);
    MUST(t.bytes >= data + 8 && t.bytes <= data + size && t.size <= (uint64_t)(data + size - t.bytes));
    uint64_t count = 1;
    for (unsigned i = 0; i < t.dimensions; i++)
        count *= t.shape[i];
    MUST(count == t.count);
    if (t.dtype == TENSOR_OTHER)
        return;
    MUST(t.size == t.count * (t.dtype == TENSOR_F32 ? 4 : 2));
    float *numbers = malloc(t.count == 0 ? 1 : t.count * sizeof(float));
    MUST(numbers != NULL);
    tensor_copy(&t, numbers);
    const float *place = tensor_in_place(&t);
    MUST(place == NULL || memcmp(place, numbers, t.count * sizeof(float)) == 0);
    free(numbers);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char why[SAFETENSORS_WHY];
    memset(why, 0, sizeof why);
    struct safetensors *s = safetensors_read(data, size, why);
    if (s == NULL) {
        MUST(why[0] != '\0' && strlen(why) < SAFETENSORS_WHY && strchr(why, '\n') == NULL);
        return 0;
    }
    uint64_t length;
    memcpy(&length, data, sizeof length);
    json_t *header = json_loadb((const char *)data + 8, (size_t)length, 0, NULL), *entry;
    const char *name;
    MUST(header != NULL);
    json_object_foreach(header, name, entry) {
        if (strcmp(name, "__metadata__") != 0)
            check_tensor(s, name, data, size);
    }
    json_decref(header);
    safetensors_close(s);
    return 0;
}
