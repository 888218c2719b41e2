/* onednn.c: see onednn.h. The zygote opens the library and makes products; workers multiply.
 *
 * The library has to be of the version whose headers this file was compiled with: versions 2 and 3 describe matrices in
 * other ways, which is all that the #if are about. */
#include "handlers/embed/onednn.h"

#ifdef __x86_64__
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

#include <oneapi/dnnl/dnnl.h>

#define TEXT(x)      #x
#define VERSIONED(x) "libdnnl.so." TEXT(x)
#define FILE_NAME    VERSIONED(DNNL_VERSION_MAJOR)
#define BEFORE_3     (DNNL_VERSION_MAJOR < 3)

/* ---- the library ------------------------------------------------------------------------------------------------- */

#if BEFORE_3
#define FUNCTIONS_OF_VERSION(F)                                                                                        \
    F(matmul_desc_init)                                                                                                \
    F(memory_desc_init_by_tag)                                                                                         \
    F(primitive_desc_create)
#else
#define FUNCTIONS_OF_VERSION(F)                                                                                        \
    F(matmul_primitive_desc_create)                                                                                    \
    F(memory_desc_create_with_tag)                                                                                     \
    F(memory_desc_destroy)
#endif
#define FUNCTIONS(F)                                                                                                   \
    FUNCTIONS_OF_VERSION(F)                                                                                            \
    F(engine_create)                                                                                                   \
    F(get_effective_cpu_isa)                                                                                           \
    F(memory_create)                                                                                                   \
    F(memory_desc_get_size)                                                                                            \
    F(memory_destroy)                                                                                                  \
    F(memory_set_data_handle)                                                                                          \
    F(primitive_create)                                                                                                \
    F(primitive_desc_destroy)                                                                                          \
    F(primitive_desc_query_md)                                                                                         \
    F(primitive_destroy)                                                                                               \
    F(primitive_execute)                                                                                               \
    F(reorder_primitive_desc_create)                                                                                   \
    F(stream_create)                                                                                                   \
    F(version)

/* dnnl.NAME is dnnl_NAME. */
#define POINTER(name) __typeof__(&dnnl_##name) name;
static struct { FUNCTIONS(POINTER) } dnnl;
static dnnl_engine_t engine;
static dnnl_stream_t stream;
static bool has_amx;

/* POSIX lets a pointer to a function be read through one to an object. */
static bool find(void *library, const char *name, void *function) {
    *(void **)function = dlsym(library, name);
    return *(void **)function != NULL;
}

static bool find_all(void *library) {
    bool all = true;
#define FIND(name) all = all && find(library, "dnnl_" #name, &dnnl.name);
    FUNCTIONS(FIND)
#undef FIND
    return all;
}

/* OpenMP would start a thread for each CPU. dlsym looks into the libraries that this one needs, too. */
static bool keep_to_one_thread(void *library) {
    void (*set_threads)(int count);
    unsigned runtime = dnnl.version()->cpu_runtime;
    if (runtime == DNNL_RUNTIME_OMP && find(library, "omp_set_num_threads", &set_threads)) {
        set_threads(1);
        return true;
    }
    return runtime == DNNL_RUNTIME_SEQ;
}

static bool has(dnnl_cpu_isa_t isa) {
    return (dnnl.get_effective_cpu_isa() & isa) == isa;
}

const char *onednn_open(void) {
    static bool open;
    static char why[200];
    if (open)
        return NULL;
    void *library = dlopen(FILE_NAME, RTLD_NOW | RTLD_LOCAL);
    if (library == NULL) {
        snprintf(why, sizeof why, "oneDNN is not installed here (%.150s)", dlerror());
        return why;
    }
    if (!find_all(library))
        return FILE_NAME " lacks a function";
    if (!keep_to_one_thread(library))
        return FILE_NAME " starts threads";
    if (!has(dnnl_cpu_isa_avx512_core_bf16))
        return "oneDNN does not use AVX512_BF16 here";
    if (dnnl.engine_create(&engine, dnnl_cpu, 0) != dnnl_success ||
        dnnl.stream_create(&stream, engine, dnnl_stream_default_flags) != dnnl_success)
        return "oneDNN has no memory";
    has_amx = has(dnnl_cpu_isa_avx512_core_amx);
    open = true;
    return NULL;
}

