# make demo: train, evaluate, export and infer on rendered vehicles.
# make test: linters, type checker, import contracts and the test suite.
# make docs: the site, into site/; a warning is an error.
# make kernels: the CUDA kernels for all GPUs, where nvcc is, and their tests on the host; needs CMake and g++.
# make fuzz: a million damaged files for everything that reads files.
# make test-lean: the commands of a device, in an environment without PyTorch.
# make test-contract: whether the stored facts about TensorRT are what NVIDIA's bindings say today.
# make test-matrix: the tests of a device, with the oldest allowed and the newest versions of its libraries.
# make test-wheel: whether the wheel and the source distribution hold what they should.
# make test-installs: the wheel in Python 3.10 to 3.13, with the extras of a device.
# make release: wheel, source distribution, SBOM and checksums, in dist/.
# make test-trackers: the adapters of examples/trackers, each with the newest version of its package.
PYTHON ?= python3
VENV ?= .venv
BIN := $(abspath $(VENV))/bin
# One more than there are cores: some tests wait more than they compute.
WORKERS ?= $$(($$(getconf _NPROCESSORS_ONLN) + 1))

.PHONY: demo test docs test-contract kernels test-lean test-matrix test-wheel test-installs test-trackers release fuzz clean

demo: $(VENV)/installed
	rm -rf demo
	PATH="$(BIN):$$PATH" examples/demo.sh demo
	@if [ -t 1 ]; then $(PYTHON) -m webbrowser "file://$(CURDIR)/demo/results/report.html" || true; fi

test: $(VENV)/installed
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/mypy --explicit-package-bases examples/trackers release
	$(BIN)/lint-imports
	PATH="$(BIN):$$PATH" $(BIN)/pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder

docs: $(VENV)/installed
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

kernels: $(VENV)/installed
	cmake -B build -DREID_PYTHON=$(BIN)/python
	cmake --build build
	ctest --test-dir build --output-on-failure

test-contract: $(VENV)/installed
	$(BIN)/python tests/contract/bindings.py check

test-lean: $(VENV)/installed
	$(PYTHON) -m venv $(VENV)/lean
	$(VENV)/lean/bin/pip install --quiet '.[onnx,rtx]'
	PATH="$(BIN):$$PATH" tests/without_torch.sh $(VENV)/lean

test-matrix: $(VENV)/installed
	PATH="$(BIN):$$PATH" tests/matrix.sh $(VENV)/matrix

test-wheel: $(VENV)/installed
	$(PYTHON) -m venv $(VENV)/wheel
	$(VENV)/wheel/bin/pip install --quiet --upgrade pip 'scikit-build-core>=0.11'
	$(VENV)/wheel/bin/python release/distributions.py build/distributions

test-installs: $(VENV)/installed
	PATH="$(BIN):$$PATH" tests/installs.sh $(VENV)/installs

release: $(VENV)/installed
	PATH="$(BIN):$$PATH" release/release.sh $(VENV)/release dist

test-trackers: $(VENV)/installed
	PATH="$(BIN):$$PATH" tests/trackers.sh $(VENV)/trackers

fuzz: $(VENV)/installed
	PYTHONPATH=tests/faults $(BIN)/python -m fuzz --mutants 1000000 --json benchmarks/results/fuzz.json

$(VENV)/installed: pyproject.toml CMakeLists.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet --editable '.[train,export,dev]'
	touch $@

clean:
	rm -rf $(VENV) demo build site .mypy_cache .ruff_cache .pytest_cache
