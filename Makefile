# Two commands to remember: `make demo` (light install, every app on a real input) and `make test`.
# Both make .venv themselves; both leave .venv/bin/cnnapps working.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PYTHONDONTWRITEBYTECODE :=

.PHONY: demo demo-train test bench reliability clean

$(VENV)/light: pyproject.toml requirements/predict.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -r requirements/predict.txt hatchling
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

$(VENV)/full: $(VENV)/light
	$(BIN)/python -m pip install --quiet --editable ".[dev]"
	touch $@

# Real inputs, shipped weights, no torch.
demo: $(VENV)/light
	sh tests/demo.sh $(BIN)/cnnapps

# Train a small model from scratch; fails unless it ends ten points above the majority class.
demo-train: $(VENV)/full
	$(BIN)/python tests/demo_train.py

test: $(VENV)/full
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	PYTHONPATH=.dev $(BIN)/lint-imports
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

bench: $(VENV)/full
	$(BIN)/python -m pip install --quiet --editable ".[bench]"
	OMP_NUM_THREADS=1 $(BIN)/python tests/bench.py
	OMP_NUM_THREADS=1 $(BIN)/python tests/bench_go.py

reliability: $(VENV)/full
	$(BIN)/python tests/reliability.py

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
