/* types.c: the descriptions of job types, as a zygote that is out of control can send them (handlers/host/described.c), and
 * the schemas from which tables are made (table_schema.c). What was taken is used, as the front end does it.
 *
 * The first byte says which of the two the rest is. */
#include <stdlib.h>

#include "handlers/host/host.h"
#include "handlers/host/registry.h"
#include "tests/fuzz/input.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* All that is there can be shown, and a job of it be submitted. */
static void use_types(void) {
    struct buf out = {0}, body = {0};
    for (size_t i = 0; i < host_count(); i++) {
        struct submission s;
        struct fault fault = {0};
        MUST(host_name(i) != NULL);
        host_describe(i, &out);
        host_describe_submission(i, &out);
        buf_clear(&body);
        buf_printf(&body, "{\"type\":\"%s\",\"params\":{\"n\":1}}", host_name(i));
        int rc = submission_parse(body.data, body.size, 64, 0, &s, &fault);
        MUST((rc == 0) == (fault.json.size == 0) && (rc != 0 || host_type(s.type) != NULL));
        submission_deinit(&s);
        fault_deinit(&fault);
    }
    buf_deinit(&out);
    buf_deinit(&body);
}

static void take_types(const char *json, size_t size) {
    struct buf error = {0}, before = {0}, after = {0};
    host_init(false);
    int rc = host_take_described(json, size, &error);
    MUST(rc == 0 || rc == HOST_RENUMBERED || (rc == -1 && error.size > 0));
    use_types();
    host_describe_added(&before);
    if (rc == 0) { /* what was taken would be taken again */
        host_init(false);
        MUST(host_take_described(before.data, before.size, &error) == 0);
        host_describe_added(&after);
        MUST(after.size == before.size && memcmp(after.data, before.data, after.size) == 0);
    }
    MUST(host_find("primes") == 0);
    buf_deinit(&error);
    buf_deinit(&before);
    buf_deinit(&after);
}

static void make_table(const char *json, size_t size) {
    struct host_table t;
    struct params_table table;
    struct buf error = {0};
    struct handler h = {.abi = HANDLER_ABI, .name = "t", .summary = ""};
    int rc = host_table_from_schema(json, size, false, &t, &error);
    MUST((rc == 0) == (error.size == 0));
    if (rc == 0) {
        h.params = t.specs;
        h.flags = t.flags;
        rc = params_table_init(&table, &h, &error); /* a name can be one that a parameter cannot have */
        MUST((rc == 0) == (error.size == 0));
    }
    host_table_deinit(&t);
    buf_deinit(&error);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size == 0)
        return 0;
    char *copy = malloc(size); /* so that a sanitizer sees its end */
    MUST(copy != NULL);
    memcpy(copy, data + 1, size - 1);
    if (data[0] % 2 == 0)
        take_types(copy, size - 1);
    else
        make_table(copy, size - 1);
    free(copy);
    return 0;
}
