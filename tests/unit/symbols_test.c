/* symbols_test.c: base/symbols.c: the pages of the symbol tables are unmapped, and symbols are found all the same. */
#include <dlfcn.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/symbols.h"

/* Resident kB of the mappings that begin a file and can only be read. */
static unsigned long resident_tables(void) {
    char line[512], rights[8];
    unsigned long offset, kb, sum = 0;
    int tables = 0;
    FILE *f = fopen("/proc/self/smaps", "re");
    assert_non_null(f);
    while (fgets(line, sizeof line, f) != NULL) {
        if (sscanf(line, "%*x-%*x %7s %lx", rights, &offset) == 2)
            tables = strcmp(rights, "r--p") == 0 && offset == 0 && strstr(line, ".so") != NULL;
        else if (tables && sscanf(line, "Rss: %lu", &kb) == 1)
            sum += kb;
    }
    fclose(f);
    return sum;
}

static void test_unmaps_tables(void **state) {
    (void)state;
    unsigned long before = resident_tables();
    symbols_let_go();
    unsigned long after = resident_tables();
    assert_true(after < before); /* those that read this came back */
    /* Symbols are looked up again, by name and by the first call of a function. */
    size_t (*length)(const char *);
    *(void **)&length = dlsym(RTLD_DEFAULT, "strlen");
    assert_non_null(length);
    assert_int_equal(length("four"), 4);
    void *library = dlopen("libresolv.so.2", RTLD_NOW);
    assert_non_null(library);
    dlclose(library);
    symbols_let_go(); /* a second time is no harm */
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_unmaps_tables)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