bool onednn_has_amx(void) {
    return has_amx;
}

size_t onednn_rows(void) {
    return has_amx ? ONEDNN_MOST_ROWS : ONEDNN_MOST_ROWS / 2;
}

/* ---- matrices ---------------------------------------------------------------------------------------------------- */

/* How a matrix lies in memory. KNOWN is what functions take that only read it. */
#if BEFORE_3
#define KNOWN const dnnl_memory_desc_t *

static KNOWN known(const dnnl_memory_desc_t *layout) {
    return layout;
}

static dnnl_status_t describe(dnnl_memory_desc_t *layout, const dnnl_dims_t dims, dnnl_data_type_t type,
                              dnnl_format_tag_t order) {
    return dnnl.memory_desc_init_by_tag(layout, 2, dims, type, order);
}

static void forget(dnnl_memory_desc_t *layout) {
    (void)layout;
}
#else
#define KNOWN const_dnnl_memory_desc_t

static KNOWN known(const dnnl_memory_desc_t *layout) {
    return *layout;
}

static dnnl_status_t describe(dnnl_memory_desc_t *layout, const dnnl_dims_t dims, dnnl_data_type_t type,
                              dnnl_format_tag_t order) {
    return dnnl.memory_desc_create_with_tag(layout, 2, dims, type, order);
}

static void forget(dnnl_memory_desc_t *layout) {
    if (*layout != NULL)
        dnnl.memory_desc_destroy(*layout);
}
#endif

/* ---- products ---------------------------------------------------------------------------------------------------- */

struct onednn_product {
    dnnl_dim_t outputs, inputs;
    dnnl_primitive_desc_t description;
    dnnl_primitive_t primitive;
    dnnl_memory_t a, weights, bias, out; /* where they are is set when it is known */
};

struct layouts {
    dnnl_memory_desc_t a, weights, bias, out;
};

static dnnl_status_t describe_all(const struct onednn_product *p, struct layouts *l) {
    const dnnl_dim_t rows = (dnnl_dim_t)onednn_rows();
    const dnnl_dims_t a = {rows, p->inputs}, weights = {p->inputs, p->outputs}, bias = {1, p->outputs},
                      out = {rows, p->outputs};
    dnnl_status_t status = describe(&l->a, a, dnnl_bf16, dnnl_ab);
    if (status == dnnl_success)
        status = describe(&l->weights, weights, dnnl_bf16, dnnl_format_tag_any);
    if (status == dnnl_success)
        status = describe(&l->bias, bias, dnnl_f32, dnnl_ab);
    if (status == dnnl_success)
        status = describe(&l->out, out, dnnl_f32, dnnl_ab);
    return status;
}

static dnnl_status_t describe_product(const struct layouts *l, dnnl_primitive_desc_t *out) {
#if BEFORE_3
    dnnl_matmul_desc_t d;
    dnnl_status_t status = dnnl.matmul_desc_init(&d, &l->a, &l->weights, &l->bias, &l->out);
    return status == dnnl_success ? dnnl.primitive_desc_create(out, &d, NULL, engine, NULL) : status;
#else
    return dnnl.matmul_primitive_desc_create(out, engine, l->a, l->weights, l->bias, l->out, NULL);
#endif
}

static KNOWN weights_of(const struct onednn_product *p) {
    return dnnl.primitive_desc_query_md(p->description, dnnl_query_weights_md, 0);
}

static dnnl_status_t make_memories(struct onednn_product *p, const struct layouts *l) {
    dnnl_status_t status = dnnl.memory_create(&p->a, known(&l->a), engine, DNNL_MEMORY_NONE);
    if (status == dnnl_success)
        status = dnnl.memory_create(&p->weights, weights_of(p), engine, DNNL_MEMORY_NONE);
    if (status == dnnl_success)
        status = dnnl.memory_create(&p->bias, known(&l->bias), engine, DNNL_MEMORY_NONE);
    if (status == dnnl_success)
        status = dnnl.memory_create(&p->out, known(&l->out), engine, DNNL_MEMORY_NONE);
    return status;
}

