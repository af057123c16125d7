# make setup       a virtual environment in .venv with lamina and all tools (also done by what needs it)
# make demo        the main job on the machine itself, ending with the picture of the stack
# make check       format, lint, types, import directions, quick tests: under a minute
# make test        all tests; as root also as ordinary users (two are made if they do not exist)
# make acceptance  the walks through the main job in ../shared/acceptance, as everybody
# make test-long   all tests with many more generated cases
# make bench       measurements beside other programs
# make format      put the sources into shape

PYTHON ?= python3
BIN := .venv/bin
RUN := $(BIN)/python tests/run.py

.PHONY: setup demo check test acceptance test-long bench format clean
.DEFAULT_GOAL := check

setup: .venv/done

.venv/done: pyproject.toml tests/make-venv
	tests/make-venv "$(PYTHON)" .venv
	@touch $@

demo: setup
	@PATH="$(CURDIR)/$(BIN):$$PATH" sh examples/demo.sh

check: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(RUN) quick

test: setup
	$(RUN) packages quick suite users mapped old-kernel

acceptance: setup
	$(RUN) acceptance

test-long: setup
	HYPOTHESIS_PROFILE=long $(RUN) packages quick suite users mapped old-kernel

bench: setup
	$(BIN)/python -m bench

format: setup
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf .venv .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
