# The front door: `make demo`, `make test`. Everything runs in .venv, which is made when it is missing or out of date.
export GOMP_SPINCOUNT = 0

PYTHON ?= python3
BIN := .venv/bin
TESTS := $(BIN)/pytest -n 2 --dist loadfile --max-worker-restart 0
DOCS := NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs
READY := .venv/ready

.PHONY: demo test check docs docs-serve bench bench-gpu style clean

demo: $(READY)
	$(BIN)/hf-llc demo

test: $(READY)
	$(TESTS)

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(DOCS) build --strict --quiet
	$(TESTS)

docs: $(READY)
	$(DOCS) build --strict

docs-serve: $(READY)
	$(DOCS) serve

bench: $(READY)
	$(BIN)/pip install --quiet --constraint .ci/constraints.txt --editable '.[bench]'
	$(BIN)/pytest tests/benchmarks --override-ini addopts= -s

# On a machine with a GPU, in an environment of its own that has torch for it: python -m tests.benchmarks.gpu
bench-gpu:
	$(PYTHON) -m tests.benchmarks.gpu

style: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf .venv build site *.egg-info

# torch first and pinned: an open range may fetch a build for hardware that is not there.
$(READY): pyproject.toml .ci/constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
	$(BIN)/pip install --quiet --constraint .ci/constraints.txt torch
	$(BIN)/pip install --quiet --constraint .ci/constraints.txt --editable . --group dev
	touch $@
