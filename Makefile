# Each target works alone on a fresh machine: it makes the virtual environment it needs.
PYTHON ?= python3
BIN := .venv/bin
PYTEST := $(BIN)/python -m pytest

.PHONY: demo test test-slow lint types check zoo clean
.DELETE_ON_ERROR:

demo: .venv/installed            ## the main job on embedded data, without network
	$(BIN)/sslzoo demo

test: .venv/installed-dev        ## every test that takes seconds
	$(PYTEST) -n 2 -m "not slow"

test-slow: .venv/installed-dev   ## the ones that take minutes
	$(PYTEST) -m slow

lint: .venv/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/installed-dev
	$(BIN)/mypy

check: lint types test           ## what CI runs

zoo: .venv/installed             ## every method at one small budget: benchmarks/zoo.md
	$(BIN)/python benchmarks/zoo.py

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/installed: pyproject.toml | .venv/bin/python
	$(BIN)/pip install --quiet --editable .
	touch $@

.venv/installed-dev: pyproject.toml | .venv/bin/python
	$(BIN)/pip install --quiet --editable ".[dev]"
	touch $@ .venv/installed
