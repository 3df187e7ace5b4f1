# Everything runs in .venv, which the first target that needs it makes. `make` alone lists the targets.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
# The gate takes a commit with another requirements.lock for one that needs another environment, so that one holds what
# the service runs with and nothing else.
LOCKS := requirements.lock requirements-gate.lock requirements-dev.lock
# More arguments for pytest or the server, as in: make perf ARGS="--perf-cells api=8"
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help setup test test-slow test-browser test-wheel soak fuzz overload kills mutants demo perf perf-quick perf-plain compare-engines profile gpu-check screenshots calibrate accept serve check dist lock

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 18

setup: $(READY) ## install the pinned packages and the project into .venv

$(READY): $(LOCKS) pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "needs Python 3.11 or newer: make PYTHON=python3.11")'
	@$(PYTHON) -c 'import importlib.util, sys; sys.exit(0 if importlib.util.find_spec("ensurepip") else "needs ensurepip, which Debian has in a package of its own: apt install python3-venv")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes $(LOCKS:%=--requirement %)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@

# By file: whatever needs the real server is in one file and shares it.
test: $(READY) ## run the unit tests, in parallel
	$(BIN)/pytest unit_tests -n 2 --dist loadfile $(ARGS)

test-slow: $(READY) ## run what `make test` leaves out: engines compiled, servers killed, soak, overload, fuzzing
	$(BIN)/pytest unit_tests -m slow $(ARGS)

test-browser: $(READY) ## test the report in Chromium, which must be installed
	$(BIN)/pytest unit_tests -m browser $(ARGS)

test-wheel: $(READY) ## test servegate's wheel alone, on the example service
	$(BIN)/pytest unit_tests -m wheel $(ARGS)

soak: $(READY) ## good and bad requests while workers are killed, as in: make soak ARGS="--requests 50000"
	$(BIN)/python -m tools.stress.soak $(ARGS)

fuzz: $(READY) ## coverage-guided fuzzing of the way from bytes to image, as in: make fuzz ARGS="--minutes 60"
	$(BIN)/python -m tools.stress.fuzz $(ARGS)

overload: $(READY) ## ten times more requests than the service can answer
	$(BIN)/python -m tools.stress.overload $(ARGS)

kills: $(READY) ## kill runs of the suite at random moments, as in: make kills ARGS="--kills 100"
	$(BIN)/python -m tools.stress.kills $(ARGS)

mutants: $(READY) ## change the code in one place at a time, and list the changes that no test notices
	$(BIN)/python -m tools.mutants $(ARGS)

demo: $(READY) ## plant a slowdown in a clone, and see what the gate says of it
	$(BIN)/python -m tools.demo $(ARGS)

perf: $(READY) ## measure every cell and compare with the commit that was accepted last
	$(BIN)/pytest perf_tests --benchmark-compare $(ARGS)

perf-quick: $(READY) ## compare with this machine's baseline alone: a first look, in some two minutes
	$(BIN)/pytest perf_tests --benchmark-compare --perf-confirm no --perf-processes 2 $(ARGS)

perf-plain: $(READY) ## compare the service with a plain LitServe server, side by side
	$(BIN)/python -m tools.compare_plain $(ARGS)

compare-engines: $(READY) ## the built-in load client and Locust on the same server, in turns
	$(BIN)/python -m tools.compare_engines $(ARGS)

profile: $(READY) ## where the time of a request goes, by stage and by process
	$(BIN)/python -m tools.profile_request $(ARGS)

gpu-check: $(READY) ## what this machine's GPU does with the service, in ten minutes; docs/gpu.md
	$(BIN)/python -m tools.gpu_check $(ARGS)

screenshots: $(READY) ## pictures of the last run's report, by Chromium, into docs/images
	$(BIN)/python -m tools.screenshots $(ARGS)

# A folder has the target's name.
.PHONY: docs
docs: $(READY) ## build the pages of docs/ into build/site; a broken link is an error
	$(BIN)/mkdocs build
	@echo build/site/index.html

calibrate: $(READY) ## measure the gate itself for an hour, and write its certificate
	$(BIN)/python -m tools.calibration $(ARGS)

accept: $(READY) ## measure and store a baseline for this class of machine
	$(BIN)/pytest perf_tests --perf-accept $(ARGS)

serve: $(READY) ## start the server on http://127.0.0.1:8000
	$(BIN)/python -m service.server $(ARGS)

check: $(READY) ## lint, types, import contracts, lock files, workflows and distributions
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m tools.check_dependencies
	$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.github-actions action.yml
	$(BIN)/zizmor --offline --quiet --pedantic .github/workflows action.yml
	$(MAKE) --no-print-directory dist DIST=build/dist
	rm -rf build/dist

# Without a network. The wheel is made from the source distribution, so that both are known to be complete.
DIST := dist

dist: $(READY) ## build the wheel and the source distribution into dist/
	rm -rf $(DIST)
	$(BIN)/pyproject-build --config-setting=quiet=true --no-isolation --outdir $(DIST)
	$(BIN)/twine check --strict $(DIST)/*

# A pin stays as it is where pyproject.toml allows it; `make lock ARGS=--upgrade` takes the newest of all.
# The constraint brings back for which platform torch or twine wants a package; pip-compile forgets it.
COMPILE = CUSTOM_COMPILE_COMMAND='make lock  \# $(strip $(1))' $(BIN)/pip-compile --quiet --constraint requirements-linux.txt $(ARGS)

lock: $(READY) ## renew the lock files from pyproject.toml
	mkdir -p build
	for group in service perf-tests dev; do $(BIN)/dependency-groups --output build/$$group.in $$group; done
	$(call COMPILE, what the service runs with) --output-file requirements.lock build/service.in
	$(call COMPILE, what the gate runs with) --output-file requirements-gate.lock --constraint requirements.lock \
		--extra report --extra trend --extra locust pyproject.toml build/perf-tests.in
	$(call COMPILE, what the project is tested and checked with) --output-file requirements-dev.lock \
		--constraint requirements.lock --constraint requirements-gate.lock build/dev.in
