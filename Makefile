# Every target works on a fresh clone: the environment is made on first use. PYTHON names the interpreter to make it from.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: help install system lint format test test-slow faults demo docs benchmarks clean

help:            ## this list
	@grep -E '^[a-z-]+: .*##|^[a-z-]+:  *##' $(MAKEFILE_LIST) | sed -E 's/:.*##/\t/' | expand -t 16

# torch is named with its exact version: any other request could bring gigabytes of CUDA to a machine without a GPU.
$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch==2.13.0
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

install: $(STAMP) ## makes .venv and installs edgekit with all that the tests and examples need

system:          ## what the tests need of the system: an sshd and busybox (installed when root on Debian, named otherwise)
	@sh tests/system.sh

lint: $(STAMP)   ## ruff, mypy --strict, import-linter
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(STAMP) ## rewrites the code in the house's format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

test: $(STAMP) system ## the tests
	$(BIN)/python -m pytest -m "not slow and not device and not gpu" --numprocesses 2 --dist loadscope

test-slow: $(STAMP) ## the tests that take minutes; also in Arm userlands under qemu
	@sh tests/system.sh slow
	$(BIN)/python -m pytest -m slow

faults: $(STAMP) system ## 500 broken links one after the other and 50 at once; writes docs/faults.md (as root)
	EDGEKIT_FAULTS=500 $(BIN)/python -m pytest tests/faults/test_many_faults.py --timeout 3600
	$(BIN)/python tests/faults/matrix.py

demo: $(STAMP)   ## tunes a small real model on this computer and writes report.html
	$(BIN)/edgekit tune examples/quickstart/project.toml --device local --max-drop 1% --report report.html

docs: $(STAMP)   ## writes the generated pages of docs/
	$(BIN)/python -m edgekit.cli.reference

clean:           ## removes what the targets above made
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .bench .import_linter_cache report.html
