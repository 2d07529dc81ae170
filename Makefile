# Every target sets up by itself what it needs; `make test` on a fresh checkout is enough.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
WORKERS ?= 2
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input install -c constraints.txt

.DEFAULT_GOAL := help
.PHONY: help setup check test mutants browser-test demo docs bench clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile

setup: .venv/.ready ## a virtual environment with the tested versions of everything

check: .venv/.ready ## format, lint, types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

test: .venv/.ready ## the test suite, in two processes
	OMP_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false $(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup

mutants: .venv/.ready ## break what selects in thousands of places, and see the tests go red; over an hour
	$(PIP) mutmut
	OMP_NUM_THREADS=1 $(BIN)/python tests/mutation.py

browser-test: .venv/.ready ## open the pages that are written in a real browser; needs node 20 and npm, 130 MB
	cd tests/browser && npm ci --no-audit --no-fund && TOKENPRUNE=$(abspath $(BIN)/tokenprune) PYTHON=$(abspath $(BIN)/python) node --test

demo: .venv/.ready ## prune the embedded model and draw what it keeps
	$(BIN)/tokenprune demo

docs: .venv/.ready-docs ## the pages, into site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

bench: .venv/.ready ## every script in benchmarks/; each prints a table
	for script in benchmarks/*.py; do $(BIN)/python $$script || exit 1; done

clean: ## remove the environment and what was built
	rm -rf .venv dist site tests/browser/node_modules tests/browser/screens .pytest_cache .mypy_cache .ruff_cache .hypothesis

.venv/.ready: pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "no python3.11 and no python3 here; say which: make PYTHON=..." >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("$(PYTHON) is Python %d.%d; tokenprune needs 3.11 or newer. Say which: make PYTHON=..." % sys.version_info[:2])'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(PIP) torch
	$(PIP) -e ".[test]"
	@touch $@

.venv/.ready-docs: .venv/.ready
	$(PIP) -e ".[docs]"
	@touch $@
