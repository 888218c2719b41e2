/* attributes.h: what the compiler is to check for us. */
#ifndef OFFLOAD_ATTRIBUTES_H
#define OFFLOAD_ATTRIBUTES_H

/* The caller has to look at the result: it says whether the call did what it is for. */
#define MUST_CHECK __attribute__((warn_unused_result))

#endif
