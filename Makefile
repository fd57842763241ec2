# What the targets need, they set up: a virtual environment, an engine, the runtime images. Each is done once.
#   make demo    the layer exercise, for real, with the AWS CLI
#   make test    everything that can fail
.DEFAULT_GOAL := help
.PHONY: help setup engine emulation images image demo test check bench docs clean
SHELL := /bin/bash
PYTHON ?=
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
TESTS ?= tests
RUNTIMES ?= python3.11
TEST_RUNTIMES ?= python3.11 nodejs22.x provided.al2023

help:  ## Show this
	@awk -F':.*## ' '/^[a-z]+:.*## /{printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP)  ## Make the virtual environment with berth, its dependencies and the tools

$(STAMP): pyproject.toml .ci/venv
	@PYTHON='$(PYTHON)' .ci/venv $(VENV)
	@touch $@

engine:  ## Find a Docker engine, or install and start one
	@$(or $(PYTHON),python3) .ci/engine.py

emulation:  ## Let this machine run arm64 programs too (on arm64: those of x86-64); installs QEMU, as root
	@$(or $(PYTHON),python3) .ci/emulation.py

images: $(STAMP)  ## Build runtime images ahead: what demo and benchmark use (RUNTIMES=… names others)
	@$(BIN)/berth images build $(RUNTIMES)

demo: $(STAMP)  ## A function with a layer, deployed by the AWS CLI, from nothing to its answer
	@examples/layer-demo

test: $(STAMP)  ## Run all tests (TESTS=path narrows them); those in containers need an engine
	@if $(BIN)/python .ci/engine.py; then $(MAKE) --no-print-directory images RUNTIMES='$(TEST_RUNTIMES)'; \
	 elif [ -n "$$CI" ]; then echo "make test: CI requires an engine" >&2; exit 1; \
	 else echo "make test: no engine, so tests in containers are left out"; fi
	@.ci/bubblewrap || [ -z "$$CI" ]
	@$(BIN)/python -m pytest $(TESTS)

check: $(STAMP)  ## Formatting, lint, types, import rules, generated docs
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/python -m pytest -q tests/unit/test_import_rules.py tests/unit/test_docs.py

bench: $(STAMP)  ## Measure against the floor and against AWS's emulator
	@$(BIN)/python .ci/engine.py
	@$(MAKE) --no-print-directory images
	@$(BIN)/python -m benchmarks

docs: $(STAMP)  ## Write the generated parts of the documentation
	@$(BIN)/python docs/generate.py

image: $(STAMP)  ## Build the control plane's own image
	@$(BIN)/python .ci/image.py

clean:  ## Remove what make and the demo left in this folder
	@[ ! -x $(BIN)/berth ] || $(BIN)/berth down --data-dir .demo/data
	@rm -rf .demo $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
