/* models.c: the embedding models, for the front end and the log (host.h). */
#include "base/log.h"
#include "handlers/host/host.h"
#include "handlers/models.h"

void host_find_models(void) {
    if (embeddings_find_models() != 0)
        return; /* the zygote finds that out, too, and says so */
}

bool host_model(size_t i, struct host_model *out) {
    size_t count;
    const struct embeddings_model *all = embeddings_models(&count);
    if (i >= count)
        return false;
    *out = (struct host_model){all[i].name, all[i].created_s, all[i].owner};
    return true;
}

static void log_skipped(const char *name) {
    LOG(LOG_WARN, "model_folder_skipped", LOG_STR("folder", name),
        LOG_STR("why", "it has neither a config.json nor a modules.json"));
}

void host_log_models(void) {
    size_t count;
    embeddings_skipped(log_skipped);
    const struct embeddings_model *all = embeddings_models(&count);
    for (size_t i = 0; i < count; i++)
        if (all[i].kernel != NULL)
            LOG(LOG_INFO, "model_loaded", LOG_STR("model", all[i].name), LOG_STR("precision", all[i].precision),
                LOG_STR("kernel", all[i].kernel));
}
