/* embeddings_openai.c: the hidden type "openai-embeddings": POST /v1/embeddings. Its parameters and its result are those
 * of OpenAI's API (openapi.yaml of openai/openai-openapi, CreateEmbeddingRequest). What lies between them is
 * embeddings.c's. It runs in workers. */
#include <string.h>

#include "handlers/embed/result.h"
#include "handlers/embed/run.h"
#include "handlers/embeddings.h"

enum { MAX_TEXTS = 2048, MAX_TOKENS = 300000 }; /* of one request, as OpenAI's */

static const char *const encoding_choices[] = EMBEDDINGS_ENCODINGS;

static int openai_plan(struct call *c, const struct params *p) {
    struct embeddings_request request = {.unknown_model = CALL_NOT_FOUND,
                                         .encoding = (enum embeddings_encoding)param_choice(p, "encoding_format"),
                                         .max_texts = MAX_TEXTS,
                                         .max_tokens = MAX_TOKENS};
    request.model = param_text(p, "model", &request.model_size);
    if (param_given(p, "dimensions") && !param_i64(p, "dimensions", &request.dimensions))
        request.dimensions = INT64_MAX; /* more than any model has */
    return embeddings_plan_request(c, p, &request);
}

static void before_vector(struct call *c, size_t index) {
    static const char object[] = "embedding";
    json_begin_object(c);
    json_name(c, "object");
    json_text(c, object, strlen(object));
    json_name(c, "index");
    json_u64(c, index);
    json_name(c, "embedding");
}

static int openai_merge(struct call *c, struct bytes common, const struct bytes *parts, size_t count) {
    static const char object[] = "list";
    struct embeddings_rows rows;
    if (embeddings_read(c, common, parts, count, &rows) != 0)
        return -1;
    json_begin_object(c);
    json_name(c, "object");
    json_text(c, object, strlen(object));
    json_name(c, "data");
    json_begin_array(c);
    int rc = embeddings_write(c, &rows, before_vector, json_end_object);
    json_end_array(c);
    json_name(c, "model");
    json_text(c, rows.model, strlen(rows.model));
    embeddings_write_usage(c, rows.tokens);
    json_end_object(c);
    embeddings_rows_free(&rows);
    return rc;
}

static const struct param_spec openai_params[] = {
    {.name = "input",
     .kind = PARAM_TEXTS,
     .flags = PARAM_REQUIRED | PARAM_TOKENS,
     .help = "a text, or a list of up to 2048 texts; or token ids, likewise"},
    {.name = "model", .kind = PARAM_TEXT, .flags = PARAM_REQUIRED, .help = "one of GET /v1/models"},
    {.name = "encoding_format",
     .kind = PARAM_ENUM,
     .choices = encoding_choices,
     .fallback = "\"float\"",
     .help = "float: arrays of numbers; base64: strings of little-endian 32-bit floats"},
    {.name = "dimensions", .kind = PARAM_INTEGER, .min = "1", .help = "how many leading dimensions to keep"},
    {.name = "user", .kind = PARAM_TEXT, .help = "is not used"},
    {0}};

const struct handler handler_embeddings_openai = {.abi = HANDLER_ABI,
                                                  .name = "openai-embeddings",
                                                  .summary = "Answer POST /v1/embeddings",
                                                  .flags = HANDLER_HIDDEN | HANDLER_JOINS,
                                                  .params = openai_params,
                                                  .plan = openai_plan,
                                                  .run = embeddings_run,
                                                  .run_batch = embeddings_run_batch,
                                                  .merge = openai_merge,
                                                  .counters = embeddings_counters,
                                                  .plan_is = "tokenize",
                                                  .run_is = "encode"};
