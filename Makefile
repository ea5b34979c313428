# Every target builds what it needs; `make help` lists them. CI runs these same targets.

PYTHON ?= python3
VENV := .venv
BENCH := .venv-bench
DEMO := .venv-demo
BIN := $(VENV)/bin

RUST := Cargo.toml Cargo.lock $(shell find rust -type f \( -name '*.rs' -o -name Cargo.toml \))
PACKAGE := pyproject.toml README.md $(shell find python -type f \( -name '*.py' -o -name '*.pyi' -o -name py.typed \))

# PyO3's build script asks an interpreter for its version: the environment's own, whatever is first on the path.
$(VENV)/% lint build test test-statistics docs wheel: export PYO3_PYTHON := $(abspath $(BIN)/python)
# An environment of conda beside ours would make maturin ask which one is meant.
unexport CONDA_PREFIX
# From make 4.4 on cargo would take its jobs from make's, which are two where cargo's own are as many as cores.
unexport MAKEFLAGS MFLAGS

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo build build-tests test test-exhaustive test-statistics lint format bench wheel docs clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(DEMO)/.installed  ## train a VAE on real digits, print its bounds, draw a picture
	@mkdir -p build/demo
	$(DEMO)/bin/elbokit fit digits --out build/demo/digits.safetensors --plot build/demo/digits.png
	$(DEMO)/bin/elbokit score build/demo/digits.safetensors digits --out build/demo/scores.csv
	@echo 'The picture is build/demo/digits.png; the bounds of every row are in build/demo/scores.csv.'

# The binding's functions are tested from Python.
RUST_TESTS := cargo test --locked --profile tested --workspace --exclude elbokit-py

# With --jobs 2 the two builds go side by side. The extension is one unit to the compiler, so it takes longest and goes first: the tests get what it leaves.
build: $(VENV)/.built build-tests  ## build the extension and the tests in Rust, which the targets below do by themselves

build-tests:
	nice $(RUST_TESTS) --no-run

test: $(VENV)/.built  ## run the tests of both languages
	$(RUST_TESTS)
	# Fresh memory is filled (by glibc), so that an element of a result that nobody wrote shows.
	MALLOC_PERTURB_=165 $(BIN)/python -m pytest

# Where TestU01 is, and which of its batteries runs: small, crush (an hour) or big (half a day).
TESTU01 ?= /usr/local
CRUSH ?= small

test-exhaustive:  ## hold the elementary functions to their ulps over every float32 there is (minutes)
	cargo test --locked --profile tested -p elbokit-core --test vmath -- --include-ignored --nocapture

test-statistics: $(VENV)/.built  ## run the long batteries on the random numbers, TestU01's too where it is installed
	$(BIN)/python -m pytest -m statistics tests/statistics
	@mkdir -p build
	@if $(CC) -O2 -I$(TESTU01)/include -I/usr/include/testu01 -L$(TESTU01)/lib -o build/testu01 tests/statistics/testu01.c \
		-ltestu01 -lprobdist -lmylib -lm 2> build/testu01.log; then \
		$(BIN)/python tests/statistics/words.py | build/testu01 $(CRUSH) && \
		$(BIN)/python tests/statistics/words.py | build/testu01 $(CRUSH) reversed; \
	else \
		echo 'TestU01 is not in $(TESTU01): its batteries are left out (build/testu01.log says what the compiler missed).'; \
	fi

lint: $(VENV)/.built  ## hold the code to rustfmt, clippy, rustdoc, ruff, mypy and stubtest
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS='-D warnings' cargo doc --locked --no-deps -p elbokit-core
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/python -m mypy.stubtest elbokit._core --mypy-config-file pyproject.toml

format: $(VENV)/.dev  ## lay the code out as lint wants it
	cargo fmt --all
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

bench: $(BENCH)/.installed  ## time the kernels and a training step beside their peers
	$(BENCH)/bin/python benchmarks/run.py

wheel: $(VENV)/.dev  ## build the wheel, one for every Python from 3.10 on, into dist/
	$(BIN)/maturin build --release --locked --strip --compression-level 9 --out dist

docs: $(VENV)/.built  ## run the code in the documents, render the reference into docs/_build/
	$(BIN)/python -m pytest tests/test_docs.py
	$(BIN)/pdoc --docformat numpy --output-directory docs/_build elbokit

clean:  ## remove what the other targets made
	rm -rf target build dist docs/_build $(VENV) $(BENCH) $(DEMO) python/elbokit/_core*.so

# A stamp file stands for an environment in a known state, so that a second call does nothing.

$(VENV)/.dev: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet --group dev
	@touch $@

$(VENV)/.built: $(VENV)/.dev $(RUST)
	PIP_QUIET=1 VIRTUAL_ENV=$(abspath $(VENV)) $(BIN)/maturin develop --release --locked
	@touch $@

$(BENCH)/.installed: $(RUST) $(PACKAGE)
	$(PYTHON) -m venv $(BENCH)
	$(BENCH)/bin/pip install --quiet --upgrade pip
	$(BENCH)/bin/pip install --quiet --group bench .
	@touch $@

$(DEMO)/.installed: $(RUST) $(PACKAGE)
	$(PYTHON) -m venv $(DEMO)
	$(DEMO)/bin/pip install --quiet '.[cli]'
	@touch $@
