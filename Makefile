# Gallery's commands. `make` alone prints them.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help
help:  ## Print the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

.venv/run.stamp: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Gallery needs Python 3.11 or newer.")'
	@test -x $(BIN)/python || { echo "Making .venv with $$($(PYTHON) --version)."; $(PYTHON) -m venv .venv; }
	@$(BIN)/python tests/install_locked.py requirements.lock
	@$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e .
	@touch $@

.venv/dev.stamp: .venv/run.stamp requirements-dev.lock
	@$(BIN)/python tests/install_locked.py requirements-dev.lock
	@touch $@

.PHONY: setup
setup: .venv/dev.stamp tools  ## Set up everything for working on Gallery, in .venv

.PHONY: tools
tools:
	@tests/install-tools

.PHONY: run
run: .venv/run.stamp  ## Serve Gallery at http://127.0.0.1:3000 with its own servers and a data directory
	@exec $(BIN)/gallery dev

.PHONY: test
test: setup  ## Start the real servers for the tests and run the whole suite
	$(BIN)/pytest --numprocesses=4 --dist=worksteal

.PHONY: faults
faults: setup  ## The long run of tests/faults: dozens of kills, freezes of 90 s; twelve minutes
	FAULTS=long $(BIN)/pytest tests/faults --numprocesses=3 --dist=worksteal

.PHONY: container-test
container-test: setup  ## Build the image, run it, Compose and the Kubernetes files with Podman; as root, seven minutes
	@tests/install-tools containers
	CONTAINERS=yes $(BIN)/pytest tests/containers

.PHONY: kit-test
kit-test: setup  ## Generate clients from the API's document, build the frameworks' apps, and use them; installs npm packages
	KIT=yes $(BIN)/pytest tests/kit tests/clients

.PHONY: lint
lint: .venv/dev.stamp  ## Check format, style, types, import contracts and docs
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python tests/check_docs.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build  # not --quiet, which would also keep warnings from being errors
	@tests/install-tools javascript
	@if [ -d clients/javascript/node_modules ]; then npm --prefix clients/javascript run lint; fi

.PHONY: wheels
wheels: .venv/dev.stamp  ## Check that no supported Python and machine needs a compiler (asks the package index)
	$(BIN)/python tests/check_wheels.py

.PHONY: check
check:  ## Lint, wheels, then test, as in CI
	@$(MAKE) --no-print-directory --jobs=3 lint wheels setup  # waits for the network and for the processor side by side
	@$(MAKE) --no-print-directory test

.PHONY: fix
fix: .venv/dev.stamp  ## Format, and apply automatic fixes
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	@if [ -d clients/javascript/node_modules ]; then npm --prefix clients/javascript run fix; fi

.PHONY: bench
bench: .venv/dev.stamp  ## Measure: make bench [GROUPS="reads uploads"] [BASELINE=git-ref] [AGAINST=url] [ROUNDS=5]
	@tests/install-tools bench
	@$(BIN)/python -m bench $(GROUPS) $(if $(BASELINE),--baseline $(BASELINE)) $(if $(AGAINST),--against $(AGAINST)) \
		$(if $(ROUNDS),--rounds $(ROUNDS))

.PHONY: docs
docs: .venv/dev.stamp  ## Generate the API, CLI, settings, errors, performance and llms pages again, copy the examples, and check all pages
	@for page in api commands configuration errors performance llms; do $(BIN)/python docs/make_$$page.py; done
	@$(BIN)/python .ci/make_schema.py
	@$(BIN)/python docs/copy_examples.py
	$(BIN)/python tests/check_docs.py

.PHONY: site
site: .venv/dev.stamp  ## Build the documentation as a site into site/: open site/index.html
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build

.PHONY: migration
migration: .venv/run.stamp  ## Start a new migration: make migration name="add albums"
	$(BIN)/alembic -c migrations/alembic.ini revision -m "$(name)" \
		--rev-id "$$(printf %03d $$(($$(ls migrations/versions/*.py | wc -l) + 1)))"

.PHONY: lock
lock: .venv/dev.stamp  ## Resolve the dependencies again, with hashes
	$(BIN)/uv pip compile pyproject.toml --extra embedded requirements.in --universal --python-version 3.11 \
		--generate-hashes --no-annotate --upgrade -o requirements.lock
	$(BIN)/uv pip compile pyproject.toml --extra embedded --group dev requirements.in --universal --python-version 3.11 \
		--generate-hashes --no-annotate -c requirements.lock -o requirements-dev.lock
	$(BIN)/uv pip compile pyproject.toml --universal --python-version 3.11 \
		--generate-hashes --no-annotate -c requirements.lock -o requirements-server.lock
	$(BIN)/uv pip compile requirements-build.in --universal --python-version 3.11 \
		--generate-hashes --no-annotate --upgrade -c requirements.lock -o requirements-build.lock

.PHONY: dist
dist: .venv/dev.stamp  ## Build the published sdists and wheels of the last commit into dist/
	$(BIN)/python .ci/dist.py

.PHONY: clean
clean:  ## Remove the tools' files; the data directory stays
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis dist site
