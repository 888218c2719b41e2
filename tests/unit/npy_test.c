/* npy_test.c: the headers of .npy files: those that numpy writes, those that are wrong, and those that lie. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "handlers/npy.h"

/* A file of version 1.0 with that text, and `size` bytes of numbers; the caller frees it. */
static char *file_of(const char *text, uint64_t size, size_t *whole) {
    size_t length = strlen(text);
    char *file = calloc(1, 10 + length + size);
    assert_non_null(file);
    memcpy(file, "\x93NUMPY\1\0", 8);
    file[8] = (char)(length & 0xff);
    file[9] = (char)(length >> 8);
    memcpy(file + 10, text, length);
    *whole = 10 + length + size;
    return file;
}

static void assert_read(const char *text, uint64_t size, struct npy *a) {
    char error[NPY_MAX_ERROR] = "";
    size_t whole;
    char *file = file_of(text, size, &whole);
    if (npy_read(file, whole, whole, a, error) != 0)
        fail_msg("%s: %s", text, error);
    assert_int_equal(a->data, whole - size);
    free(file);
}

static void assert_refused(const char *text, uint64_t size, const char *words) {
    char error[NPY_MAX_ERROR] = "";
    struct npy a;
    size_t whole;
    char *file = file_of(text, size, &whole);
    assert_int_equal(npy_read(file, whole, whole, &a, error), -1);
    if (strstr(error, words) == NULL)
        fail_msg("%s: %s", text, error);
    free(file);
}

static void numpys_own_headers_are_read(void **state) {
    (void)state;
    struct npy a;
    assert_read("{'descr': '<f8', 'fortran_order': False, 'shape': (3, 4), }     \n", 96, &a);
    assert_int_equal(a.dtype, NPY_F64);
    assert_false(a.swapped);
    assert_false(a.fortran);
    assert_int_equal(a.dimensions, 2);
    assert_int_equal(a.shape[0], 3);
    assert_int_equal(a.shape[1], 4);
    assert_int_equal(a.count, 12);
    assert_read("{'descr': '>i2', 'fortran_order': True, 'shape': (5,), }\n", 10, &a);
    assert_int_equal(a.dtype, NPY_I16);
    assert_true(a.swapped && a.fortran);
    assert_read("{'descr': '|b1', 'fortran_order': False, 'shape': (), }\n", 1, &a);
    assert_int_equal(a.dtype, NPY_BOOL);
    assert_int_equal(a.count, 1);
    assert_int_equal(a.dimensions, 0);
    assert_read("{'descr': '<u4', 'fortran_order': False, 'shape': (7, 0, 2), }\n", 0, &a);
    assert_int_equal(a.count, 0);
    assert_read("{\"shape\":(3L,4L,),\"fortran_order\":False,\"descr\":\"|u1\"}", 12, &a); /* Python 2 */
    assert_int_equal(a.count, 12);
}

static void all_versions_have_their_lengths(void **state) {
    (void)state;
    const char *text = "{'descr': '<i4', 'fortran_order': False, 'shape': (2,), }\n";
    char error[NPY_MAX_ERROR];
    struct npy a;
    for (char version = 0; version <= 4; version++) {
        char file[128] = "\x93NUMPY";
        size_t start = version == 1 ? 10 : 12;
        file[6] = version;
        file[8] = (char)strlen(text);
        memcpy(file + start, text, strlen(text));
        size_t size = start + strlen(text) + 8;
        bool known = version >= 1 && version <= 3;
        assert_int_equal(npy_read(file, size, size, &a, error), known ? 0 : -1);
        if (known)
            assert_int_equal(a.data, size - 8);
        else
            assert_non_null(strstr(error, "version"));
        for (size_t cut = 0; known && cut < size; cut++)
            assert_int_equal(npy_read(file, cut, cut, &a, error), -1);
    }
    char huge[16] = "\x93NUMPY\2\0\xff\xff\xff\xff";
    assert_int_equal(npy_read(huge, sizeof huge, UINT64_C(1) << 40, &a, error), -1);
    assert_non_null(strstr(error, "65536"));
}

