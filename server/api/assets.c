/* assets.c: see assets.h. Front end. The .incbin of the assembler reads the files; ASSET_DIR is where the build made
 * them. */
#include "server/api/assets.h"

#define FILE_AT(label, file) ".global " #label "\n" #label ":\n.incbin \"" file "\"\n"
#define END_AT(label)        ".global " #label "\n" #label ":\n.byte 0\n"
#define SECTION(text)        __asm__(".section .rodata\n" text ".previous\n")

SECTION(FILE_AT(asset_openapi_yaml, "openapi.yaml") END_AT(asset_openapi_yaml_end));
SECTION(FILE_AT(asset_openapi_json, ASSET_DIR "/openapi.json")
            FILE_AT(asset_openapi_json_rest, ASSET_DIR "/openapi.json.end") END_AT(asset_openapi_json_end));
