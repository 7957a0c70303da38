# The commands of this project. `make` alone lists them.
PYTHON ?= $(shell command -v python3.11 || command -v python3 || echo python3)
VENV := .venv
BIN := $(VENV)/bin
RUN_STAMP := $(VENV)/.stamp-run
DEV_STAMP := $(VENV)/.stamp-dev
WORDS_STAMP := $(VENV)/.stamp-words
LIVE_STAMP := $(VENV)/.stamp-decision
TWIN_STAMP := $(VENV)/.stamp-replay
KERNEL := $(wildcard src/fabrique/core/admission/*.py src/fabrique/core/admission/kernels/fast/*.py)
WORDS := $(wildcard src/fabrique/language/locale/*/LC_MESSAGES/*.po)
CODE := src tests tools

.DEFAULT_GOAL := help
.PHONY: help env env-dev up slurm check test slurm-test soak lint types bench docs lock

help: ## list these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

env: $(RUN_STAMP) $(WORDS_STAMP) $(LIVE_STAMP) ## make .venv with all that running needs

env-dev: env $(DEV_STAMP) $(TWIN_STAMP) ## the same, with what testing needs

up: env ## open a hub: HUB= (an id or a file), PORT=, FABRIQUE_HOME=; stays in the foreground
	@exec $(BIN)/fabrique up $${HUB:+--hub "$$HUB"} $${PORT:+--port "$$PORT"}

slurm: env ## try it on a Slurm: a whole cluster on this machine with a hub on it; Ctrl-C stops both
	@exec $(BIN)/python tools/slurm_demo.py

check: env-dev ## the quick part of test: style, types, floors, tests without database or browser
	@exec $(BIN)/python tools/run_tests.py check

test: env-dev ## every test, on SQLite and on a private PostgreSQL; installs what it needs where it may
	@exec $(BIN)/python tools/run_tests.py test

slurm-test: env-dev ## every test on a real Slurm; installs what it needs where it may
	@exec $(BIN)/python tools/run_tests.py slurm-test

soak: env-dev ## the long tests alone: thousands of crashes, hours of load
	@exec $(BIN)/python tools/run_tests.py soak

lint: env-dev ## style and floors
	$(BIN)/ruff check $(CODE)
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/lint-imports

types: env-dev ## mypy, strict
	$(BIN)/mypy

bench: env ## measure the ledger, the loop and the start; prints a table
	@exec $(BIN)/python tools/bench.py

docs: env-dev ## write docs/reference from the code, then test the documents
	$(BIN)/python tools/reference.py
	$(BIN)/pytest -q tests/unit/test_docs.py

lock: ## renew the pinned requirements (needs uv)
	@exec sh tools/lock.sh

$(RUN_STAMP): requirements/run.txt requirements/build.txt pyproject.toml tools/environment.py
	@$(PYTHON) tools/environment.py $@ requirements/run.txt requirements/build.txt

$(DEV_STAMP): $(RUN_STAMP) requirements/dev.txt
	@$(PYTHON) tools/environment.py $@ requirements/dev.txt

$(WORDS_STAMP): $(RUN_STAMP) $(WORDS)
	@if [ -f tools/catalogue.py ]; then $(BIN)/python tools/catalogue.py compile; fi
	@touch $@

$(LIVE_STAMP): $(RUN_STAMP) $(KERNEL)
	@$(BIN)/python tools/warm.py live
	@touch $@

$(TWIN_STAMP): $(RUN_STAMP) $(KERNEL)
	@$(BIN)/python tools/warm.py
	@touch $@