static void other_dtypes_are_named(void **state) {
    (void)state;
    static const char *const some[][2] = {{"'<c16'", "complex dtype '<c16'"},
                                          {"'|O'", "object dtype '|O'"},
                                          {"'|S5'", "string dtype '|S5'"},
                                          {"'<U5'", "string dtype"},
                                          {"'|V8'", "structured"},
                                          {"[('a', '<f8')]", "structured dtype [('a'"},
                                          {"'<M8[ns]'", "time dtype"},
                                          {"'<f16'", "unknown dtype"},
                                          {"'<i3'", "unknown dtype"},
                                          {"'f'", "unknown dtype"},
                                          {"''", "unknown dtype"},
                                          {"'<f88'", "unknown dtype"},
                                          {"'<'", "unknown dtype"},
                                          {"'\x01\xff'", "unknown dtype '"},
                                          {"8", "not a string"},
                                          {"'<f8", "unknown dtype"},
                                          {"'\\x3cf8'", "not a string"}};
    for (size_t i = 0; i < sizeof some / sizeof some[0]; i++) {
        char text[200];
        snprintf(text, sizeof text, "{'descr': %s, 'fortran_order': False, 'shape': (2,), }\n", some[i][0]);
        assert_refused(text, 16, some[i][1]);
    }
}

static void texts_that_are_wrong_are_refused(void **state) {
    (void)state;
    assert_refused("", 0, "not a dict");
    assert_refused("{'descr': '<f8', 'fortran_order': False, 'shape': (2,)", 16, "not a dict");
    assert_refused("['descr', '<f8']", 0, "not a dict");
    assert_refused("{'descr' '<f8'}", 0, "not a dict");
    assert_refused("{'descr': '<f8' 'fortran_order': False, 'shape': (2,)}", 16, "not a dict");
    assert_refused("{'descr': '<f8', 'fortran_order': False}", 0, "no 'shape'");
    assert_refused("{'fortran_order': False, 'shape': (2,)}", 0, "no 'descr'");
    assert_refused("{'descr': '<f8', 'shape': (2,)}", 16, "no 'fortran_order'");
    assert_refused("{'descr': '<f8', 'descr': '<f8', 'fortran_order': False, 'shape': (2,)}", 16, "twice");
    assert_refused("{'descr': '<f8', 'fortran_order': False, 'shape': (2,), 'x': 1}", 16, "unknown key 'x'");
    assert_refused("{'descr': '<f8', 'fortran_order': 0, 'shape': (2,)}", 16, "neither True nor False");
    assert_refused("{'descr': '<f8', 'fortran_order': False, 'shape': (2,)} x", 16, "behind the dict");
    assert_refused("{'descr': '<f8', 'fortran_order': False, 'shape': 2}", 16, "not a tuple");
    assert_refused("{'descr': '<f8', 'fortran_order': False, 'shape': (2)}", 16, "not a tuple");
    assert_refused("{'descr': '<f8', 'fortran_order': False, 'shape': [2,]}", 16, "not a tuple");
    assert_refused("{'descr': '<f8', 'fortran_order': False, 'shape': (2 2)}", 32, "without commas");
    assert_refused("{'descr': '<f8', 'fortran_order': False, 'shape': (,)}", 8, "something else");
    assert_refused("{'descr': '<f8', 'fortran_order': False, 'shape': (2.0,)}", 16, "");
    assert_refused("{'descr': '<f8', 'fortran_order': False, 'shape': (-2,)}", 16, "negative");
    assert_refused("{'descr': '<f8', 'fortran_order': False, 'shape': (True,)}", 8, "something else");
    assert_refused("{'descr': '<f8', 'fortran_order': False, 'shape': (18446744073709551616,)}", 8, "something else");
}

