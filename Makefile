# Everything runs in .venv, which `install` creates and keeps up to date; a second call costs a blink.

PYTHON ?= python3
BIN := .venv/bin
# `make demo ARGS=--serve`, `make test ARGS="-k pulp"`, `make bench ARGS=--json`
ARGS ?=

.PHONY: help install demo test bench lint format docs guests clean

help:            ## list the targets
	@sed -n 's/^\([a-z]*\): .*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

install:         ## create .venv, install what is missing, compile the extensions
	@$(PYTHON) scripts/install.py dev

demo: install    ## build guests from source, serve them over HTTP, show what calls cost
	@$(BIN)/python demo/demo.py $(ARGS)

test: install    ## build the test guests, run all tests on all cores
	@$(BIN)/python -m guesthouse.testing.guests >/dev/null
	$(BIN)/python -m pytest -q -n auto --dist worksteal $(ARGS)

bench: install   ## compare with the peers, side by side in one run
	@$(BIN)/guesthouse bench $(ARGS)

lint: install    ## style, format, types, layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: install  ## rewrite what `lint` would complain about where that is safe
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: install    ## build the documentation into site/
	@$(PYTHON) scripts/install.py docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict
	@echo 'open site/index.html'

guests: install  ## build every guest below guests/
	@$(BIN)/python -m guesthouse.testing.guests

clean:           ## remove everything that was built
	rm -rf .venv build dist site .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis src/*.egg-info
	find src \( -name '*.so' -o -name __pycache__ \) -prune -exec rm -rf {} +
	find src -name '*.pyx' | sed 's/pyx$$/c/' | xargs -r rm -f
