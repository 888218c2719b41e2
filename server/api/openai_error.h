/* openai_error.h: OpenAI's errors, {"error": {"message", "type", "param", "code"}}, made of problem documents. `code` is
 * that of the problem, but model_not_found if there is no such model. Front end. */
#ifndef OFFLOAD_API_OPENAI_ERROR_H
#define OFFLOAD_API_OPENAI_ERROR_H

#include "server/api/server.h"

http_problem_writer openai_write_error;

#endif
