/* result.c: the parts of an "embeddings" job -> its result: JSON with numbers or base64, or a .npy file. It runs in
 * workers. */
#include <endian.h>
#include <nettle/base64.h>
#include <stdlib.h>
#include <string.h>

#include "handlers/embed/result.h"
#include "handlers/npy.h"

/* ---- the parts --------------------------------------------------------------------------------------------------- */

static int collect_part(struct call *c, struct bytes part, struct embeddings_rows *rows, uint32_t *found) {
    size_t size = sizeof(struct embed_row) + rows->dimensions * sizeof(float);
    if (part.size % size != 0)
        return call_fail(c, CALL_FAILED, NULL, "a part is damaged");
    for (size_t at = 0; at < part.size; at += size) {
        struct embed_row row;
        const char *bytes = (const char *)part.data + at;
        memcpy(&row, bytes, sizeof row);
        if (row.place >= rows->count || rows->at[row.place] != NULL)
            return call_fail(c, CALL_FAILED, NULL, "a part is damaged");
        rows->at[row.place] = bytes + sizeof row;
        rows->tokens += row.tokens;
        ++*found;
    }
    return 0;
}

int embeddings_read(struct call *c, struct bytes common, const struct bytes *parts, size_t count,
                    struct embeddings_rows *out) {
    struct embed_settings settings;
    uint32_t found = 0;
    *out = (struct embeddings_rows){0};
    if (embed_settings_read(c, common, &settings) == NULL)
        return -1;
    memcpy(out->name, settings.model, sizeof out->name);
    out->model = out->name;
    out->count = settings.texts;
    out->dimensions = settings.dimensions;
    out->encoding = (enum embeddings_encoding)settings.encoding;
    out->at = calloc(settings.texts > 0 ? settings.texts : 1, sizeof *out->at);
    int rc = out->at != NULL ? 0 : call_fail(c, CALL_MEMORY, NULL, "no memory for %u vectors", settings.texts);
    for (size_t i = 0; rc == 0 && i < count; i++)
        rc = collect_part(c, parts[i], out, &found);
    if (rc == 0 && found != settings.texts)
        rc = call_fail(c, CALL_FAILED, NULL, "a part is cut off");
    if (rc != 0)
        embeddings_rows_free(out);
    return rc;
}

void embeddings_rows_free(struct embeddings_rows *rows) {
    free(rows->at);
    rows->at = NULL;
}

/* ---- JSON -------------------------------------------------------------------------------------------------------- */

/* Little-endian floats, whatever this machine is. */
static void write_base64(struct call *c, float *vector, uint32_t dimensions, char *room) {
    size_t size = dimensions * sizeof *vector;
    for (uint32_t i = 0; i < dimensions; i++) {
        uint32_t bits;
        memcpy(&bits, vector + i, sizeof bits);
        bits = htole32(bits);
        memcpy(vector + i, &bits, sizeof bits);
    }
    base64_encode_raw(room, size, (const uint8_t *)vector);
    json_text(c, room, BASE64_ENCODE_RAW_LENGTH(size));
}

int embeddings_write(struct call *c, const struct embeddings_rows *rows, void (*before)(struct call *c, size_t index),
                     void (*after)(struct call *c)) {
    size_t size = rows->dimensions * sizeof(float);
    char *text = malloc(BASE64_ENCODE_RAW_LENGTH(size));
    float *vector = malloc(size);
    int rc = text != NULL && vector != NULL ? 0 : call_fail(c, CALL_MEMORY, NULL, "no memory for a vector");
    for (uint32_t i = 0; rc == 0 && i < rows->count; i++) {
        if (call_cancelled(c)) {
            rc = -1;
            break;
        }
        memcpy(vector, rows->at[i], size);
        if (before != NULL)
            before(c, i);
        if (rows->encoding == EMBEDDINGS_BASE64)
            write_base64(c, vector, rows->dimensions, text);
        else
            json_float_array(c, vector, rows->dimensions);
        if (after != NULL)
            after(c);
    }
    free(text);
    free(vector);
    return rc;
}

void embeddings_write_usage(struct call *c, uint64_t tokens) {
    json_name(c, "usage");
    json_begin_object(c);
    json_name(c, "prompt_tokens");
    json_u64(c, tokens);
    json_name(c, "total_tokens");
    json_u64(c, tokens);
    json_end_object(c);
}

/* ---- the type "embeddings" --------------------------------------------------------------------------------------- */

static int write_npy(struct call *c, const struct embeddings_rows *rows) {
    struct npy npy = {.dtype = NPY_F32, .dimensions = 2, .shape = {rows->count, rows->dimensions}};
    size_t row = rows->dimensions * sizeof(float);
    char *file = malloc(NPY_MAX_WRITTEN + rows->count * row);
    if (file == NULL)
        return call_fail(c, CALL_MEMORY, NULL, "no memory for %u vectors", rows->count);
    npy_write(&npy, file);
    for (uint32_t i = 0; i < rows->count; i++)
        memcpy(file + npy.data + i * row, rows->at[i], row);
    int rc = result_bytes(c, "application/x-npy", file, npy.data + rows->count * row);
    free(file);
    return rc;
}

/* With .npy this is the summary. */
static int write_json(struct call *c, const struct embeddings_rows *rows) {
    int rc = 0;
    json_begin_object(c);
    json_name(c, "model");
    json_text(c, rows->model, strlen(rows->model));
    json_name(c, "dimensions");
    json_u64(c, rows->dimensions);
    if (rows->encoding != EMBEDDINGS_NPY) {
        json_name(c, "embeddings");
        json_begin_array(c);
        rc = embeddings_write(c, rows, NULL, NULL);
        json_end_array(c);
    }
    embeddings_write_usage(c, rows->tokens);
    json_end_object(c);
    return rc;
}

int embeddings_merge(struct call *c, struct bytes common, const struct bytes *parts, size_t count) {
    struct embeddings_rows rows;
    if (embeddings_read(c, common, parts, count, &rows) != 0)
        return -1;
    int rc = write_json(c, &rows);
    if (rc == 0 && rows.encoding == EMBEDDINGS_NPY)
        rc = write_npy(c, &rows);
    embeddings_rows_free(&rows);
    return rc;
}
