# On a machine with Python 3.10 or newer: `make demo` runs the main job, `make test` checks everything.
PYTHON ?= python3
BIN := .venv/bin
# Wherever pip may find torch for the CPU alone, the pinned version is that one.
PIP := $(BIN)/python tools/install.py -c constraints.txt
# Other people's curvature, to compare with. Without dependencies: one of them asks for torchvision, whose wheel breaks
# transformers beside torch for the CPU, and uses none of it.
ORACLES := curvlinops-for-pytorch PyHessian backpack-for-pytorch einconv einops linear_operator opt-einsum unfoldNd
# KaTeX sets the formulas of the site. This package carries its files; the Django CMS it asks for is not used.
KATEX := djangocms-katex
# Candidates of the demo: small, with two tokenizers and three architectures.
DEMO := $(addprefix --candidate ,gpt2-mini-manuals opt-dictionary opt-bible t5-dictionary bart-german bart-manuals)
SOURCES := nbs lensllm tests tools benchmarks experiments setup.py
META := settings.ini setup.py pyproject.toml constraints.txt

.PHONY: help demo test check habits notebooks docs wheel lab bench bench-data export readme clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | sort

.venv/installed: $(META)
	@test -x $(BIN)/pip || { echo "Making .venv, an environment of its own"; $(PYTHON) -m venv .venv; }
	@echo "Installing lensllm and what it runs on; the first time, some minutes and about 2 GB"
	@$(PIP) -e .
	@touch $@

.venv/installed-dev: .venv/installed
	@echo "Installing the tools for notebooks, tests and the site"
	@$(PIP) -e '.[dev]'
	@echo "Installing other people's curvature, to compare with, and KaTeX for the site's formulas"
	@$(PIP) --no-deps $(ORACLES) $(KATEX)
	@touch $@

demo: .venv/installed ## rank 30 real models from curves; then fine-tune 6 small ones where it decides, offline
	@echo; echo "1 of 2: rank 30 real models on FLAN from their losses up to 12,800 examples"
	$(BIN)/lensllm select flan --seen 12800 --plot demo/flan.png --out demo/flan.csv --force
	@echo; echo "2 of 2: fine-tune 6 small models where it decides; a few minutes on two cores"
	OMP_NUM_THREADS=1 $(BIN)/lensllm run --out demo/headline --resume --task headline $(DEMO) --target 6400 --budget 25% --workers 2
	@echo
	@echo "Look at demo/flan.png and demo/headline/report.html. Type next:"
	@echo "  . .venv/bin/activate                           so that your shell knows lensllm"
	@echo "  lensllm select losses.csv --target 100000      with a table of your own losses"
	@echo "  lensllm run --help                             with checkpoints and texts of your own"
	@echo "README says what the table and the texts look like."

test: habits ## everything: habits, notebooks, site, wheel, all tests
	$(MAKE) -j3 notebooks docs wheel SITE=--if-possible
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2

check: habits ## for daily work: habits and the fast tests, about a minute
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 -m "not slow"

habits: .venv/installed-dev ## format, import contracts, fresh exports and README
	$(BIN)/ruff format --check --quiet $(SOURCES)
	$(BIN)/ruff check --quiet $(SOURCES)
	$(BIN)/lint-imports --no-cache
	$(BIN)/python tools/fresh.py
	$(BIN)/python tools/readme.py --check

notebooks: .venv/installed-dev ## run every notebook's tests; its saved text must still be what comes out
	OMP_NUM_THREADS=1 $(BIN)/python tools/notebooks.py

docs: .venv/installed-dev ## build the site into _docs
	$(BIN)/python tools/site.py $(SITE)

wheel: .venv/installed-dev ## build the wheel and run the command from a second, clean environment
	$(BIN)/python tools/wheel.py

lab: .venv/installed-dev ## open JupyterLab on the notebooks
	$(BIN)/jupyter lab nbs

bench: .venv/installed-dev ## ratios of speed, each against a peer in the same run
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/imports.py
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/posterior.py
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/allocate.py
	$(BIN)/python benchmarks/ntk.py
	$(BIN)/python benchmarks/curvature.py
	$(BIN)/python benchmarks/finetune.py

bench-data: .venv/installed-dev ## LensBench-mini: fine-tune all shipped candidates on all shipped tasks; hours, what is done is kept
	OMP_NUM_THREADS=1 $(BIN)/python experiments/mini/run.py
	OMP_NUM_THREADS=1 $(BIN)/python experiments/mini/probes.py
	OMP_NUM_THREADS=1 $(BIN)/python experiments/mini/rows.py
	$(BIN)/python experiments/mini/tables.py

export: .venv/installed-dev ## notebooks to package: format, clean, export, README
	$(BIN)/ruff format --quiet $(SOURCES)
	$(BIN)/python tools/export.py
	$(BIN)/python tools/readme.py

clean: ## remove what the targets made, environments included
	rm -rf .venv .venv-wheel _proc _docs build dist demo .cache *.egg-info
