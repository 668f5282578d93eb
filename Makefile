# make demo: train, evaluate, export and infer on rendered vehicles.   make test: everything that CI checks.
PYTHON ?= python3
VENV ?= .venv
BIN := $(abspath $(VENV))/bin

.PHONY: demo test clean

demo: $(VENV)/installed
	rm -rf demo
	PATH="$(BIN):$$PATH" examples/demo.sh demo
	@if [ -t 1 ]; then $(PYTHON) -m webbrowser "file://$(CURDIR)/demo/results/report.html" || true; fi

test: $(VENV)/installed
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	PATH="$(BIN):$$PATH" $(BIN)/pytest -n auto --dist loadfile

$(VENV)/installed: pyproject.toml CMakeLists.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet --editable '.[train,export,dev]'
	touch $@

clean:
	rm -rf $(VENV) demo build .mypy_cache .ruff_cache .pytest_cache
