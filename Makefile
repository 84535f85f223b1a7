# `make` puts routebpf and what it needs into .venv; every other target does that first, and again only when needed.
#
#   make demo     the main job, on a shipped capture        make lint     ruff and mypy
#   make test     every test (PYTEST_ARGS=... for pytest)   make bench    nanoseconds a packet
#   make clean    take away all that make made
#
# PYTHON=... names the Python to use. EXTRAS=dev,clang brings pip's clang even where the system has one.

.PHONY: all demo test lint bench clean

BIN := .venv/bin
PYTHON ?= $(shell for name in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$name -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$name && break; done)

# A clang that compiles for BPF: the system's, or else the one that pip brings.
comma := ,
EXTRAS ?= dev$(if $(shell clang --print-targets 2>/dev/null | grep -w bpf),,$(comma)clang)
EXTRAS := $(EXTRAS)

INSTALLED := .venv/.installed-$(EXTRAS)
NATIVE := .venv/.native
NATIVE_SOURCES := $(shell find src/routebpf/runtime src/routebpf/datapath -name '*.py' 2>/dev/null)

all: $(NATIVE)

demo: $(NATIVE)
	@mkdir -p build
	$(BIN)/routebpf run examples/drop_smtp.bpf.c --to 10.0.0.0/8 --pcap captures/mail-and-dns.pcapng --write build/out.pcapng

test: $(NATIVE)
	$(BIN)/python -m pytest $(PYTEST_ARGS)

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(NATIVE)
	$(BIN)/routebpf bench

clean:
	rm -rf .venv build src/routebpf/runtime/bitcode

.venv/.python:
	@python='$(PYTHON)'; \
	if [ -z "$$python" ]; then \
	  echo "routebpf needs Python 3.11 or newer. python3 here: `python3 --version 2>&1`. Install a newer one," \
	    "or name it: make PYTHON=/path/to/python3" >&2; exit 1; \
	fi; \
	[ "$$python" = python3 ] || echo "python3 here: `python3 --version 2>&1`. Using $$python: `$$python --version`."; \
	$$python -m venv .venv >/dev/null || { \
	  echo "This Python has no ensurepip: bringing pip into .venv by its own pip."; \
	  $$python -m venv --without-pip .venv && $$python -m pip --quiet --python $(BIN)/python install pip; \
	} || { echo "Cannot make .venv. On Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	@touch $@

$(INSTALLED): .venv/.python pyproject.toml
	@echo "Installing routebpf[$(EXTRAS)] and what it needs into .venv; the first time takes a minute or more."
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[$(EXTRAS)]'
	@touch $@

# The runtime's functions, compiled once for this machine.
$(NATIVE): $(INSTALLED) $(NATIVE_SOURCES)
	$(BIN)/python -m routebpf.runtime.build
	@touch $@
