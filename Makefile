# As root, on Debian 12 or 13: `make demo` shows it, `make test` runs every test there is.
#
#   make build                         the native part and the generated files
#   make install DESTDIR=D PREFIX=/usr put a working tree in D (COMPILE=no: without byte code)
#   make compile ROOT=D                byte-compile what is installed in the system in D, with the Python of D
#   make lint | unit | thorough | integration SUITE=bookworm K=expression
#   make soak K=expression TRIES=500   the races of the attack tests, 10,000 tries each where TRIES says nothing else
#   make bench                         pyoci, crun and runc side by side; writes tests/bench/RESULTS.md
#   make integration SUITE=vm          in a virtual machine, what needs a kernel of its own (with K: any of them)
#   make shell SUITE=bookworm          a test machine with pyoci in it, and a shell inside

PREFIX ?= /usr
DESTDIR ?=
PYTHON ?= /usr/bin/python3
COMPILE ?= yes
SUITE ?= trixie
K ?=
export K
TRIES ?= 10000
export PYTHONDONTWRITEBYTECODE = 1

BINDIR = $(PREFIX)/bin
# The only directory on the module path of the runtime; pyoci-init lies in it, beside the module that sends it off.
LIBDIR = $(PREFIX)/lib/pyoci
UNITDIR = $(PREFIX)/lib/systemd
INIT = $(LIBDIR)/$(PACKAGE)/init/pyoci-init
# what --version and features say of it; nothing where this is no checkout
COMMIT := $(shell git describe --always --dirty --abbrev=40 2>/dev/null)
PACKAGE = pyoci_systemd

# A static musl program starts in 0.1 ms and waits in 24 kB; glibc's takes 0.6 ms and 700 kB.
ifeq ($(origin CC),default)
CC := $(or $(shell command -v musl-gcc),cc)
endif
ifneq ($(findstring musl,$(CC)),)
# musl brings no kernel headers; those of the system come last, so that its C library headers never win
KERNEL_HEADERS = -idirafter /usr/include -idirafter /usr/include/$(shell gcc -print-multiarch)
endif
WARNINGS = -Wall -Wextra -Werror
CFLAGS = -std=c17 -Os $(WARNINGS) -static
CPPFLAGS = -Ibuild $(KERNEL_HEADERS)
LAUNCHER = -DPYTHON='"$(PYTHON)"' -DLIBRARY='"$(LIBDIR)"'
SANITIZED = -std=c17 -g -O1 $(WARNINGS) -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all

