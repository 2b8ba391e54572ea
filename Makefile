# Everything runs in .venv, made from python3 alone. `make demo` and `make test` need nothing else.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: help install install-dev demo test check format docs bench clean

help:
	@echo "make demo     real commands doing real tasks through the daemon, in a throw-away session"
	@echo "make test     the tests"
	@echo "make check    lint, format, types"
	@echo "make docs     writes the generated parts of docs/ again"
	@echo "make bench    figures, with their ratio to the machine's floor"

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -e .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@

install: $(VENV)/.installed
install-dev: $(VENV)/.installed-dev

demo: $(VENV)/.installed
	$(BIN)/omkctl demo

test: $(VENV)/.installed-dev
	$(BIN)/pytest

check: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/flake8 --select ASYNC --extend-ignore ASYNC109 --enable-asyncio=no omkd omkctl || $(BIN)/python -m flake8 --select ASYNC omkd omkctl

format: $(VENV)/.installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/.installed
	$(BIN)/python docs/generate.py

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache dist build *.egg-info
