# `make help` lists the targets. Everything that is missing is installed; nothing is left running.
SHELL := /bin/sh
PYTHON ?= python3
VENV := .venv
PEERS := .venv-bench
BIN := $(VENV)/bin

# Containers often set it. Every process that runs tests then compiles all of them anew.
unexport PYTHONDONTWRITEBYTECODE

# What else is worth trying on a cluster: crashes, retries, redelivery.
CLUSTERED := $(patsubst %,tests/integration/test_%.py, \
	worker_crashes retries returned work drain ack_timeout faults send)

.PHONY: help demo test test-faults soak check bench docs pictures clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/installed rabbitmq ## see tasks sent, worked off, and a forgotten ack, on a real RabbitMQ
	@PATH="$(CURDIR)/$(BIN):$$PATH" scripts/demo

test: $(VENV)/installed rabbitmq ## the whole test suite, on a real RabbitMQ
	$(BIN)/python -m pytest --numprocesses 7 --dist loadgroup

test-faults: $(VENV)/installed rabbitmq ## everything that can break is broken, on one node and on a cluster of three (an hour)
	@failed=0; set -x; \
	$(BIN)/python -m pytest --numprocesses 3 --dist loadgroup --timeout 900 --scale 4 tests/faults tests/integration/test_worker_crashes.py \
		--ignore tests/faults/test_cluster.py || failed=$$?; \
	$(BIN)/python -m pytest --numprocesses 2 --dist loadgroup --timeout 900 --nodes 3 --scale 4 tests/faults $(CLUSTERED) || failed=$$?; \
	exit $$failed

# What decides a soak; the same seed has the same load and faults again.
SEED ?= 1
MINUTES ?= 3
NODES ?= 1
KIND ?= classic

soak: $(VENV)/installed rabbitmq ## load and faults drawn from SEED, and an account by ids (MINUTES=3 NODES=1|3 KIND=classic|quorum)
	$(BIN)/python -m tests.soak --seed $(SEED) --minutes $(MINUTES) --nodes $(NODES) --kind $(KIND)

check: $(VENV)/installed ## style, types, and unit tests
	@$(MAKE) --no-print-directory --jobs 3 style types unit

.PHONY: style types unit
style:
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: # uses one core only
	$(BIN)/mypy

unit:
	$(BIN)/python -m pytest tests/unit -q --numprocesses 8 --dist worksteal --hypothesis-profile quick

bench: $(VENV)/installed $(PEERS)/installed rabbitmq amqp-tools ## how fast it is, beside others (20 minutes; QUICK=1: 7, a tenth of the tasks)
	$(BIN)/python -m bench $(if $(QUICK),--quick)

docs: $(VENV)/installed ## docs/reference.md and the man pages, from the program's own help
	$(BIN)/python scripts/reference.py

pictures: $(VENV)/installed rabbitmq ## the documentation's pictures, from a real run of three minutes
	$(BIN)/python scripts/pictures.py

clean: ## remove what was built
	rm -rf $(VENV) $(PEERS) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis

.PHONY: rabbitmq amqp-tools
rabbitmq:
	@scripts/install-rabbitmq

amqp-tools:
	@command -v amqp-publish >/dev/null || scripts/install-package amqp-tools rabbitmq-c

$(VENV)/installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

# What rqtool is measured against is no dependency of it, and stays out of its environment.
$(PEERS)/installed: bench/requirements.txt
	$(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check --requirement $<
	@touch $@
