# What contributors run most, from the environment in .venv, or else the one that is active.
PYTHON := $(if $(wildcard .venv/bin/python),.venv/bin/python,python3)
NUMERICS := $(addprefix tests/,linalg curvature memory parts inner_solve solvers schedulers)

.DEFAULT_GOAL := help
.PHONY: help test fast lint types docs ci

help: ## list what there is
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-6s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

test: ## every test but the slow ones, on all cores
	$(PYTHON) -m pytest -n auto

fast: ## the tests of numerics and parts, up to the first that fails
	$(PYTHON) -m pytest -n auto --exitfirst --deselect tests/linalg/test_data_parallel.py $(NUMERICS)

lint: ## ruff: rules and format
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .

types: ## mypy, strict
	$(PYTHON) -m mypy

docs: ## the documentation, strict, into site/
	NO_MKDOCS_2_WARNING=1 $(PYTHON) -m mkdocs build --strict --quiet

ci: ## all that a change must pass, in a fresh environment
	.ci/run
