# SPDX-License-Identifier: Apache-2.0
#
# The front door. `make` alone lists what can be done.

.DEFAULT_GOAL := help
SHELL := /bin/bash

BIN := .venv/bin
# -I keeps the working directory off the path, where daemon/ would pass for a package.
PYTHON := $(BIN)/python -I
PYTEST := $(PYTHON) -m pytest
C_SOURCES = $(shell find probes tests -name '*.[ch]')

.PHONY: help
help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) \
		| awk -F ':.*## ' '{ printf "  make %-10s %s\n", $$1, $$2 }'

.PHONY: run
run: ## Install what is missing, then watch this machine from the foreground (root)
	@packaging/setup.sh run
	$(BIN)/firedamp run --console

.PHONY: demo
demo: ## Play a harmless attack in a corner of its own, and show what is done about it (root)
	@packaging/setup.sh run
	$(PYTHON) -m firedamp.demo

.PHONY: test
test: lint ## Install what is missing, then run every check and test this machine can run (root)
	$(PYTEST) -rs -m "not system"

.PHONY: check
check: lint ## Everything that needs no root: format, lint, types, layers, layout, unit, policies
	$(PYTEST) -rs -m "not live and not system"

.PHONY: live
live: venv ## The tests that need root and a kernel
	$(PYTEST) -rs -m live

.PHONY: deb
deb: venv ## Build the Debian package, in dist
	packaging/deb.sh

.PHONY: system
system: venv ## Install, attack, upgrade and purge the package in a booted Debian 12 (root)
	$(PYTEST) -rs -m system

.PHONY: lint
lint: venv ## The checks that run no code of ours: format, lint, spelling, types, layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(if $(C_SOURCES),$(BIN)/clang-format --dry-run -Werror $(C_SOURCES))
	$(BIN)/codespell
	$(BIN)/mypy
	$(BIN)/lint-imports

.PHONY: fix
fix: venv ## Format Python and C, and mend what the linter can mend
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(if $(C_SOURCES),$(BIN)/clang-format -i $(C_SOURCES))

.PHONY: policies
policies: venv ## Validate every policy and run the cases it carries
	$(BIN)/firedamp policy test policies

.PHONY: bench
bench: venv ## Measure the cost, as ratios to the same load without the daemon (root)
	$(PYTHON) tests/bench

.PHONY: docs
docs: venv ## Write the references that are generated from the code
	$(PYTHON) packaging/docs.py

.PHONY: venv
venv: ## Install what is missing to develop: system packages (root) and .venv
	@packaging/setup.sh test

.PHONY: clean
clean: ## Remove what the other targets made
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis build dist
	find daemon tests packaging -name __pycache__ -type d -prune -exec rm -rf {} +
