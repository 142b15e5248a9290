# Everything runs in .venv, made on first use from the lock file and reused until that changes.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
PYTEST_ARGS ?=

.PHONY: install demo test test-neo4j lint format lock bench bench-neo4j soak broken-promises clean

install: $(VENV)/.installed

$(VENV)/.installed: requirements-dev.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements-dev.lock
	$(BIN)/python -m pip install --quiet --no-deps --editable .
	touch $@

demo: install
	$(BIN)/python scripts/demo.py

# Each process of the tests wants some 2 GB, for it starts a Neo4j of its own; a server that is given
# is for one alone, which TEST_PROCESSES=0 means.
TEST_PROCESSES ?= $(if $(NEO4J_URI),0,2)
PYTEST := $(BIN)/python -m pytest --numprocesses $(TEST_PROCESSES) --dist worksteal

# The Neo4j that tests start, by Docker or else Java 17 and Maven; NEO4J_URI names one that runs.
RAG_TEST_NEO4J ?= 5.26.30
export RAG_TEST_NEO4J

test: install
	$(PYTEST) tests/ --cov=services/ --cov=shared/ $(PYTEST_ARGS)

# Only what needs a Neo4j, for another version of it: make test-neo4j RAG_TEST_NEO4J=5.15.0
test-neo4j: install
	$(PYTEST) tests/contract tests/faults tests/promises tests/property tests/replicas -k neo4j $(PYTEST_ARGS)

# Folders in the common form (corpus.jsonl, queries.jsonl) whose retrieval quality is measured.
BENCH_SETS ?= benchmarks/data/german benchmarks/data/chinese
RESULTS := benchmarks/results

bench: install
	$(BIN)/python benchmarks/quality.py $(BENCH_SETS) --json $(RESULTS)/quality.json
	$(BIN)/python benchmarks/indexing.py $(BENCH_SETS) --documents 4 --json $(RESULTS)/indexing.json
	$(BIN)/python benchmarks/speed.py --json $(RESULTS)/speed.json
	$(BIN)/python benchmarks/http_speed.py --json $(RESULTS)/http_speed.json

# Speed, memory and disk of the store on Neo4j at 100,000 chunks; the first run fills it, for half an
# hour or so. NEO4J_URI names a server of your own. Then: whether both stores answer alike.
BENCH_NEO4J_ARGS ?=

bench-neo4j: install
	$(BIN)/python benchmarks/neo4j_speed.py --json $(RESULTS)/neo4j_speed.json $(BENCH_NEO4J_ARGS)
	$(BIN)/python benchmarks/congruence.py $(BENCH_SETS) --json $(RESULTS)/congruence.json

# Hours of it: each round prints its seed, and SEED=… takes the same steps again.
OPERATIONS ?= 200000
KILLS ?= 200
SIMULATIONS ?= 2000
SEED ?= $(shell date +%s)

soak: install
	OPERATIONS=$(OPERATIONS) KILLS=$(KILLS) SEED=$(SEED) HYPOTHESIS_PROFILE=soak $(BIN)/python -m pytest tests/property tests/promises -s $(PYTEST_ARGS)
	KILLS=$(KILLS) $(BIN)/python -m pytest tests/contract/test_neo4j_schema.py -s $(PYTEST_ARGS)
	SIMULATIONS=$(SIMULATIONS) SEED=$(SEED) $(BIN)/python -m pytest tests/simulation/test_lives.py -s $(PYTEST_ARGS)

# Breaks each promise on purpose, in a copy, and sees its suite notice: half an hour.
broken-promises: install
	$(BIN)/python scripts/break_promises.py

lint: install
	$(BIN)/ruff check services/ shared/ tests/ benchmarks/ scripts/
	$(BIN)/black --check services/ shared/ tests/ benchmarks/ scripts/
	$(BIN)/mypy services/ shared/
	$(BIN)/lint-imports

format: install
	$(BIN)/ruff check --fix services/ shared/ tests/ benchmarks/ scripts/
	$(BIN)/black services/ shared/ tests/ benchmarks/ scripts/

# Needs uv (pip install uv); the lock files hold for every platform and Python that is supported.
lock:
	uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --no-strip-extras --no-header --no-emit-index-url -o requirements.lock
	uv pip compile pyproject.toml --group dev --universal --python-version 3.11 --generate-hashes --no-strip-extras --no-header --no-emit-index-url -o requirements-dev.lock

clean:
	rm -rf $(VENV) build dist .coverage coverage.xml .mypy_cache .pytest_cache .ruff_cache .hypothesis
