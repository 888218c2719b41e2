/* arena.h: memory for the JSON trees of small bodies, of which the front end parses tens of thousands a second: pieces are
 * cut off one block and given back all at once, when the last of a tree is freed. One thread per process. */
#ifndef OFFLOAD_HOST_ARENA_H
#define OFFLOAD_HOST_ARENA_H

/* Makes jansson take its memory here. Before the first use of jansson, or between two: what malloc gave is still freed. */
void arena_install(void);

/* Between these two, jansson's memory comes from the block while it lasts, and from malloc otherwise. */
void arena_open(void);
void arena_close(void);

#endif
