/* safetensors_test.c: files of tensors: those that are whole, those that are cut off, and those that lie. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "handlers/embed/safetensors.h"

#define TWO                                                                                                            \
    "{\"__metadata__\":{\"format\":\"pt\"},\"a\":{\"dtype\":\"F32\",\"shape\":[2,3],\"data_offsets\":[0,24]},"         \
    "\"b\":{\"dtype\":\"F16\",\"shape\":[4],\"data_offsets\":[24,32]}}"

struct file {
    unsigned char *bytes; /* as many as there are, so that the sanitizer sees a read beyond the end */
    size_t size;
};

/* A file with that header, and `data` bytes behind it: 0, 1, 2, ... The caller frees its bytes. */
static struct file file_of(const char *header, size_t data) {
    size_t length = strlen(header);
    struct file f = {malloc(8 + length + data), 8 + length + data};
    assert_non_null(f.bytes);
    for (int i = 0; i < 8; i++)
        f.bytes[i] = (unsigned char)((uint64_t)length >> 8 * i);
    memcpy(f.bytes + 8, header, length);
    for (size_t i = 0; i < data; i++)
        f.bytes[8 + length + i] = (unsigned char)i;
    return f;
}

static void assert_refused(struct file f, const char *words) {
    char why[SAFETENSORS_WHY] = "";
    assert_null(safetensors_read(f.bytes, f.size, why));
    if (strstr(why, words) == NULL)
        fail_msg("\"%s\" is not in: %s", words, why);
    free(f.bytes);
}

static void the_tensors_of_a_file_are_found(void **state) {
    (void)state;
    char why[SAFETENSORS_WHY] = "";
    struct tensor t;
    struct file f = file_of(TWO, 32);
    struct safetensors *s = safetensors_read(f.bytes, f.size, why);
    assert_string_equal(why, "");
    assert_non_null(s);
    assert_true(safetensors_find(s, "a", &t));
    assert_int_equal(t.dtype, TENSOR_F32);
    assert_int_equal(t.dimensions, 2);
    assert_int_equal(t.shape[0], 2);
    assert_int_equal(t.shape[1], 3);
    assert_int_equal(t.count, 6);
    assert_ptr_equal(t.bytes, f.bytes + f.size - 32);
    assert_true(safetensors_find(s, "b", &t));
    assert_int_equal(t.dtype, TENSOR_F16);
    assert_int_equal(t.count, 4);
    assert_ptr_equal(t.bytes, f.bytes + f.size - 8);
    assert_false(safetensors_find(s, "c", &t));
    assert_false(safetensors_find(s, "", &t));
    assert_false(safetensors_find(s, "__metadata__", &t));
    safetensors_close(s);
    free(f.bytes);
}

static void a_file_without_tensors_is_one(void **state) {
    (void)state;
    char why[SAFETENSORS_WHY] = "";
    struct file f = file_of("{}   ", 0);
    struct safetensors *s = safetensors_read(f.bytes, f.size, why);
    assert_non_null(s);
    safetensors_close(s);
    free(f.bytes);
    safetensors_close(NULL);
}

static void a_file_that_is_cut_off_anywhere_is_refused(void **state) {
    (void)state;
    struct file whole = file_of(TWO, 32);
    for (size_t size = 0; size < whole.size; size++) {
        struct file f = {malloc(size == 0 ? 1 : size), size};
        assert_non_null(f.bytes);
        memcpy(f.bytes, whole.bytes, size);
        assert_refused(f, "cut off");
    }
    free(whole.bytes);
}

static void tensors_of_other_dtypes_are_only_passed_over(void **state) {
    (void)state;
    char why[SAFETENSORS_WHY] = "";
    struct tensor t;
    struct file f = file_of("{\"ids\":{\"dtype\":\"I64\",\"shape\":[1,2],\"data_offsets\":[0,16]}}", 16);
    struct safetensors *s = safetensors_read(f.bytes, f.size, why);
    assert_non_null(s);
    assert_true(safetensors_find(s, "ids", &t));
    assert_int_equal(t.dtype, TENSOR_OTHER);
    safetensors_close(s);
    free(f.bytes);
}

#define A "{\"a\":"

