# make test     the tests
# make figures  what the figures still lack is run, then they are drawn (figures/)
# make smoke    the whole line at toy scale: train, plot, check (build/smoke/)
# make clean    removes the environment and everything built; results and figures stay

PYTHON ?= python3
VENV := .venv
READY := $(VENV)/.ready
COOPCTX := $(VENV)/bin/coopctx
SMOKE := build/smoke

.DEFAULT_GOAL := help
.PHONY: help test figures smoke clean

help:
	@sed -n 's/^# //p' Makefile

# One environment for every target, made once and again only when what it is made from changes.
$(READY): pyproject.toml constraints.txt
	@echo "Setting up $(VENV) (once)"
	@$(PYTHON) -m venv $(VENV)
	@$(VENV)/bin/pip install -q -q --disable-pip-version-check --no-input -c constraints.txt -e '.[test]'
	@touch $@

test: $(READY)
	@$(VENV)/bin/python -m pytest

figures: $(READY)
	@$(COOPCTX) train --agent ppi --pool mixed --seeds 0-9
	@$(COOPCTX) train --agent ppi --pool mixed --opponent-id --seeds 0-9
	@$(COOPCTX) train --agent ppi --pool learners --seeds 0-9
	@$(COOPCTX) plot all

smoke: $(READY)
	@rm -rf $(SMOKE)
	@$(COOPCTX) train --agent ppi --pool mixed --preset smoke --seeds 0-1 --results $(SMOKE)/results
	@$(COOPCTX) train --agent ppi --pool mixed --opponent-id --preset smoke --seeds 0-1 --results $(SMOKE)/results
	@$(COOPCTX) train --agent ppi --pool learners --preset smoke --seeds 0-1 --results $(SMOKE)/results
	@$(COOPCTX) plot fig1 --preset smoke --results $(SMOKE)/results --out $(SMOKE)/figures
	@$(VENV)/bin/python tests/smoke_check.py $(SMOKE)

clean:
	@rm -rf $(VENV) build dist *.egg-info .pytest_cache .hypothesis
	@find coopctx tests -name __pycache__ -type d -prune -exec rm -rf {} +
