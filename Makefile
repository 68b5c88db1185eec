# Each target works alone on a fresh machine: it makes the virtual environment it needs.
PYTHON ?= python3
BIN := .venv/bin
PYTEST := $(BIN)/python -m pytest
HUB_TESTS = $(sort $(wildcard tests/test_hub*.py tests/test_loopback*.py tests/test_card*.py tests/test_data_hub.py))

.PHONY: demo test test-slow test-hub-matrix lint types check zoo bench clean
.DELETE_ON_ERROR:

demo: .venv/installed            ## the main job on embedded data, without network
	$(BIN)/sslzoo demo

test: .venv/installed-dev        ## every test that takes seconds
	$(PYTEST) -n 2 --dist worksteal -m "not slow"

test-slow: .venv/installed-dev   ## the ones that take minutes
	$(PYTEST) -m slow

# Xet is on in test_loopback_xet.py (skipped where hf-xet is not installed) and off in all others.
test-hub-matrix: .venv-hub1/installed .venv-hub2/installed   ## the Hub's tests with huggingface_hub 1 and 2
	.venv-hub1/bin/python -m pytest -q -n 2 --dist worksteal -m "not slow" $(HUB_TESTS)
	.venv-hub2/bin/python -m pytest -q -n 2 --dist worksteal -m "not slow" $(HUB_TESTS)

lint: .venv/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/installed-dev
	$(BIN)/mypy

check: lint types test           ## what CI runs

zoo: .venv/installed             ## every method at one small budget: benchmarks/zoo.md
	$(BIN)/python benchmarks/zoo.py

# One after the other, as each wants the machine for itself: an hour and a half.
BENCHMARKS := startup hub evaluations views training memory scaling suite

bench: .venv-rivals/installed    ## all costs beside other libraries: benchmarks/README.md
	set -e; for name in $(BENCHMARKS); do .venv-rivals/bin/python benchmarks/$$name.py; done
	.venv-rivals/bin/python benchmarks/report.py

clean:
	rm -rf .venv .venv-hub* .venv-rivals .mypy_cache .ruff_cache .pytest_cache

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/installed: pyproject.toml | .venv/bin/python
	$(BIN)/pip install --quiet --editable .
	touch $@

.venv/installed-dev: pyproject.toml | .venv/bin/python
	$(BIN)/pip install --quiet --editable ".[dev]"
	touch $@ .venv/installed

# Over the packages of .venv where it is there, so that only what differs is installed; whole otherwise.
over = $(PYTHON) -m venv --clear $(1) && if [ -e .venv/installed-dev ]; then \
		site='import sysconfig; print(sysconfig.get_path("purelib"))'; \
		echo "import site; site.addsitedir('$$($(BIN)/python -c "$$site")')" \
			> "$$($(1)/bin/python -c "$$site")/base.pth"; \
	fi

.venv-hub%/installed: pyproject.toml
	$(call over,.venv-hub$*)
	.venv-hub$*/bin/python -m pip install --quiet --upgrade --editable ".[dev]" "huggingface_hub==$*.*"
	.venv-hub$*/bin/python -m pip check
	touch $@

.venv-rivals/installed: pyproject.toml benchmarks/rivals.txt
	$(call over,.venv-rivals)
	.venv-rivals/bin/python -m pip install --quiet --editable ".[dev]" -r benchmarks/rivals.txt
	touch $@
