/* models.c: the embedding models, for the front end (host.h). */
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
