# Kav: `make run` starts it, `make test` tests it. Both need Python 3.11 or newer and make, and do the rest themselves.

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
FUZZ_SECONDS ?= 600
CODE := $(wildcard *.py) kav

.PHONY: run test rehearse bench chaos fuzz lint security clean

run: $(READY)  ## start Kav; without keys, with the rehearsal model and one call to listen to
	@$(BIN)/python -m rehearsal.start

test: $(READY)  ## everything that wheels can give; what needs more says so and skips
	$(BIN)/python -m pytest -n 4 --dist loadfile

rehearse: $(READY)  ## play every scenario with real speech
	$(BIN)/python -m rehearsal

bench: $(READY)  ## measure: calls per core, ends, barge-in, first word, the judge
	$(BIN)/python -m bench

chaos: $(READY)  ## everything around Kav fails while thirty calls run; then thousands of calls
	$(BIN)/python -m chaos

fuzz: $(READY)  ## whatever may come over the network, for ten minutes: make fuzz FUZZ_SECONDS=30
	$(BIN)/python -m pytest tests/fuzz --timeout 0 --fuzz-seconds $(FUZZ_SECONDS)

lint: $(READY)  ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

security: $(READY)  ## known weaknesses in the code and in what it depends on; KAV_REQUIRE_ALL=1: fail on what the audit passes over
	$(BIN)/bandit -q -ll -r $(CODE)
	$(BIN)/python -m tests.security.audit $(if $(KAV_REQUIRE_ALL),--strict) requirements.txt requirements-dev.txt

clean:  ## remove the environment and every cache
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(READY): requirements.txt requirements-dev.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Kav needs Python 3.11 or newer, this is " + sys.version.split()[0] + ": make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $(READY)
