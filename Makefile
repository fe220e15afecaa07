# make test       lint, types, imports, tests
# make lint       ruff, mypy and the import contract alone
# make whole      the tests of ten seconds and more: an installed wheel, all steps of a reproduction, whole pages of snippets
# make faults     the tests with kills, full disks, damaged files and random inputs: minutes
# make mutants    mutation tests of the code that decides weights and actions: an hour or more
# make figures    figures, report and the tables of README and docs from what is in results/; says what is missing
# make games      whole games and cross-play of seeds 0-2 in results/, for the figures episodes and arena; repeat it when these change
# make nulls      games of policies that do not learn against the Step-1 agents in results/; repeat it when these change
# make reproduce  everything: the runs that are not finished in results/, then figures and report; PRESET=cpu SEEDS=0-9
# make extras     what the tests of environments, notebook, page, library strategies and the JAX port need besides; with a chromium, none is skipped
# make bench      the speed of this machine, which should be idle, into results/bench/: minutes; then make figures
# make package-agents  copies seed 0 of results/ into the package and writes figures/play.html
# make smoke      the whole pipeline at toy scale: train, draw, report, check (build/smoke/)
# make clean      removes the environment and everything built; results and figures stay

PYTHON ?= python3
VENV := .venv
READY := $(VENV)/.ready
COOPCTX := $(VENV)/bin/coopctx
SMOKE := build/smoke
PRESET ?= cpu
SEEDS ?= 0-9

# A file of tests stays in one process: its tests share what is made once.
SIDE_BY_SIDE := -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

MIXED := ppi-mixed a2c-mixed coala-mixed coala-naive
STEP_RUNS := ppi-tabular a2c-tabular ppi-extortion a2c-extortion
of = $(foreach run,$(1),$(sort $(wildcard results/$(PRESET)/$(run)/seed-$(2))))
PACKAGED := a2c-mixed a2c-tabular ppi-extortion ppi-mixed ppi-tabular

.DEFAULT_GOAL := help
.PHONY: help extras package-agents lint test whole faults mutants figures games nulls bench reproduce smoke clean

help:
	@sed -n 's/^# make/make/p' Makefile

# One environment for every target, made once and again only when what it is made from changes.
$(READY): pyproject.toml constraints.txt
	@echo "Setting up $(VENV) (once)"
	@$(PYTHON) -m venv $(VENV)
	@$(VENV)/bin/pip install -q -q --disable-pip-version-check --no-input -c constraints.txt -e '.[test]'
	@touch $@

extras: $(READY)
	@$(VENV)/bin/pip install -q -q --disable-pip-version-check --no-input -c constraints.txt -e '.[axelrod,browser,envs,jax,notebook,sb3,tensorboard]'

package-agents: $(READY)
	@for run in $(PACKAGED); do cp results/cpu/$$run/seed-0/run.json results/cpu/$$run/seed-0/weights.safetensors coopctx/agents/data/$$run/; done
	@$(COOPCTX) play ppi-mixed --html figures/play.html

lint: $(READY)
	@$(VENV)/bin/ruff check --quiet
	@$(VENV)/bin/mypy
	@found=$$($(VENV)/bin/lint-imports --no-cache --no-logo) || { echo "$$found"; exit 1; }

test: lint
	@$(VENV)/bin/python -m pytest $(SIDE_BY_SIDE)

whole: $(READY)
	@$(VENV)/bin/python -m pytest -m whole $(SIDE_BY_SIDE)

faults: $(READY)
	@$(VENV)/bin/python -m pytest -m slow $(SIDE_BY_SIDE)

mutants: $(READY)
	@$(VENV)/bin/pip install -q -q --disable-pip-version-check --no-input -c constraints.txt -e '.[axelrod,mutants]'
	@OMP_NUM_THREADS=1 TMPDIR=$(firstword $(wildcard /dev/shm) /tmp) nice $(VENV)/bin/mutmut run --max-children 2
	@$(VENV)/bin/python tests/mutation/score.py --survivors

figures: $(READY)
	@$(COOPCTX) plot all
	@$(COOPCTX) report $(patsubst %,--fill %,$(shell grep -l '^<!-- begin ' README.md docs/*.md))

bench: $(READY)
	@$(VENV)/bin/pip install -q -q --disable-pip-version-check --no-input -c constraints.txt -e '.[jax]'
	@mkdir -p build results/bench
	@for hidden in 64 128; do $(COOPCTX) bench --set model.hidden=$$hidden --set a2c.batch_size=512 --json > build/bench.json \
	  && mv build/bench.json results/bench/hidden-$$hidden.json || exit 1; done

games: $(READY)
	@$(COOPCTX) plot episodes $(call of,ppi-mixed a2c-mixed,0) --episodes results/$(PRESET)/games.parquet --format png --out build
	@$(COOPCTX) arena $(call of,$(MIXED),[0-2]) $(call of,$(STEP_RUNS),[0-2]) --games 16 --out results/$(PRESET)/arena.parquet \
	  $(patsubst %,--against %,tit-for-tat always-cooperate always-defect win-stay-lose-shift zd-extort-2 random tabular) \
	  --against 'axelrod:Tit For 2 Tats' --against axelrod:Gradual
	@$(COOPCTX) arena $(call of,$(MIXED),[0-2]) --episodes 20 --rounds 10 --games 16 --against naive --against tabular \
	  --out results/$(PRESET)/arena-series.parquet

nulls: $(READY)
	@$(COOPCTX) evaluate results/$(PRESET)/*-tabular/seed-* --out results/$(PRESET)/nulls.parquet \
	  $(patsubst %,--against %,always-defect always-cooperate random tit-for-tat tabular)
	@$(VENV)/bin/python -m coopctx.evaluation.coala_nulls results/$(PRESET) $(PRESET)

reproduce: $(READY)
	@$(COOPCTX) reproduce --preset $(PRESET) --seeds $(SEEDS) $(if $(OUT),--out $(OUT))

smoke: $(READY)
	@rm -rf $(SMOKE)
	@$(COOPCTX) reproduce --preset smoke --seeds 0-1 --results $(SMOKE)/results --out $(SMOKE)/figures
	@$(VENV)/bin/python tests/smoke_check.py $(SMOKE)

clean:
	@rm -rf $(VENV) build dist *.egg-info .pytest_cache .hypothesis .mypy_cache mutants .ruff_cache
	@find coopctx tests -name __pycache__ -type d -prune -exec rm -rf {} +
