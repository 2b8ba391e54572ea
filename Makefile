# Everything runs in .venv, made from python3 alone. `make demo` and `make test` need nothing else.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

# --disable replaces flake8-async's own list of what is off, so 900 (no async generators) is on. Off stay: 106 and 109,
# style; 110, which ruff has, too, and knows a checkpoint from a sleep; 114, which wants a list of all startable
# functions; 910 to 913, which want a checkpoint on every path.
FLAKE8_ASYNC := --enable ASYNC --disable ASYNC106,ASYNC109,ASYNC110,ASYNC114,ASYNC910,ASYNC911,ASYNC912,ASYNC913

.PHONY: help install install-dev demo test test-py check format docs bench torture agents clean

help:
	@echo "make demo     real commands doing real tasks through the daemon, in a throw-away session"
	@echo "make test     the tests"
	@echo "make test-py PYTHON=python3.13   the tests with that Python, in a venv of its own"
	@echo "make check    lint, format, types, async"
	@echo "make docs     writes the generated parts of docs/ again"
	@echo "make agents   real agents, installed into .agents/ from the npm registry, against a scripted model"
	@echo "make torture  kills, faults and power losses for hours (SHARE=0.05: a twentieth); figures into docs/"
	@echo "make bench    figures, with their ratio to the machine's floor, into docs/performance.md"

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

# Thousands of processes import the same modules: from bytecode that is kept, whatever the environment says of it.
test: export PYTHONDONTWRITEBYTECODE :=
test: $(VENV)/.installed-dev
	$(BIN)/pytest -n 4 --dist loadgroup

test-py:
	$(MAKE) test VENV=.venv-$(shell $(PYTHON) -c 'import platform; print(platform.python_version())')

check: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	@$(BIN)/flake8-async $(FLAKE8_ASYNC) $(shell find omkd omkctl -name '*.py')

format: $(VENV)/.installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/.installed
	$(BIN)/python docs/generate.py

# AGENTS="kimi-code claude": only those.
agents: $(VENV)/.installed-dev
	@$(BIN)/python tests/agents/install.py .agents
	OMK_TEST_AGENTS=$(CURDIR)/.agents OMK_TEST_WHICH="$(AGENTS)" $(BIN)/pytest -n 2 tests/agents

bench: $(VENV)/.installed-dev
	$(BIN)/python -m tests.bench

SHARE ?= 1
torture: $(VENV)/.installed-dev
	$(BIN)/python -m tests.faults.torture --share $(SHARE)

clean:
	rm -rf $(VENV) .venv-* .agents .pytest_cache .mypy_cache .ruff_cache dist build *.egg-info
