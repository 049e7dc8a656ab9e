# Wraps the commands that README.md gives for people without make.
#
#   PYTHON=python3.12        the Python (>= 3.11) that makes the environment
#   VENV=.venv               where the environment lives
#   PIP_ARGS="..."           more arguments for pip, such as an index that has another build of torch

PYTHON ?= python3
VENV ?= .venv
PIP_ARGS ?=

BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: help setup demo bench test check

help: ## Say what there is
	@grep -hE '^[a-z]+:.*## ' Makefile | sed -E 's/:.*## /\t/' | expand -t 10
	@echo "Settings: PYTHON=$(PYTHON) VENV=$(VENV) PIP_ARGS=$(PIP_ARGS)"

setup: $(INSTALLED) ## Make the environment, or bring it up to date

demo: $(INSTALLED) ## Train, prune and draw: the whole line in minutes
	$(BIN)/sparsecircuits demo

bench: $(INSTALLED) ## Time operations and training steps against plain PyTorch
	$(BIN)/python benchmarks/ops.py

test: $(INSTALLED) ## Run the tests
	$(BIN)/python -m pytest

check: $(INSTALLED) ## Lint, formatting and types; changes nothing
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python

# Installed again whenever what it depends on has changed.
$(INSTALLED): pyproject.toml constraints.txt CMakeLists.txt $(wildcard src/sparsecircuits/ops/csrc/*)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install $(PIP_ARGS) -c constraints.txt -e '.[dev]'
	@touch $@
