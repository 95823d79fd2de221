# Everything a developer runs. `make help` lists it.

PYTHON_IN = .venv/bin/python
READY = .venv/.ready

.DEFAULT_GOAL := help
.PHONY: help setup servers demo demo-full test check lint format bench lock docs wheel clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(READY) ## make .venv with everything in it (Python >= 3.11; set PYTHON=… to choose one)

$(READY): pyproject.toml requirements/dev.lock scripts/setup
	@scripts/setup

servers: $(READY) ## install the test servers that are missing (Debian: Postgres 15, pgbouncer)
	@$(PYTHON_IN) -m tests.servers install

demo: $(READY) ## play the bank's story on SQLite; LEDGER=DIR imports a real ledger too
	@$(PYTHON_IN) -m examples.bank demo
ifdef LEDGER
	@$(PYTHON_IN) -m examples.bank import "$(LEDGER)"
	@$(PYTHON_IN) -m examples.bank check "$(LEDGER)"
endif

demo-full: $(READY) ## the bank in production: Postgres, Redis, OpenSearch, Neo4j, two workers of which one is killed; LEDGER=DIR imports a real ledger
	@$(PYTHON_IN) -m tests.servers install
	@$(PYTHON_IN) -m examples.bank.demo_full $(if $(LEDGER),"$(LEDGER)")

test: $(READY) ## run all the tests, with real Postgres 15 and 18 (TESTS=… to choose, e.g. TESTS="tests/store -k append")
	@$(PYTHON_IN) -m tests.servers install || echo "make test: going on without; the summary says what was not tested" >&2
	$(PYTHON_IN) -m pytest $(TESTS)

# Without kept bytecode, which some containers are set up for, each of the four would compile all the tests anew.
check: lint ## the fast loop: lint, and all tests that need no server and do not take long, four at a time
	PYTHONDONTWRITEBYTECODE= $(PYTHON_IN) -m pytest -q -n 4 -m "not postgres and not redis and not opensearch and not neo4j and not prometheus and not browser and not slow" $(TESTS)

lint: $(READY) ## format, lint, types, imports between rooms, nothing committed that belongs to one machine
	$(PYTHON_IN) -m ruff format --check --quiet .
	$(PYTHON_IN) -m ruff check --quiet --output-format concise .
	$(PYTHON_IN) -m mypy
	.venv/bin/lint-imports --no-logo
	$(PYTHON_IN) scripts/check_tree.py

format: $(READY) ## put the code into the project's format, and mend what the linter can
	$(PYTHON_IN) -m ruff format .
	$(PYTHON_IN) -m ruff check --fix .

bench: $(READY) ## run the benchmarks, or one: NAME=…
	$(PYTHON_IN) -m benchmarks $(NAME)

lock: $(READY) ## write requirements/*.lock anew; UPGRADE=1 takes the newest versions
	scripts/lock $(if $(UPGRADE),--upgrade)

docs: $(READY) ## write docs/reference from the docstrings, and run the code in README.md and docs/
	$(PYTHON_IN) scripts/reference.py
	$(PYTHON_IN) -m pytest tests/docs

wheel: $(READY) ## build the wheel into dist/, and check that it installs and works without extras
	$(PYTHON_IN) scripts/check_wheel.py

clean: ## stop the servers, remove the environment, caches and what was built
	@[ ! -x $(PYTHON_IN) ] || $(PYTHON_IN) -m tests.servers stop
	rm -rf .venv .bench .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
