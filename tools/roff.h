/* roff.h: writes manual pages with the man(7) macros. Both programs that write one use it. They run when offload is
 * built. */
#ifndef OFFLOAD_TOOLS_ROFF_H
#define OFFLOAD_TOOLS_ROFF_H

/* All functions write to stdout. Texts are plain UTF-8; what roff would read as a command is escaped. */
void roff_title(const char *name, int section, const char *manual, const char *summary);
void roff_section(const char *name);
/* A paragraph. A line end is a space, and an empty line begins the next paragraph. */
void roff_paragraph(const char *text);
/* Begins a paragraph below a tag: `bold`, then `rest` (NULL: none). */
void roff_tag(const char *bold, const char *rest);
/* Text within a paragraph. */
void roff_text(const char *text);
void roff_bold(const char *text);

#endif
