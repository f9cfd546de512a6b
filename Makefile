# On a fresh machine with Python 3.11 to 3.13, make and the network, `make demo` or `make test` is all there is to do.
# Works with GNU make from 3.81 (macOS) on.

VENV := .venv
BIN := $(VENV)/bin
DEMO := kfold --dataset nerve --recipe tfseg/recipes/demo.toml --out runs/demo
WORKERS := 2
PYTEST := $(BIN)/pytest -q -n $(WORKERS)

.PHONY: help setup demo demo-web test test-slow check format lock build clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' Makefile

setup: $(VENV)/ready ## make .venv (PYTHON=/path/to/python3 chooses the interpreter); all targets below do it by themselves

demo: $(VENV)/ready ## a small cross-validation on generated ultrasound, with a report in runs/demo; goes on where it stopped
	$(BIN)/tfseg $(DEMO) $(if $(wildcard runs/demo),--resume)

demo-web: ## LiteRT for the web, from npm, which `tfseg demo` needs (Node.js 20 or newer)
	npm ci --omit=dev --no-audit --no-fund --prefix tflite/web

test: $(VENV)/ready ## the quick tests and the examples in the docstrings; WORKERS=4 spreads them over processes
	$(PYTEST) -m "not slow"

test-slow: $(VENV)/ready ## the tests that take longer
	$(PYTEST) -m slow

check: $(VENV)/ready ## the whole gate: format, lint, types, layers, quick tests
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/pyright
	$(BIN)/lint-imports
	$(PYTEST) -m "not slow"

format: $(VENV)/ready ## put all files into the format that check asks for
	$(BIN)/ruff check --fix-only --quiet
	$(BIN)/ruff format

lock: $(VENV)/ready ## write constraints.txt anew with the newest versions that fit together (needs Python 3.11)
	$(BIN)/python tools/lock.py

build: $(VENV)/ready ## wheel and source archive in dist/
	$(BIN)/hatchling build

clean: ## remove caches and dist/; .venv and runs/ stay
	rm -rf dist .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find tfseg tests tools -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/ready: pyproject.toml constraints.txt
	@sh tools/setup.sh $(VENV)
