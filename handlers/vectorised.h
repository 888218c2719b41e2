/* vectorised.h: VECTORISED("default", "avx2") before a function makes a copy of it for each of these targets, with the
 * compiler's vectoriser on. One program runs on any x86-64: the loader picks the copy for this CPU. Sanitizers cannot
 * run that early, so with them there is one copy. */
#ifndef OFFLOAD_VECTORISED_H
#define OFFLOAD_VECTORISED_H

#if defined(__x86_64__) && defined(__GLIBC__) && defined(__GNUC__) && !defined(__clang__) &&                           \
    !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define VECTORISED(...) __attribute__((optimize("O3"), target_clones(__VA_ARGS__)))
#elif defined(__GNUC__) && !defined(__clang__)
#define VECTORISED(...) __attribute__((optimize("O3")))
#else
#define VECTORISED(...)
#endif

#endif
