/* symbols.h: the symbol tables and relocations of the program and its libraries. Any process. */
#ifndef OFFLOAD_SYMBOLS_H
#define OFFLOAD_SYMBOLS_H

/* Unmaps their pages, of which the dynamic linker has read some megabytes at the start. They come back from the page
 * cache, a few at a time, if a symbol is looked up later. They are clean and shared, so others have little of that; but
 * it is a fifth of what an idle front end has resident, which is what operators look at, and the kernel's OOM killer. */
void symbols_let_go(void);

#endif
