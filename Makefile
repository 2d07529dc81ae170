# Every target sets up by itself what it needs; `make test` on a fresh checkout is enough.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
WORKERS ?= 2
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input install -c constraints.txt
FLOOR := .venv-floor
FLOOR_PIP := $(FLOOR)/bin/python -m pip --disable-pip-version-check --no-input install -c $(FLOOR)/constraints.txt
FLOOR_TESTS := tests/families tests/attach tests/in_llm tests/cues tests/inspection tests/test_contract.py

.DEFAULT_GOAL := help
.PHONY: help setup check test floor-test mutants browser browser-test demo docs bench clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile

setup: .venv/.ready ## a virtual environment with the tested versions of everything

check: .venv/.ready ## format, lint, types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

test: .venv/.ready ## the test suite, in two processes
	OMP_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false $(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup

floor-test: $(FLOOR)/.ready ## what rests on transformers, under the oldest release of it that is promised
	OMP_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false $(FLOOR)/bin/python -m pytest -n $(WORKERS) --dist loadgroup $(FLOOR_TESTS)

mutants: .venv/.ready ## break what selects in thousands of places, and see the tests go red; over an hour
	$(PIP) mutmut
	OMP_NUM_THREADS=1 $(BIN)/python tests/mutation.py

browser: ## the browser that pages are opened in; needs node 20 and npm, 130 MB
	cd tests/browser && npm ci --no-audit --no-fund

browser-test: .venv/.ready browser ## open the pages that are written in a real browser
	cd tests/browser && TOKENPRUNE=$(abspath $(BIN)/tokenprune) PYTHON=$(abspath $(BIN)/python) node --test

demo: .venv/.ready ## prune the embedded model and draw what it keeps
	$(BIN)/tokenprune demo

docs: .venv/.ready-docs ## the pages, into site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

bench: .venv/.ready ## every script in benchmarks/; each prints a table
	for script in benchmarks/*.py; do $(BIN)/python $$script || exit 1; done

clean: ## remove the environment and what was built
	rm -rf .venv $(FLOOR) dist site tests/browser/node_modules tests/browser/screens .pytest_cache .mypy_cache .ruff_cache .hypothesis

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

# The constraints of constraints.txt, with the transformers that pyproject.toml names as the oldest.
$(FLOOR)/.ready: .venv/.ready
	test -x $(FLOOR)/bin/python || $(BIN)/python -m venv $(FLOOR)
	oldest=$$(sed -n 's/^ *"transformers>=\([0-9.]*\)",$$/\1/p' pyproject.toml) && \
		sed "s/^transformers==.*/transformers==$$oldest.0/" constraints.txt > $(FLOOR)/constraints.txt
	$(FLOOR_PIP) torch
	$(FLOOR_PIP) -e ".[test]"
	@touch $@