static void headers_that_lie_are_refused(void **state) {
    (void)state;
    static const char *const cases[][2] = {
        {"", "not JSON"},
        {"{", "not JSON"},
        {"[]", "not a JSON object"},
        {"{} x", "not JSON"},
        {"{\"a\\u0000\":{}}", "not JSON"},
        {"{\"a\\n\":{}}", "printable"},
        {"{\"\xc3\xa9\":{}}", "printable"},
        {A "1}", "without a dtype"},
        {A "null}", "without a dtype"},
        {A "{\"dtype\":7}}", "without a dtype"},
        {A "{\"dtype\":\"F32\"}}", "shape is wrong"},
        {A "{\"dtype\":\"F32\",\"shape\":3}}", "shape is wrong"},
        {A "{\"dtype\":\"F32\",\"shape\":[-1]}}", "shape is wrong"},
        {A "{\"dtype\":\"F32\",\"shape\":[1.0]}}", "shape is wrong"},
        {A "{\"dtype\":\"F32\",\"shape\":[\"1\"]}}", "shape is wrong"},
        {A "{\"dtype\":\"F32\",\"shape\":[1,1,1,1,1,1,1,1,1]}}", "shape is wrong"},
        {A "{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296]}}", "shape is wrong"},
        {A "{\"dtype\":\"F32\",\"shape\":[99999999999999999999]}}", "not JSON"},
        {A "{\"dtype\":\"F32\",\"shape\":[2]}}", "does not lie within"},
        {A "{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":8}}", "does not lie within"},
        {A "{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0]}}", "does not lie within"},
        {A "{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8,16]}}", "does not lie within"},
        {A "{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[-8,0]}}", "does not lie within"},
        {A "{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8.0]}}", "does not lie within"},
        {A "{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[8,0]}}", "does not lie within"},
        {A "{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[4,12]}}", "does not lie within"},
        {A "{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[9,9]}}", "does not lie within"},
        {A "{\"dtype\":\"I64\",\"shape\":[2],\"data_offsets\":[0,16]}}", "does not lie within"},
        {A "{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,9223372036854775807]}}", "does not lie within"},
        {A "{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,8]}}", "disagree"},
        {A "{\"dtype\":\"F32\",\"shape\":[3],\"data_offsets\":[0,8]}}", "disagree"},
        {A "{\"dtype\":\"F16\",\"shape\":[2],\"data_offsets\":[0,8]}}", "disagree"},
        {A "{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0,8]}}", "disagree"},
        {A "{\"dtype\":\"F32\",\"shape\":[4611686018427387904],\"data_offsets\":[0,0]}}", "disagree"},
        {A "{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}," A "1}}", "not JSON"},
        {A "{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},\"a\":{}}", "name twice"},
        {A "{\"dtype\":\"F32\",\"dtype\":\"F16\",\"shape\":[1],\"data_offsets\":[0,4]}}", "name twice"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_refused(file_of(cases[i][0], 8), cases[i][1]);
}

static void a_header_cannot_be_too_large(void **state) {
    (void)state;
    struct file f = file_of("{}", 0);
    memset(f.bytes, 0xff, 8);
    assert_refused(f, "cut off");
    f.size = 8 + SAFETENSORS_MAX_HEADER + 1;
    f.bytes = calloc(1, f.size);
    assert_non_null(f.bytes);
    f.bytes[0] = 1;
    f.bytes[2] = SAFETENSORS_MAX_HEADER >> 16;
    assert_refused(f, "has a header of 1048577 bytes, and 1048576 are the most");
}

/* 2048 levels are the most that jansson reads. */
static void a_header_cannot_be_too_deep(void **state) {
    (void)state;
    char header[20001];
    memset(header, '[', sizeof header - 1);
    header[sizeof header - 1] = '\0';
    assert_refused(file_of(header, 0), "not JSON");
    memcpy(header, "{\"a\":", 5);
    assert_refused(file_of(header, 0), "not JSON");
}

/* ---- numbers ----------------------------------------------------------------------------------------------------- */

static float convert(enum tensor_dtype dtype, const unsigned char *bytes) {
    float value = -1;
    struct tensor t = {.dtype = dtype, .count = 1, .bytes = bytes};
    tensor_copy(&t, &value);
    return value;
}

static void all_half_precision_numbers_are_exact(void **state) {
    (void)state;
    for (unsigned bits = 0; bits < 1u << 16; bits++) {
        const unsigned char bytes[] = {(unsigned char)bits, (unsigned char)(bits >> 8)};
        int exponent = (int)(bits >> 10 & 31), fraction = (int)(bits & 0x3ff);
        double expected = exponent == 0 ? ldexp(fraction, -24) : ldexp(1024 + fraction, exponent - 25);
        if (exponent == 31)
            expected = fraction == 0 ? HUGE_VAL : NAN;
        float value = convert(TENSOR_F16, bytes);
        if (isnan(expected) ? !isnan(value) : (double)value != copysign(expected, bits & 0x8000 ? -1 : 1))
            fail_msg("%04x: %g", bits, (double)value);
        assert_true(!signbit(value) == !(bits >> 15));
    }
}

static void bfloats_are_the_upper_half_of_floats(void **state) {
    (void)state;
    for (unsigned bits = 0; bits < 1u << 16; bits++) {
        const unsigned char bytes[] = {(unsigned char)bits, (unsigned char)(bits >> 8)};
        int exponent = (int)(bits >> 7 & 255), fraction = (int)(bits & 127);
        double expected = exponent == 0 ? ldexp(fraction, -133) : ldexp(128 + fraction, exponent - 134);
        if (exponent == 255)
            expected = fraction == 0 ? HUGE_VAL : NAN;
        float value = convert(TENSOR_BF16, bytes);
        if (isnan(expected) ? !isnan(value) : (double)value != copysign(expected, bits & 0x8000 ? -1 : 1))
            fail_msg("%04x: %g", bits, (double)value);
    }
}

static void only_aligned_floats_are_used_in_place(void **state) {
    (void)state;
    _Alignas(float) unsigned char bytes[8] = {0, 0, 0xc0, 0x3f, 0, 0, 0xc0, 0x3f};
    struct tensor t = {.dtype = TENSOR_F32, .count = 1, .bytes = bytes};
    assert_ptr_equal(tensor_in_place(&t), bytes);
    assert_true(convert(TENSOR_F32, bytes) == 1.5f);
    memmove(bytes + 1, bytes, 4);
    t.bytes++;
    assert_null(tensor_in_place(&t));
    assert_true(convert(TENSOR_F32, bytes + 1) == 1.5f);
    t.bytes = bytes;
    t.dtype = TENSOR_BF16;
    assert_null(tensor_in_place(&t));
}

/* ---- files and memory -------------------------------------------------------------------------------------------- */

static void a_file_is_mapped(void **state) {
    (void)state;
    char path[] = "/tmp/offload-safetensors-XXXXXX", why[SAFETENSORS_WHY] = "";
    struct tensor t;
    struct file f = file_of(TWO, 32);
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, f.bytes, f.size), f.size);
    close(fd);
    struct safetensors *s = safetensors_open(path, why);
    unlink(path);
    assert_non_null(s);
    assert_true(safetensors_find(s, "b", &t));
    assert_int_equal(t.bytes[7], 31);
    safetensors_close(s);
    free(f.bytes);
}

