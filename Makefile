# `make` alone prints the targets. `make demo` and `make test` work as the first command in a fresh clone: set-up is part of them.
# Kept to what GNU make 3.81 (macOS) understands.

SHELL := /bin/sh
BIN := .venv/bin
READY := .venv/.ready
SETUP_INPUTS := .ci/setup pyproject.toml requirements.lock requirements-setup.lock \
  rtap_assets/java/ivy.xml rtap_assets/java/jars.sha256
COMPILE := $(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header

# Workers share a tier: much of what its tests do is to wait. A file stays on one worker, with the broker, the JVM and the
# fixtures that it uses (2.5 GB a worker). WORKERS=0 runs everything in one process.
WORKERS := 2
PYTEST = $(BIN)/pytest --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder

.DEFAULT_GOAL := help
.PHONY: help setup demo up down status doctor test test-faults test-ui campaign test-unit test-spark test-integration test-e2e lint docs bench bench-state bench-live bench-peers bench-history bench-dashboard lock clean FORCE

help: ## Print this list
	@echo "Usage: make TARGET"
	@awk 'BEGIN {FS = ":.*## "} /^[a-z0-9-]+:.*## / {printf "  %-18s %s\n", $$1, $$2}' Makefile

setup: $(READY) ## Create .venv, install the locked packages, fetch the jars (part of every other target)

# A .venv whose Python is gone counts as not set up.
ifeq ($(wildcard $(BIN)/python),)
$(READY): FORCE
endif
$(READY): $(SETUP_INPUTS)
	@sh .ci/setup

demo: $(READY) ## Run the whole pipeline on 200,000 events and prove that none was lost or counted twice
	@$(BIN)/rtap demo

up: $(READY) ## Start the live system in the background (RATE=500: with events; STREAMS=stopped: streams are not started)
	@$(BIN)/rtap up --ui --streams $(if $(filter stopped,$(STREAMS)),,--start) $(if $(RATE),--generate $(RATE))

down: $(READY) ## Stop what `make up` started
	@$(BIN)/rtap down

status: $(READY) ## Show what runs
	@$(BIN)/rtap status

doctor: $(READY) ## Check Java, jars, ports, memory and disk
	@$(BIN)/rtap doctor

test: WORKERS := 3
test: $(READY) ## Run the tests: e2e, integration, spark, unit (WORKERS=0: in one process)
	@$(PYTEST)

test-faults: $(READY) ## Kill hosts, JVMs and drains, wear tables out: each fault once, then exact counts
	@$(PYTEST) tests/faults

test-ui: $(READY) ## Drive the Dagster UI of a live system in Chromium (screenshots in .screenshots/)
	@$(PYTEST) tests/ui

campaign: $(READY) ## Repeat the tests of faults and of asynchronous work (TIMES=10)
	@for round in $$(seq $(or $(TIMES),10)); do \
	  $(PYTEST) -q tests/faults tests/integration/test_corrections.py tests/integration/test_late_schemas.py \
	    tests/integration/test_registry_away.py tests/integration/test_stream_engine.py \
	    tests/integration/test_housekeeping.py || exit 1; \
	done
	@$(BIN)/pytest -q tests/e2e/test_live_system.py --live-seconds 600

test-unit: WORKERS := 3
test-unit: $(READY) ## Run the tests that need nothing but Python
	@$(PYTEST) tests/unit

test-spark: $(READY) ## Run the tests that need a JVM
	@$(PYTEST) tests/spark

test-integration: $(READY) ## Run the tests against a real broker and registry
	@$(PYTEST) tests/integration

test-e2e: $(READY) ## Run the whole platform through its own commands
	@$(PYTEST) tests/e2e

lint: $(READY) ## Check style (ruff), the direction of imports (import-linter) and types (mypy strict)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/lint-imports --no-cache --no-logo
	@$(BIN)/mypy

docs: $(READY) ## Build the documentation as a site into site/; a broken link fails (SERVE=1: serve it, rebuilt on change)
	@test -x .venv-docs/bin/mkdocs && test .venv-docs/.ready -nt requirements-docs.lock || { \
	  $(BIN)/uv venv --quiet --clear --python $(BIN)/python .venv-docs && \
	  $(BIN)/uv pip install --quiet --python .venv-docs/bin/python --require-hashes -r requirements-docs.lock && \
	  touch .venv-docs/.ready; }
	@NO_MKDOCS_2_WARNING=1 .venv-docs/bin/mkdocs $(if $(SERVE),serve,build --quiet --strict)

bench: $(READY) ## Measure the chain, cold and warm, per stream (N=events, AGAINST=another commit)
	@$(BIN)/python -m bench $(if $(N),--events $(N)) $(if $(AGAINST),--against $(AGAINST))

bench-dashboard: $(READY) ## Measure the dashboard: event to pixel, viewers, CPU and memory; its API on the demo's data (RATE, SECONDS, WRITE=1)
	@$(BIN)/python -m bench.dashboard $(if $(RATE),--rate $(RATE)) $(if $(SECONDS),--seconds $(SECONDS)) $(if $(WRITE),--write)

bench-state: $(READY) ## Measure silver's batches by the number of live ids (SIZES=300000,1000000)
	@$(BIN)/python -m bench.state $(if $(SIZES),--sizes $(SIZES))

bench-history: $(READY) ## Measure the periodic steps beside a short and a long history (ROWS=1600000 DAYS=1,30 SNAPSHOTS=30,1000)
	@$(BIN)/python -m bench.history $(if $(ROWS),--rows $(ROWS)) $(if $(DAYS),--days $(DAYS)) $(if $(SNAPSHOTS),--snapshots $(SNAPSHOTS))

bench-live: $(READY) ## Measure the running platform: cores, memory, latencies (RATES=2000,200,0 SECONDS=180 SETTLE=60)
	@$(BIN)/python -m bench.live $(if $(RATES),--rates $(RATES)) $(if $(SECONDS),--seconds $(SECONDS)) $(if $(SETTLE),--settle $(SETTLE))

bench-peers: $(READY) ## Compare with Kafka Streams, Flink and a loop by hand on one topic (N=events, WRITE=1: into the docs)
	@$(BIN)/python -m bench.peers $(if $(N),--events $(N)) $(if $(RUNS),--runs $(RUNS)) $(if $(WRITE),--write)

lock: $(READY) ## Resolve the dependencies again and write the lock files (hashes, no index)
	@$(COMPILE) --no-strip-extras --extra dev pyproject.toml -o requirements.lock
	@$(COMPILE) --no-strip-extras -c requirements.lock pyproject.toml -o requirements-runtime.lock
	@printf 'mkdocs-material\n' | $(COMPILE) --no-annotate - -o requirements-docs.lock
	@printf 'setuptools\nuv\n' | $(COMPILE) --no-annotate - -o requirements-setup.lock

clean: ## Remove .venv and caches (not the state folder: `rtap reset --yes` does that)
	rm -rf .venv .venv-docs site .mypy_cache .pytest_cache .ruff_cache *.egg-info
	find rtap_assets tests bench -name __pycache__ -type d -prune -exec rm -rf {} +
