/* assets.c: see assets.h. Front end. The .incbin of the assembler reads the files; ASSET_DIR is where the build made
 * them. */
#include "server/api/assets.h"

#define INCLUDE_FILE(name, file)                                                                                       \
    __asm__(".section .rodata\n"                                                                                       \
            ".global " #name "\n.global " #name "_end\n" #name ":\n.incbin \"" file "\"\n" #name "_end:\n.byte 0\n"    \
            ".previous\n")

INCLUDE_FILE(asset_openapi_yaml, "openapi.yaml");
INCLUDE_FILE(asset_openapi_json, ASSET_DIR "/openapi.json");