static void what_is_not_a_file_is_refused(void **state) {
    (void)state;
    char path[] = "/tmp/offload-safetensors-XXXXXX", why[SAFETENSORS_WHY] = "";
    assert_null(safetensors_open("/tmp", why));
    assert_string_equal(why, "is not a file");
    assert_null(safetensors_open("/nowhere/at/all", why));
    assert_string_equal(why, "cannot be opened: No such file or directory");
    int fd = mkstemp(path);
    close(fd);
    assert_null(safetensors_open(path, why));
    assert_non_null(strstr(why, "cut off"));
    unlink(path);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_null(safetensors_open(path, why));
    assert_string_equal(why, "is not a file");
    unlink(path);
}

static unsigned left; /* allocations of jansson that succeed */

static void *allocate(size_t size) {
    return left == 0 ? NULL : (left--, malloc(size));
}

/* No text of this header has 16 bytes: jansson 2.14 aborts if there is no memory for its buffer to grow. */
static void memory_that_runs_out_is_a_reason(void **state) {
    (void)state;
    char why[SAFETENSORS_WHY];
    struct file f = file_of(TWO, 32);
    struct safetensors *s = NULL;
    unsigned failures = 0;
    json_set_alloc_funcs(allocate, free);
    for (; s == NULL; failures++) {
        left = failures;
        why[0] = '\0';
        s = safetensors_read(f.bytes, f.size, why);
        assert_true(s != NULL || why[0] != '\0');
        assert_true(failures < 1000);
    }
    assert_true(failures > 10);
    safetensors_close(s);
    json_set_alloc_funcs(malloc, free);
    free(f.bytes);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_tensors_of_a_file_are_found),
        cmocka_unit_test(a_file_without_tensors_is_one),
        cmocka_unit_test(a_file_that_is_cut_off_anywhere_is_refused),
        cmocka_unit_test(tensors_of_other_dtypes_are_only_passed_over),
        cmocka_unit_test(headers_that_lie_are_refused),
        cmocka_unit_test(a_header_cannot_be_too_large),
        cmocka_unit_test(a_header_cannot_be_too_deep),
        cmocka_unit_test(all_half_precision_numbers_are_exact),
        cmocka_unit_test(bfloats_are_the_upper_half_of_floats),
        cmocka_unit_test(only_aligned_floats_are_used_in_place),
        cmocka_unit_test(a_file_is_mapped),
        cmocka_unit_test(what_is_not_a_file_is_refused),
        cmocka_unit_test(memory_that_runs_out_is_a_reason),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
