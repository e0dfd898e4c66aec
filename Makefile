# Two commands. Each sets up .venv first; they need Python 3.11+, Rust and a package registry, and no GPU:
#
#   make demo     text -> tokenizer -> shards -> a small GPT that writes, in about a minute of training
#   make test     all checks: format, lints, types, Rust, Python, documentation, a quick benchmark
#
# Two variables:
#
#   PYTHON=python3.13                    the interpreter that .venv is made with
#   TORCH='torch --index-url https://download.pytorch.org/whl/cpu'
#                                        what pip is told to install as torch; this one is small and runs on the CPU only

VENV ?= .venv
TORCH ?= torch
PYTHON ?= $(firstword $(foreach name,python3 python3.14 python3.13 python3.12 python3.11,$(shell \
	$(name) -c 'import sys; sys.version_info >= (3, 11) and print("$(name)")' 2>/dev/null)))

RUN := $(VENV)/bin/python
SOURCES := pyproject.toml Cargo.toml Cargo.lock $(shell find rust -name '*.rs' -o -name Cargo.toml -o -path '*/data/*')
# The compiled extension lies in the source tree; where someone has deleted it, an installation that looks fresh is not.
MISSING_EXTENSION := $(if $(wildcard python/gptbpe/_core*.so),,always)

step = @printf '\n== %s  [%s]\n' '$(1)' "$$(date +%H:%M:%S)"

.PHONY: demo test format lint types test-rust throughput test-python docs clean always
.NOTPARALLEL:

demo: $(VENV)/installed-model
	$(VENV)/bin/gptbpe demo

test: format $(VENV)/installed-dev lint types test-rust throughput test-python docs

format:
	$(call step,format)
	@command -v cargo >/dev/null || { echo "make: no cargo found; install Rust from https://rustup.rs and run this again" >&2; exit 1; }
	cargo fmt --all --check

lint: $(VENV)/installed-dev
	$(call step,lints)
	$(RUN) -m ruff format --check .
	$(RUN) -m ruff check .
	cargo clippy --locked --workspace --all-targets -- -D warnings

types: $(VENV)/installed-dev
	$(call step,types)
	$(RUN) -m mypy
	$(RUN) -m mypy.stubtest gptbpe._core --mypy-config-file pyproject.toml

# The benches run once each here, untimed: every one of them checks its answer before it would be timed.
test-rust:
	$(call step,Rust tests)
	cargo test --locked --package gptbpe-core --package gptbpe-benches --lib --benches
	cargo test --locked --package gptbpe-core --package gptbpe-benches --doc
	RUSTDOCFLAGS='-D warnings' cargo doc --locked --no-deps --package gptbpe-core

throughput: $(VENV)/installed-dev
	$(call step,quick throughput; a table to look at; only equality of the ids can fail it)
	$(RUN) -m pytest benches --quiet --capture=no --benchmark-quiet -p no:cacheprovider

test-python: $(VENV)/installed-dev
	$(call step,Python tests and doctests)
	$(RUN) -m pytest --numprocesses 2 --dist worksteal --doctest-modules python tests

docs: $(VENV)/installed-dev
	$(call step,documentation site: docs/_build/index.html)
	$(RUN) -m sphinx -q -W --keep-going -b html docs docs/_build

$(VENV)/installed-%: $(SOURCES) $(MISSING_EXTENSION) | $(VENV)/bin/python
	$(call step,install $(TORCH)$(if $(findstring whl/cpu,$(TORCH)),,: on Linux about 2.8 GB to download; the first lines of Makefile name a build of 0.2 GB))
	$(RUN) -m pip install $(TORCH)
	$(call step,build the extension and install with extra "$*"; the first build takes a minute or more)
	$(RUN) -m pip install --editable '.[$*]'
	@touch $@

$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "make: no Python 3.11 or newer found; install one, or name it: make $(MAKECMDGOALS) PYTHON=/path/to/python3" >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "make: $(PYTHON) is not Python 3.11 or newer; name one that is: make $(MAKECMDGOALS) PYTHON=/path/to/python3" >&2; exit 1; }
	@command -v cargo >/dev/null || { echo "make: no cargo found; install Rust from https://rustup.rs and run this again" >&2; exit 1; }
	$(call step,make $(VENV) with $(PYTHON))
	@"$(PYTHON)" -m venv $(VENV) || { rm -rf $(VENV); exit 1; }

# Keeps target/: what cargo built is right or is rebuilt.
clean:
	rm -rf $(VENV) python/gptbpe/_core*.so docs/_build demo runs .pytest_cache .mypy_cache .ruff_cache .hypothesis
