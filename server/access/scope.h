/* scope.h: what a key can be for. Part of access.h. */
#ifndef OFFLOAD_ACCESS_SCOPE_H
#define OFFLOAD_ACCESS_SCOPE_H

#define ACCESS_MAX_NAME 64 /* characters of the name of a key */

enum access_scope {
    ACCESS_SUBMIT = 1, /* new jobs; to cancel and delete its own */
    ACCESS_READ = 2,   /* its own jobs, the types, the metrics */
    ACCESS_ADMIN = 4   /* all of that, and everybody's jobs */
};

#endif