static dnnl_status_t make(struct onednn_product *p) {
    struct layouts l = {0};
    dnnl_status_t status = describe_all(p, &l);
    if (status == dnnl_success)
        status = describe_product(&l, &p->description);
    if (status == dnnl_success)
        status = dnnl.primitive_create(&p->primitive, p->description);
    if (status == dnnl_success)
        status = make_memories(p, &l);
    forget(&l.a), forget(&l.weights), forget(&l.bias), forget(&l.out);
    return status;
}

static const char *text_of(dnnl_status_t status) {
    return status == dnnl_success         ? NULL
           : status == dnnl_out_of_memory ? "no memory"
                                          : "oneDNN cannot multiply matrices of this size";
}

const char *onednn_product_new(uint32_t outputs, uint32_t inputs, struct onednn_product **out) {
    struct onednn_product *p = calloc(1, sizeof *p);
    if (p == NULL)
        return "no memory";
    p->outputs = outputs;
    p->inputs = inputs;
    dnnl_status_t status = make(p);
    if (status == dnnl_success)
        *out = p;
    else
        onednn_product_free(p);
    return text_of(status);
}

void onednn_product_free(struct onednn_product *p) {
    if (p == NULL)
        return;
    dnnl_memory_t memories[] = {p->a, p->weights, p->bias, p->out};
    for (size_t i = 0; i < sizeof memories / sizeof *memories; i++)
        if (memories[i] != NULL)
            dnnl.memory_destroy(memories[i]);
    if (p->primitive != NULL)
        dnnl.primitive_destroy(p->primitive);
    if (p->description != NULL)
        dnnl.primitive_desc_destroy(p->description);
    free(p);
}

size_t onednn_packed_size(const struct onednn_product *p) {
    return dnnl.memory_desc_get_size(weights_of(p));
}

/* ---- packing ----------------------------------------------------------------------------------------------------- */

/* Copies a matrix, from one layout to another. */
static dnnl_status_t reorder(KNOWN from_layout, dnnl_memory_t from, KNOWN to_layout, dnnl_memory_t to) {
    dnnl_primitive_desc_t description = NULL;
    dnnl_primitive_t primitive = NULL;
    dnnl_status_t status =
        dnnl.reorder_primitive_desc_create(&description, from_layout, engine, to_layout, engine, NULL);
    if (status == dnnl_success)
        status = dnnl.primitive_create(&primitive, description);
    const dnnl_exec_arg_t arguments[] = {{DNNL_ARG_FROM, from}, {DNNL_ARG_TO, to}};
    if (status == dnnl_success)
        status = dnnl.primitive_execute(primitive, stream, 2, arguments);
    if (primitive != NULL)
        dnnl.primitive_destroy(primitive);
    if (description != NULL)
        dnnl.primitive_desc_destroy(description);
    return status;
}

const char *onednn_pack(struct onednn_product *p, const uint16_t *weights, const float *bias, void *packed) {
    const dnnl_dims_t dims = {p->inputs, p->outputs};
    dnnl_memory_desc_t layout = {0};
    dnnl_memory_t plain = NULL;
    dnnl_status_t status = describe(&layout, dims, dnnl_bf16, dnnl_ba);
    if (status == dnnl_success)
        status = dnnl.memory_create(&plain, known(&layout), engine, (void *)(uintptr_t)weights);
    if (status == dnnl_success)
        status = dnnl.memory_set_data_handle(p->weights, packed);
    if (status == dnnl_success)
        status = dnnl.memory_set_data_handle(p->bias, (void *)(uintptr_t)bias);
    if (status == dnnl_success)
        status = reorder(known(&layout), plain, weights_of(p), p->weights);
    if (plain != NULL)
        dnnl.memory_destroy(plain);
    forget(&layout);
    return text_of(status);
}

bool onednn_multiply(struct onednn_product *p, const uint16_t *a, float *out) {
    const dnnl_exec_arg_t arguments[] = {
        {DNNL_ARG_SRC, p->a}, {DNNL_ARG_WEIGHTS, p->weights}, {DNNL_ARG_BIAS, p->bias}, {DNNL_ARG_DST, p->out}};
    return dnnl.memory_set_data_handle(p->a, (void *)(uintptr_t)a) == dnnl_success &&
           dnnl.memory_set_data_handle(p->out, out) == dnnl_success &&
           dnnl.primitive_execute(p->primitive, stream, 4, arguments) == dnnl_success;
}
#endif
