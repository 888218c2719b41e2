/* attributes.h: rules that the compiler checks for us. */
#ifndef OFFLOAD_ATTRIBUTES_H
#define OFFLOAD_ATTRIBUTES_H

/* The caller must look at the result, because it says whether the call was successful. */
#define MUST_CHECK __attribute__((warn_unused_result))

#endif