SOURCE = $(PACKAGE)/init
INIT_SOURCES = $(filter-out %/launcher.c,$(wildcard $(SOURCE)/*.c))
HEADERS = build/ops.h $(wildcard $(SOURCE)/*.h)
VALIDATOR = $(PACKAGE)/spec/validator.py
MODULES = $(VALIDATOR) $(filter-out $(VALIDATOR),$(shell find $(PACKAGE) -name '*.py' -o -name '*.json'))

.PHONY: all build install compile stage demo test lint unit thorough integration soak bench shell clean distclean FORCE
all: build
build: build/pyoci build/pyoci-init $(VALIDATOR)

# Holds what the binaries were built with, and changes only when that does.
build/settings: export SETTINGS = $(CC) $(CFLAGS) $(LAUNCHER)
build/settings: FORCE
	@mkdir -p build
	@echo "$$SETTINGS" | cmp -s - $@ || echo "$$SETTINGS" >$@

build/ops.h: $(PACKAGE)/plan/header.py $(PACKAGE)/plan/ops.py
	@mkdir -p build
	$(PYTHON) -m $(PACKAGE).plan.header $@.new
	mv $@.new $@

build/pyoci: $(SOURCE)/launcher.c build/settings
	$(CC) $(CFLAGS) $(CPPFLAGS) $(LAUNCHER) $(LDFLAGS) -o $@ $<

build/pyoci-init: $(INIT_SOURCES) $(HEADERS) build/settings
	$(CC) $(CFLAGS) $(CPPFLAGS) $(LDFLAGS) -o $@ $(INIT_SOURCES)

# for the tests: the same program, watched by the sanitizers (they exist for glibc only)
build/init-asan: $(INIT_SOURCES) $(HEADERS)
	gcc $(SANITIZED) -Ibuild -o $@ $(INIT_SOURCES)

# for the attack tests: what an image brings
build/evil: tests/integration/evil.c
	@mkdir -p build
	gcc -std=gnu17 -Os $(WARNINGS) -fPIC -fno-builtin -fno-stack-protector -fvisibility=hidden -nostdlib -shared \
	    -Wl,-e,start -Wl,-init=loaded -o $@ $<

build/launcher-asan: $(SOURCE)/launcher.c build/settings
	gcc $(SANITIZED) $(LAUNCHER) -o $@ $<

$(VALIDATOR): $(PACKAGE)/spec/generate.py $(wildcard $(PACKAGE)/spec/schema/*.json)
	$(PYTHON) -m $(PACKAGE).spec.generate $@.new
	mv $@.new $@

install: build
	install -D -m 755 build/pyoci $(DESTDIR)$(BINDIR)/pyoci
	install -D -m 755 build/pyoci-init $(DESTDIR)$(INIT)
	@for module in $(MODULES); do install -D -p -m 644 $$module $(DESTDIR)$(LIBDIR)/$$module || exit 1; done
	@echo 'COMMIT = "$(COMMIT)"' >$(DESTDIR)$(LIBDIR)/$(PACKAGE)/build.py
	@for manager in system user; do \
	    install -D -m 644 -t $(DESTDIR)$(UNITDIR)/$$manager units/$$manager/* units/*.socket || exit 1; done
	install -D -m 644 -t $(DESTDIR)$(UNITDIR)/catalog units/pyoci.catalog
	rm -rf $(DESTDIR)$(LIBDIR)/python3.*
ifeq ($(COMPILE),yes)
	$(PYTHON) -m compileall -q -s '$(DESTDIR)' -p / $(DESTDIR)$(LIBDIR)
	cd $(DESTDIR)$(LIBDIR) && $(PYTHON) -m $(PACKAGE).archive
endif

compile:
	@chroot $(ROOT) $(PYTHON) -m compileall -q $(LIBDIR)
	@chroot $(ROOT) sh -c 'cd $(LIBDIR) && $(PYTHON) -m $(PACKAGE).archive'

# what the test machine gets: the same installation, byte-compiled inside by the machine's own Python
stage: build build/evil
	rm -rf build/stage
	@$(MAKE) --no-print-directory -s install DESTDIR=build/stage PREFIX=/usr PYTHON=/usr/bin/python3 COMPILE=no

demo:
	@$(PYTHON) -m tests.machine.debian
	@$(MAKE) --no-print-directory -s stage
	@$(PYTHON) -m tests.machine.inside $(SUITE) run sh tests/machine/demo.sh

test:
	@$(PYTHON) -m tests.machine.debian
	@$(MAKE) --no-print-directory stage build/init-asan
	@$(PYTHON) -m tests.run lint unit thorough trixie bookworm vm

lint: build
	@$(PYTHON) -m tests.run lint

unit: build
	@$(PYTHON) -m tests.run unit

thorough: stage build/init-asan
	@$(PYTHON) -m tests.run thorough

# every race, or those that K selects; says how far each has come, and ends at the first hit
soak: stage
	SOAK=1 TRIES=$(TRIES) $(PYTHON) -m tests.machine.inside $(SUITE) test -x -s -q -m "race or storm" $(if $(K),-k '$(K)')

integration: stage
	@$(PYTHON) -m tests.run $(SUITE)

bench: stage
	$(PYTHON) -m tests.machine.inside $(SUITE) run python3 -m tests.bench.bench --output /src/tests/bench/RESULTS.md

shell: stage
	@$(PYTHON) -m tests.machine.inside $(SUITE) shell

clean:
	rm -rf build $(VALIDATOR) *.egg-info
	find . -name __pycache__ -prune -exec rm -rf {} +

# also what the tests keep outside the checkout: Debian trees, the Python environment
distclean: clean
	rm -rf "$${PYOCI_CACHE:-/var/cache/pyoci-test}"
