# make run    start the provider with the factorial example on an embedded NATS server
# make test   install what the tests need, check the house rules, run the suite
# make long   the tests that take long: more faults under load, 200 restarts, more versions of Python
# make coverage  the suite again, with how much of the code it runs
# make bench  what calls cost beside raw nats-py and others, in minutes; BENCH=--quick for less than one
# make scale  how far it reaches, and what more of everything costs, into docs/scale.md; minutes
# make fuzz   make up inputs for everything that reads bytes from outside (docs/testing.md)
# make soak   every fault under load for half a minute each, and a table; SOAK='--seconds 5' for less
# make docs   write .env.example and docs/configuration.md again from the settings
# make lock   resolve pyproject.toml afresh into the two lock files

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# More than cores: most tests wait for the processes they started.
TEST_PROCESSES ?= 6

# Thousands of processes are started here that would all compile the same files again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: run test compiled long coverage check bench scale fuzz soak docs lock clean
.DELETE_ON_ERROR:

run: $(VENV)/.installed
	@exec $(BIN)/provider run --embedded-nats --dispatch dispatch_examples/factorial/dispatch.py

# A test that fails runs once more, and the report names it: many wait for processes, on machines that
# may have other things to do. One that fails twice fails.
test: $(VENV)/.installed-dev
	@# Side by side, because each of them is busy with one core at most.
	@$(MAKE) --no-print-directory -j 2 check compiled
	$(BIN)/python -m pytest -n $(TEST_PROCESSES) --dist loadfile --no-loadscope-reorder --reruns 1 --rerun-show-tracebacks -m "not long"

# Or each process of the suite would compile all of its files, all at the same time.
compiled: $(VENV)/.installed-dev
	@$(BIN)/python -m pytest --collect-only -qq > $(VENV)/.collected || { cat $(VENV)/.collected; false; }

long: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m long

# Apart from the tests, because it makes them take twice as long.
coverage: $(VENV)/.installed-dev
	@$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest -n $(TEST_PROCESSES) --dist loadfile --no-loadscope-reorder
	@$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

check: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	@# Told not to ask the network for a newer one.
	PYRIGHT_PYTHON_IGNORE_WARNINGS=1 $(BIN)/pyright
	$(BIN)/lint-imports

bench: $(VENV)/.installed-dev
	$(BIN)/python -m benchmarks.call $(BENCH)

scale: $(VENV)/.installed-dev
	$(BIN)/python -m benchmarks.scale --markdown docs/scale.md
	$(BIN)/python -m benchmarks.growth --markdown docs/scale.md

# Two minutes: FUZZ_SECONDS for each target, or FUZZ_RUNS inputs. The seed it tells makes it again.
FUZZ_RUNS ?= 0
FUZZ_SECONDS ?= $(if $(filter 0,$(FUZZ_RUNS)),2,0)
FUZZ_SEED ?= 0
FUZZ_TARGETS ?=
FUZZ_FOLDER ?= .fuzz

fuzz: $(VENV)/.installed-dev
	@$(BIN)/python -m tests.fuzz.run --seconds $(FUZZ_SECONDS) --runs $(FUZZ_RUNS) --seed $(FUZZ_SEED) \
		--folder $(FUZZ_FOLDER) $(FUZZ_TARGETS)

soak: $(VENV)/.installed-dev
	@$(BIN)/python -m tests.faults.soak $(SOAK)

docs: $(VENV)/.installed-dev
	$(BIN)/python -m provider.settings_docs .env.example docs/configuration.md

lock: $(VENV)/.installed-dev
	$(BIN)/pip install --quiet 'uv>=0.9,<1'
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --upgrade \
		--custom-compile-command 'make lock' --all-extras --group dev pyproject.toml -o requirements-dev.lock
	@# What users run is what was tested.
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --upgrade \
		--custom-compile-command 'make lock' --all-extras pyproject.toml -c requirements-dev.lock -o requirements.lock

clean:
	rm -rf $(VENV) dist .coverage .coverage.* .fuzz .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "The provider needs Python 3.11 or newer; $(PYTHON) is older or missing. Say which one to use: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(BIN)/python requirements.lock pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed requirements-dev.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	@touch $@
