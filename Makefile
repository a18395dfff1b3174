# A newcomer needs two commands: `make demo` and `make test`. Each builds .venv first where it is missing.
SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
WORKERS ?= 2
export OMP_NUM_THREADS ?= 1

.PHONY: help demo test test-slow lint format types bench docs clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

demo: $(STAMP)  ## forecast the largest bundled runs from the smaller ones; writes demo_output/
	$(BIN)/probscale demo --out demo_output

test: $(STAMP)  ## all tests but the slow ones, and the examples in docstrings
	$(BIN)/python -m pytest -n $(WORKERS) -q

test-slow: $(STAMP)  ## recovery tests and other long ones
	$(BIN)/python -m pytest -n $(WORKERS) -q -m slow

lint: $(STAMP)  ## style, formatting and import layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-logo

format: $(STAMP)  ## rewrite the code in the project's style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(STAMP)  ## static types
	$(BIN)/pyright

BENCHES := ncpl_finals ncpl_curves nanogpt_zero_shot generality size_folds general_curves side_by_side lcbench_prefixes \
	text_gain outputs latent grid_choices continued_runs calibration laws schedules joint_tuning \
	frontier_coverage replay_al_n replay_al_n_plain replay_al_g grown_budgets decision_time fit_speed growth \
	never_fails onset_prior short_logs few_finals random_splits model_choices theory \
	left_out_settings

bench: $(STAMP) .venv/.installed-bench  ## every table of benchmarks/ that needs no other extra; most of a day
	for name in $(BENCHES); do $(BIN)/python benchmarks/$$name.py || exit 1; done
	for suite in nano gemstones lcbench; do $(BIN)/python benchmarks/replay_ba.py --suite $$suite --seeds 20 || exit 1; done

docs: $(STAMP) .venv/.installed-docs  ## the documentation, in docs/_build/html
	$(BIN)/sphinx-build -W --keep-going -b html docs docs/_build/html

clean:  ## remove what the targets above wrote, .venv included
	rm -rf .venv demo_output docs/_build dist build .pytest_cache .ruff_cache .hypothesis

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "probscale needs Python 3.11 or newer; this is $$($(PYTHON) --version). Try: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

.venv/.installed-%: $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[$*]'
	touch $@
