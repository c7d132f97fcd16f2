# Every target does its own set-up. What a machine must have is Python 3.11 or later, make and pip.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
SOURCES := $(wildcard trio_mqtt tests examples benchmarks tools docs/*.py)
EXACT := trio_mqtt/packets/*,trio_mqtt/_protocol/*
DOCS := docs/_build/html
VERSION := $(shell $(PYTHON) -c "import sys; print('%d.%d' % sys.version_info[:2])" 2>/dev/null)

# A test that hangs ends the run with a traceback of where. Trying more examples takes its time.
PYTEST := -m pytest -o faulthandler_timeout=$(if $(TRIO_MQTT_EXAMPLES),0,300) \
	-o faulthandler_exit_on_timeout=true

# Each processor has tests of its own to run.
WORKERS := -n auto --maxprocesses=4 --dist worksteal
# What takes twice as long where coverage is measured, and adds nothing to it.
LONG := tests/protocol/test_exploration.py tests/protocol/test_exploration_guards.py \
	tests/client/test_cuts.py tests/client/test_flood.py tests/client/test_stateful.py
# One server comes after the other, so each half of the tests has some servers of its own. What
# fails is tried once more, and told: a busy machine may be too slow for a server.
INTEROP := -n 2 --dist worksteal --reruns 1 -rR
# What needs no other server, and says in a minute whether a change has broken something.
QUICK := tests/packets tests/protocol tests/test_topics.py tests/test_layers.py \
	tests/client/test_publishing.py tests/client/test_subscribing.py tests/client/test_settling.py
# What says nothing of the dependencies, or nothing more than other tests, and takes long.
NOT_AGAIN := --ignore tests/interop --ignore tests/test_benchmarks.py --ignore tests/examples \
	--ignore tests/packets --ignore tests/protocol --ignore tests/ledger --ignore tests/storage \
	--ignore tests/profiles --ignore tests/test_docs.py --ignore tests/test_docs_versions.py \
	--ignore tests/test_examples.py --ignore tests/test_migration.py \
	--ignore tests/test_gateway_page.py \
	$(LONG:%=--ignore=%) $(PROCESSES:%=--ignore=%)
# The command line as processes; the tests within one process say more of its dependencies.
PROCESSES := tests/cli/test_mosquitto_scripts.py tests/cli/test_command_line_page.py \
	tests/cli/test_pub.py tests/cli/test_sub.py tests/cli/test_request.py \
	tests/cli/test_bench.py tests/cli/test_terminal.py

# No look-up of newer releases: the version is pinned.
export PYRIGHT_PYTHON_IGNORE_WARNINGS := 1

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: help demo test quick lint types docs docs-versions pytest interop guards mutations broad-mutations test-lowest test-python package release-check bench bench-many bench-instructions format mosquitto strace valgrind clean

help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*##  *\(.*\)/\1\t\2/p' Makefile | expand -t 20

demo: $(VENV)/.demo  ## simulated devices and a live table; MQTT_URL chooses another server
	@$(BIN)/python examples/demo.py

test: lint types docs package pytest  ## everything that must pass

quick: $(VENV)/.test  ## the tests of a minute, after each change
	TRIO_MQTT_EXAMPLES=20 $(BIN)/python $(PYTEST) -q $(WORKERS) $(LONG:%=--ignore=%) \
		--ignore tests/packets/test_fuzz.py $(QUICK)

lint: $(VENV)/.test  ## ruff: rules and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.test  ## mypy and pyright, both strict
	$(BIN)/mypy $(SOURCES)
	$(BIN)/pyright --pythonpath $(BIN)/python $(SOURCES)
	$(BIN)/python tools/editors.py

docs: $(VENV)/.test  ## the documentation, in docs/_build/html; a warning is an error
	$(BIN)/sphinx-build -W --keep-going --fresh-env --nitpicky --quiet \
		-b html -d docs/_build/doctrees $(SPHINXOPTS) docs $(DOCS)

docs-versions: $(VENV)/.test  ## the documentation of each release and of this tree, in docs/_build/versions
	$(BIN)/python tools/docs_versions.py

pytest: $(VENV)/.test mosquitto strace  ## the tests, with branch coverage
	$(BIN)/coverage erase
	$(BIN)/python $(PYTEST) $(WORKERS) --cov --cov-report= $(LONG:%=--ignore=%) --ignore=tests/interop tests
	$(BIN)/python $(PYTEST) $(WORKERS) $(LONG)
	$(BIN)/coverage report --include='$(EXACT)' --fail-under=100 --precision=2 --skip-covered
	$(BIN)/coverage report --fail-under=95 --precision=2 --skip-covered

interop: $(VENV)/.test  ## the same checks of seven servers; installs them, writes docs/servers.rst
	$(BIN)/python -m tests.interop.install
	$(BIN)/python $(PYTEST) $(INTEROP) --interop-results=.interop/results.json tests/interop
	$(BIN)/python -m tests.interop.page .interop/results.json docs/servers.rst

guards: $(VENV)/.test mosquitto  ## takes the guards of the delivery contract out, one by one
	$(BIN)/python tools/guards.py

mutations: $(VENV)/.test  ## breaks each statement of the standards in the code; its tests notice
	$(BIN)/python tools/mutations.py

broad-mutations: $(VENV)/.test  ## changes the codec and the protocol at 300 places; 90 % must be noticed
	$(BIN)/python tools/broad_mutations.py

test-lowest: .venv-lowest/.installed mosquitto strace  ## the tests with the oldest dependencies declared
	TRIO_MQTT_EXAMPLES=100 .venv-lowest/bin/python $(PYTEST) $(WORKERS) $(NOT_AGAIN) tests

test-python: .venv-$(VERSION)/.installed mosquitto strace  ## the tests with another PYTHON=python3.13
	.venv-$(VERSION)/bin/python $(PYTEST) $(WORKERS) --ignore tests/interop tests

package: $(VENV)/.test  ## the wheel and the sdist, and whether they are whole
	$(BIN)/python tools/release.py --quick

release-check: $(VENV)/.test  ## what a release needs, as a list; PYTHONS="python3.12 ..." chooses
	$(BIN)/python tools/release.py

bench: $(VENV)/.bench mosquitto valgrind  ## beside other clients, a quarter of an hour; writes docs/performance
	$(BIN)/python -m benchmarks.peers
	$(BIN)/python -m benchmarks --page
	$(BIN)/python -m benchmarks.instructions

bench-many: $(VENV)/.bench  ## 10,000 idle clients, a million messages, payloads of 100 MB
	$(BIN)/python -m benchmarks.idle
	$(BIN)/python -m benchmarks.flat
	$(BIN)/python -m benchmarks.memory
	$(BIN)/python -m benchmarks.bound

bench-instructions: $(VENV)/.bench valgrind  ## instructions a message, beside what is stored
	$(BIN)/python -m benchmarks.instructions

format: $(VENV)/.test  ## let ruff repair what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:  ## remove what the other targets made
	rm -rf .venv .venv-* .interop build dist docs/_build .coverage .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

mosquitto:
	@tools/need-mosquitto

strace:
	@tools/need-strace

valgrind:
	@tools/need-valgrind

# Virtual environments. A stamp is as old as the last installation; pyproject.toml decides what
# belongs in. Debian's Python has no ensurepip unless python3-venv is there: then the pip that
# runs outside brings one in.
$(VENV)/bin/python:
	tools/make-venv $(PYTHON) $(VENV)

.PRECIOUS: .venv-%/bin/python
.venv-%/bin/python:
	tools/make-venv $(PYTHON) .venv-$*

$(VENV)/.demo: pyproject.toml | $(VENV)/bin/python
	$(PIP) install --editable '.[cli]'
	@touch $@

$(VENV)/.test: pyproject.toml | $(VENV)/bin/python
	$(PIP) install --editable '.[cli,opentelemetry,proxy,scram]' --group dev
	@touch $@

$(VENV)/.bench: pyproject.toml | $(VENV)/bin/python
	$(PIP) install --editable . --group bench
	@touch $@

.venv-lowest/.installed: pyproject.toml | .venv-lowest/bin/python
	.venv-lowest/bin/python tools/lowest.py > .venv-lowest/lowest.txt
	.venv-lowest/bin/python -m pip --disable-pip-version-check --quiet \
		install --editable '.[cli,opentelemetry,proxy,scram]' --group test --constraint .venv-lowest/lowest.txt
	@touch $@

.venv-%/.installed: pyproject.toml | .venv-%/bin/python
	.venv-$*/bin/python -m pip --disable-pip-version-check --quiet \
		install --editable '.[cli,opentelemetry,proxy,scram]' --group test
	@touch $@
