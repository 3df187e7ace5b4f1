# Everything runs in .venv, which the first target that needs it makes. `make` alone lists the targets.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
# More arguments for pytest or the server, as in: make perf ARGS="--perf-cells api=8"
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help setup test test-browser test-wheel soak fuzz overload kills mutants perf perf-quick perf-plain compare-engines profile screenshots calibrate accept serve check lock

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 18

setup: $(READY) ## install the pinned packages and the project into .venv

$(READY): requirements.lock requirements-tools.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "needs Python 3.11 or newer: make PYTHON=python3.11")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement requirements.lock --requirement requirements-tools.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@

# By file: whatever needs the real server is in one file and shares it.
test: $(READY) ## run the unit tests, in parallel
	$(BIN)/pytest unit_tests -n 2 --dist loadfile $(ARGS)

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

perf: $(READY) ## measure every cell and compare with this machine's baseline
	$(BIN)/pytest perf_tests --benchmark-compare $(ARGS)

perf-quick: $(READY) ## compare with this machine's baseline alone: a first look, in some two minutes
	$(BIN)/pytest perf_tests --benchmark-compare --perf-confirm no --perf-processes 2 $(ARGS)

perf-plain: $(READY) ## compare the service with a plain LitServe server, side by side
	$(BIN)/python -m tools.compare_plain $(ARGS)

compare-engines: $(READY) ## the built-in load client and Locust on the same server, in turns
	$(BIN)/python -m tools.compare_engines $(ARGS)

profile: $(READY) ## where the time of a request goes, by stage and by process
	$(BIN)/python -m tools.profile_request $(ARGS)

screenshots: $(READY) ## pictures of the last run's report, by Chromium, into docs/images
	$(BIN)/python -m tools.screenshots $(ARGS)

calibrate: $(READY) ## measure the gate itself for an hour, and write its certificate
	$(BIN)/python -m tools.calibration $(ARGS)

accept: $(READY) ## measure and store a baseline for this class of machine
	$(BIN)/pytest perf_tests --perf-accept $(ARGS)

serve: $(READY) ## start the server on http://127.0.0.1:8000
	$(BIN)/python -m service.server $(ARGS)

check: $(READY) ## lint, types and import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(BIN)/zizmor --offline --quiet --pedantic .github/workflows

# Tools that the service doesn't run with are pinned in a file of their own: the gate takes a commit with another
# requirements.lock for one that needs another environment.
MARK := s/^\(atheris==.*\)/\1 ; sys_platform == "linux" and python_version < "3.14"/;s/^\(nvidia-[a-z0-9-]*\|cuda-[a-z-]*\|triton\)\(==.*\)/\1\2 ; sys_platform == "linux" and platform_machine == "x86_64"/;s/^\(nvidia-ml-py==[0-9.]*\) .*/\1/
FREEZE := build/lock/bin/python -m pip freeze --all --exclude pip --exclude servegate | sed '$(MARK)'

lock: ## renew the lock files from pyproject.toml
	rm -rf build/lock
	$(PYTHON) -m venv build/lock
	build/lock/bin/python -m pip install --quiet '.[service,dev]'
	$(FREEZE) > requirements.lock
	build/lock/bin/python -m pip install --quiet '.[service,dev,tools]'
	$(FREEZE) | grep --invert-match --line-regexp --fixed-strings --file requirements.lock > requirements-tools.lock
