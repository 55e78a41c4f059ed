# Each target makes .venv and installs what it needs, only when pyproject.toml, constraints.txt or the C sources changed.
PYTHON ?= python3
MINUTES ?= 3
WORKERS ?= 2
VENV ?= .venv
# The CPU build of torch comes from here; where this index cannot be reached, the default index serves
# (on Linux that build brings gigabytes of CUDA packages).
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet --no-input
INPUTS := pyproject.toml constraints.txt hatch_build.py src/starloom/native/build.py $(wildcard src/starloom/native/*.[ch])

.PHONY: demo test test-all check bench docs clean
.DELETE_ON_ERROR:

demo: $(VENV)/.demo
	@$(BIN)/starloom run quickstart --minutes $(MINUTES)

test: $(VENV)/.test
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile

test-all: $(VENV)/.test
	@$(BIN)/python -m pytest -m ''

check: $(VENV)/.test
	@$(BIN)/ruff check -q src tests benchmarks tools hatch_build.py
	@$(BIN)/ruff format -q --check src tests benchmarks tools hatch_build.py
	@$(BIN)/mypy
	@$(BIN)/python tools/cli_page.py --check
	@$(BIN)/python tools/plan_page.py --check

bench: $(VENV)/.test
	@for script in benchmarks/[a-z]*.py; do echo "$$script"; $(BIN)/python "$$script" || exit 1; done

docs: $(VENV)/.test
	@$(BIN)/python tools/cli_page.py
	@$(BIN)/python tools/plan_page.py

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "starloom needs Python 3.11 or newer; name one: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) \
	  || { echo "no venv module (Debian: apt-get install python3-venv)" >&2; rm -rf $(VENV); exit 1; }

# torch first and alone, from an index that has no CUDA builds; the rest then finds it installed.
$(VENV)/.torch: constraints.txt | $(VENV)/bin/python
	@echo "installing torch (CPU) into $(VENV)"
	@$(PIP) --retries 0 --timeout 15 install -c constraints.txt torch --index-url $(TORCH_INDEX) 2>/dev/null \
	  || $(PIP) install -c constraints.txt torch
	@touch $@

$(VENV)/.demo: $(INPUTS) $(VENV)/.torch
	@echo "installing starloom into $(VENV)"
	@$(PIP) install -c constraints.txt -e '.[train,tensorboard]'
	@touch $@

$(VENV)/.test: $(INPUTS) $(VENV)/.torch
	@echo "installing starloom and what its tests need into $(VENV)"
	@$(PIP) install -c constraints.txt -e '.[test]'
	@touch $@ $(VENV)/.demo
