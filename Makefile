# offload: make help

PKG_CONFIG ?= pkg-config
PREFIX ?= /usr/local
DESTDIR ?=
SANITIZE ?=
COVERAGE ?=
V ?=
Q := $(if $(V),,@)
VERSION := $(shell sed -n 's/^## \[\([0-9][^]]*\)\].*/\1/p' CHANGELOG.md 2>/dev/null | head -1)

# One directory per variant, so that a sanitized build never mixes with a plain one.
comma := ,
VARIANT := $(if $(SANITIZE),-$(subst $(comma),-,$(SANITIZE)))$(if $(COVERAGE),-coverage)
BUILD ?= build$(VARIANT)

LIBRARIES := \
	gmp \
	jansson \
	libbsd-overlay \
	libmicrohttpd \
	libsystemd \
	libutf8proc \
	zlib

CFLAGS ?= -O2 -g
WARNINGS := -Wall -Wextra -Werror -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla -Wformat=2 \
	-Wpointer-arith -Wcast-qual -Wundef -Wwrite-strings -Wold-style-definition -Wno-missing-field-initializers
HARDENING := $(if $(SANITIZE),,-D_FORTIFY_SOURCE=2) -fstack-protector-strong -fPIE
override CFLAGS += -std=c11 -D_GNU_SOURCE -I. -DOFFLOAD_VERSION='"$(or $(VERSION),0.0.0)"' $(WARNINGS) $(HARDENING) -pthread \
	$(if $(SANITIZE),-fsanitize=$(SANITIZE) -fno-omit-frame-pointer -fno-sanitize-recover=all) \
	$(if $(COVERAGE),--coverage) $(shell $(PKG_CONFIG) --cflags $(LIBRARIES))
LDFLAGS += -pie -Wl,-z,relro,-z,now -Wl,--as-needed -pthread $(if $(SANITIZE),-fsanitize=$(SANITIZE)) $(if $(COVERAGE),--coverage)
# primesieve and FLINT ship no .pc file in bookworm.
LDLIBS += $(shell $(PKG_CONFIG) --libs $(LIBRARIES)) -lflint -lprimesieve -lmpfr -lm

SOURCES := $(wildcard base/*.c pool/*.c handlers/*.c handlers/host/*.c server/*.c)
MAINS := server/main.c
OBJECTS := $(SOURCES:%.c=$(BUILD)/%.o)
LIBRARY := $(BUILD)/liboffload.a
CLI_OBJECTS := $(patsubst %.c,$(BUILD)/%.o,$(wildcard cli/*.c))
UNIT_TESTS := $(patsubst tests/unit/%.c,$(BUILD)/tests/unit/%,$(wildcard tests/unit/*_test.c))

.PHONY: all
all: $(BUILD)/offloadd $(BUILD)/offload ## build the service and its client

$(BUILD)/offloadd: $(MAINS:%.c=$(BUILD)/%.o) $(LIBRARY)
	@echo '  LD   $@'
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS)

$(BUILD)/offload: $(CLI_OBJECTS) $(BUILD)/base/buf.o
	@echo '  LD   $@'
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(shell $(PKG_CONFIG) --libs libcurl jansson)

$(LIBRARY): $(filter-out $(MAINS:%.c=$(BUILD)/%.o),$(OBJECTS))
	$(Q)rm -f $@ && $(AR) rcs $@ $^

# The API's description is part of the program, in both notations.
$(BUILD)/openapi.json: openapi.yaml
	@mkdir -p $(@D)
	python3 -c 'import json, sys, yaml; json.dump(yaml.safe_load(open("openapi.yaml")), sys.stdout, default=str)' >$@.part
	mv $@.part $@

$(BUILD)/server/assets.o: override CFLAGS += -DASSET_DIR='"$(BUILD)"'
$(BUILD)/server/assets.o: $(BUILD)/openapi.json openapi.yaml

$(BUILD)/%.o: %.c
	@mkdir -p $(@D)
	@echo '  CC   $<'
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<

$(BUILD)/tests/unit/%: tests/unit/%.c $(LIBRARY)
	@mkdir -p $(@D)
	@echo '  LD   $@'
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP $(LDFLAGS) -o $@ $< $(LIBRARY) $(LDLIBS) -lcmocka

-include $(OBJECTS:.o=.d) $(CLI_OBJECTS:.o=.d) $(UNIT_TESTS:=.d)

.PHONY: check
check: $(UNIT_TESTS) ## the unit tests alone
	@for t in $(UNIT_TESTS); do $$t || exit 1; done
