/* roff.h: what both programs that write manual pages need of the man(7) macros. Run when the programs are built. */
#ifndef OFFLOAD_TOOLS_ROFF_H
#define OFFLOAD_TOOLS_ROFF_H

/* All write to stdout. Texts are plain UTF-8; what roff would read as a command is escaped. */
void roff_title(const char *name, int section, const char *manual, const char *summary);
void roff_section(const char *name);
/* A paragraph; line ends are spaces, and an empty line begins a new one. */
void roff_paragraph(const char *text);
/* A paragraph that is indented below its tag: the first word in bold, the rest (NULL: none) as it is. */
void roff_tag(const char *bold, const char *rest);
void roff_text(const char *text);
void roff_bold(const char *text);

#endif
