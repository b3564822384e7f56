# Needs make and Python >= 3.11; everything else goes into .venv. With uv on the PATH, uv installs; else venv and pip.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
PRESET ?= smoke

.DEFAULT_GOAL := help
.PHONY: help reproduce test lint lab app notebooks benchmark clean

help:  ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:[^#]*## /\t/' | expand -t 12

$(READY): pyproject.toml
	@if command -v uv >/dev/null; then \
	  { [ -d $(VENV) ] || uv venv --python '>=3.11' $(VENV); } && uv pip install --python $(BIN)/python -e '.[test]'; \
	else \
	  $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "labkit needs Python 3.11 or newer: make PYTHON=python3.12 ...")' && \
	  { [ -d $(VENV) ] || $(PYTHON) -m venv $(VENV); } && $(BIN)/python -m pip install --quiet -e '.[test]'; \
	fi
	@touch $@

reproduce: $(READY)  ## run the notebooks on embedded data (PRESET=quick: on MNIST) and show tickets beside their controls
	$(BIN)/python -m labkit reproduce --preset $(PRESET) $(NOTEBOOKS)

lint: $(READY)  ## style, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy labkit

test: lint  ## everything that must pass: lint, tests, and all notebooks against their committed verdicts
	OMP_WAIT_POLICY=passive $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder
	runs=$$(mktemp -d) && LABKIT_RUNS=$$runs LABKIT_PROGRESS=log OMP_NUM_THREADS=1 $(BIN)/python -m pytest \
	  -p tests.nbval_kernel -n 2 --dist loadscope --nbval-lax --nbval-cell-timeout=600 notebooks; \
	  status=$$?; rm -rf $$runs; exit $$status

lab: $(READY)  ## open the notebooks in JupyterLab
	$(BIN)/python -m jupyter lab notebooks

app: $(READY)  ## the explorer alone, without its code, in a browser
	$(BIN)/python -m voila notebooks/explore.ipynb

notebooks: $(READY)  ## run the notebooks and keep their outputs in them, as they are committed
	$(BIN)/python -m labkit refresh $(NOTEBOOKS)

benchmark: $(READY)  ## throughput beside a plain PyTorch loop
	$(BIN)/python benchmarks/throughput.py

clean:  ## remove the environment and the runs
	rm -rf $(VENV) runs
