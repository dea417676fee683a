# make demo   sets everything up and runs the main job on built-in data, offline after the install,
#             into runs/demo (WORKDIR=... chooses another folder)
# make test   sets everything up and runs the tests
# make test REQUIREMENTS=requirements-dev.lock   with the exact versions of the release
# Both need Python 3.11, 3.12 or 3.13, make and PyPI; PYTHON=python3.12 chooses the interpreter.

# The first that starts and is of a tried version: a command of that name may be a mere shim.
TRIED = import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
  $$p -c '$(TRIED)' 2>/dev/null && echo $$p && break; done)
VENV ?= .venv
BIN = $(VENV)/bin
TESTS ?= tests
REQUIREMENTS ?= requirements-dev.txt
WORKDIR ?= runs/demo

.PHONY: demo test docs slow clean

# Made once per file that it installs: another file is installed into the same environment.
DEVELOPER = $(VENV)/$(notdir $(REQUIREMENTS))

# The tests start a hundred processes, and each would compile every module that it imports.
test slow: export PYTHONDONTWRITEBYTECODE =

demo: $(VENV)/user
	$(BIN)/python launch.py --config=configs/demo.py --workdir=$(WORKDIR)

test: $(DEVELOPER)
	$(BIN)/ruff format --check --quiet .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q -n 2 --dist worksteal -m "not slow" $(TESTS)

docs: $(VENV)/docs
	$(BIN)/sphinx-build -q -W --keep-going -b html docs build/docs

slow: $(DEVELOPER)
	$(BIN)/python -m pytest -q -m "slow or hypothesis" --hypothesis-profile=thorough $(TESTS)

clean:
	rm -rf $(VENV)

$(VENV)/bin/uv:
	@$(PYTHON) -c '$(TRIED)' 2>/dev/null \
	  || { echo "error: found no Python 3.11, 3.12 or 3.13; give one: make PYTHON=/path/to/python" >&2; exit 2; }
	@echo "making $(VENV) with $(PYTHON)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv

$(VENV)/user: pyproject.toml | $(VENV)/bin/uv
	@echo "installing the core's dependencies (pyproject.toml; no TensorFlow)"
	@$(BIN)/uv pip install --quiet --python $(BIN)/python -r pyproject.toml
	@touch $@

$(DEVELOPER): $(REQUIREMENTS) requirements.txt | $(VENV)/bin/uv
	@echo "installing $(REQUIREMENTS)"
	@$(BIN)/uv pip install --quiet --python $(BIN)/python -r $(REQUIREMENTS)
	@touch $@ $(VENV)/user

$(VENV)/docs: requirements-docs.txt requirements.txt | $(VENV)/bin/uv
	@echo "installing requirements-docs.txt"
	@$(BIN)/uv pip install --quiet --python $(BIN)/python -r requirements-docs.txt
	@touch $@ $(VENV)/user