static void shapes_that_lie_are_refused(void **state) {
    (void)state;
    assert_refused("{'descr': '<f8', 'fortran_order': False, 'shape': (3, 4)}", 95, "96 bytes, but 95 bytes");
    assert_refused("{'descr': '<f8', 'fortran_order': False, 'shape': (3, 4)}", 97, "96 bytes, but 97 bytes");
    assert_refused("{'descr': '<f8', 'fortran_order': False, 'shape': ()}", 0, "8 bytes, but 0 bytes");
    assert_refused("{'descr': '|u1', 'fortran_order': False, 'shape': (4294967296, 4294967296)}", 0, "2^64");
    assert_refused("{'descr': '<f8', 'fortran_order': False, 'shape': (2305843009213693952,)}", 0, "2^64");
    assert_refused("{'descr': '<f8', 'fortran_order': False, 'shape': (4294967296, 4294967296, 0)}", 1,
                   "0 bytes, but 1");
    char text[400] = "{'descr': '|u1', 'fortran_order': False, 'shape': (";
    for (int i = 0; i < NPY_MAX_DIMENSIONS + 1; i++)
        strcat(text, "1, ");
    strcat(text, ")}");
    assert_refused(text, 1, "more than 32 dimensions");
}

static void what_is_written_reads_the_same(void **state) {
    (void)state;
    for (int dtype = 0; dtype < NPY_DTYPES; dtype++) {
        for (unsigned dimensions = 0; dimensions <= NPY_MAX_DIMENSIONS; dimensions++) {
            struct npy a = {.dtype = (enum npy_dtype)dtype, .fortran = dimensions % 2 == 1, .dimensions = dimensions},
                       b;
            a.swapped = dimensions % 3 == 0 && npy_size(a.dtype) > 1;
            for (unsigned i = 0; i < dimensions; i++)
                a.shape[i] = i % 2 == 0 ? UINT64_MAX : 0; /* the longest texts */
            a.count = dimensions == 0 ? 1 : 0;
            if (dimensions == 1)
                a.shape[0] = 0;
            char file[NPY_MAX_WRITTEN + 8] = {0}, error[NPY_MAX_ERROR];
            npy_write(&a, file);
            assert_int_equal(a.data % 64, 0);
            assert_true(a.data <= NPY_MAX_WRITTEN);
            assert_int_equal(file[a.data - 1], '\n');
            uint64_t size = a.data + a.count * npy_size(a.dtype);
            if (npy_read(file, size, size, &b, error) != 0)
                fail_msg("%s: %s", file + 10, error);
            assert_memory_equal(&a, &b, sizeof a);
        }
    }
}

static void dtypes_have_several_names(void **state) {
    (void)state;
    char error[NPY_MAX_ERROR];
    struct npy a = {0};
    static const char *const names[] = {"float64", "f8", "<f8", "=f8"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        assert_int_equal(npy_read_dtype(names[i], strlen(names[i]), &a, error), 0);
        assert_int_equal(a.dtype, NPY_F64);
        assert_false(a.swapped);
    }
    assert_int_equal(npy_read_dtype(">u2", 3, &a, error), 0);
    assert_true(a.dtype == NPY_U16 && a.swapped);
    assert_int_equal(npy_read_dtype("complex64", 9, &a, error), -1);
    assert_non_null(strstr(error, "complex"));
    assert_int_equal(npy_read_dtype("float", 5, &a, error), -1);
    assert_int_equal(npy_read_dtype("", 0, &a, error), -1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numpys_own_headers_are_read), cmocka_unit_test(all_versions_have_their_lengths),
        cmocka_unit_test(other_dtypes_are_named),      cmocka_unit_test(texts_that_are_wrong_are_refused),
        cmocka_unit_test(shapes_that_lie_are_refused), cmocka_unit_test(what_is_written_reads_the_same),
        cmocka_unit_test(dtypes_have_several_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
