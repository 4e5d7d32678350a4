# What people run: make demo, make test, make check. Everything is installed into .venv.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin

# Python's bytecode is kept, whatever the environment says: tests start some hundred processes, and
# each would compile all code anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo test check types quick faults soak bench format clean install
.DEFAULT_GOAL := help

help:  ## show this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

demo: $(VENV)/.demo  ## run the MAGIC campaign on a real Rucio, started here and stopped again
	@PATH="$(abspath $(BIN)):$$PATH" scripts/demo

test: $(VENV)/.dev  ## run all tests: unit, contract, property, and end to end on a real lake
	$(BIN)/pytest -n auto --dist loadgroup

check: $(VENV)/.dev  ## format, lint, types, floors; unit, contract and property tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports --no-logo
	@$(MAKE) --no-print-directory --jobs=2 types quick

types: $(VENV)/.dev
	$(BIN)/mypy

quick: $(VENV)/.dev
	$(BIN)/pytest -q -n auto --dist worksteal tests/unit tests/contract tests/property

faults: $(VENV)/.dev  ## kill, cut off and starve runs on a real lake, and prove that nothing is lost
	$(BIN)/python -m tests.faults $(FAULTS)

soak: $(VENV)/.dev  ## let the service run 24 cycles on a real lake, and look what is left behind
	$(BIN)/python -m tests.soak $(SOAK)

bench: $(VENV)/.dev  ## measure injection side by side: the seed's sequence, UploadClient and ours, on a real lake
	$(BIN)/python -m benchmarks.injection $(BENCH)

format: $(VENV)/.dev  ## format the code and mend what the linter can mend
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

install: $(VENV)/.demo  ## install the command rucio-inject into .venv

clean:  ## remove the virtual environment, caches and what demos left
	rm -rf $(VENV) demo .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find src tests benchmarks -name __pycache__ -prune -exec rm -rf {} +

$(VENV)/.demo: pyproject.toml constraints.txt
	@PYTHON="$(PYTHON)" VENV="$(VENV)" scripts/install 'lake,science,service,web'
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt
	@PYTHON="$(PYTHON)" VENV="$(VENV)" scripts/install 'lake,science,service,web,dev'
	@touch $@ $(VENV)/.demo
