# Strongroom. `make` runs the demonstration, `make test` every check and test; both set up what they need under this folder.
.DEFAULT_GOAL := demo
.PHONY: demo temporal temporal-server temporal-check temporal-version go test check phrases unit integration kernel bench bench-compare bench-persistence bench-freshness bench-visibility bench-search bench-size bench-churn bench-namespaces bench-temporal bench-all pins reference vectors claims claim wheels runtime help clean env bench-env docs docs-env

PYTHON ?= python3
UV := .tools/bin/uv
BIN := .venv/bin
BENCH := .venv-bench/bin
SPHINX := .venv-docs/bin/sphinx-build
CHECKS := PYTHONPATH=.ci $(BIN)/python -m checks
# Number of pytest workers. Each starts its own servers; 0 disables xdist. A worker takes whole files, because the tests of a file share
# fixtures that take seconds. tests/support/file_order.py puts the longest files first.
PROCESSES ?= 3
# How the tests start their services: containers, local, or empty for the first way that works (tests/README.md).
export SERVICES ?=
export UV_PYTHON_DOWNLOADS := never
# The command line starts in half the time from compiled files, and the tests start it hundreds of times.
unexport PYTHONDONTWRITEBYTECODE
# Sources are linked one by one into the environment, so a new or removed file needs a new link.
SOURCES := $(sort $(shell find kms storage visibility driver -type f -not -name '*.pyc'))
LISTING := .venv/.sources
# What the demonstration and the command line need. If the environment for development is here, it is used, because it has all of that too.
RUNTIME := $(if $(wildcard .venv/.ready),env,runtime)
LIMIT := benchmarks/sealing/native_limit

demo: $(RUNTIME) ## seal real histories in a throw-away PostgreSQL, search them, rotate, shred, and prove each claim (default)
	@$(BIN)/strongroom demo

temporal: go env ## a real Temporal server on a sealed cell, used and searched for plaintext; needs Go 1.26; KEEP=1 leaves it running
	@$(BIN)/python -m examples.temporal $(if $(KEEP),--keep)

# The Go module reads only versions and checksums of its own files. Without cgo, all commands share one build cache.
GO := cd temporal && CGO_ENABLED=0 GOFLAGS="$(GOFLAGS) -mod=readonly" go

go:
	@command -v go >/dev/null || { echo "no Go here: the Temporal server and its stores are written in Go; install Go 1.26 or newer"; exit 2; }

temporal-server: go ## build temporal/bin/temporal-server-strongroom; needs Go 1.26 (five minutes of CPU the first time, seconds afterwards)
	$(GO) build -o bin/temporal-server-strongroom ./cmd/temporal-server-strongroom

temporal-check: go ## format, vet, staticcheck, unit tests and race detector for the Go module; needs Go 1.26
	@files=$$(cd temporal && gofmt -l $$(git ls-files '*.go')); test -z "$$files" || { echo "run gofmt -w on: $$files"; exit 1; }
	$(GO) vet ./...
	$(GO) tool -modfile=tools.mod staticcheck ./internal/... ./cmd/... ./stores ./visibility
	$(GO) test ./...
	$(subst CGO_ENABLED=0,CGO_ENABLED=1,$(GO)) test -race ./internal/client ./internal/wire

# The other version's requirements are in a file of their own, so go.mod stays as it is.
temporal-version: go env ## the Go module with another version of Temporal: checks, unit tests, persistence and visibility suites; TEMPORAL=1.32.2
	@test -n "$(TEMPORAL)" || { echo "name a released version of go.temporal.io/server: make temporal-version TEMPORAL=1.32.2"; exit 2; }
	@mkdir -p temporal/bin/versions && cp temporal/go.mod temporal/bin/versions/$(TEMPORAL).mod && cp temporal/go.sum temporal/bin/versions/$(TEMPORAL).sum
	cd temporal && go get -modfile=bin/versions/$(TEMPORAL).mod go.temporal.io/server@v$(TEMPORAL) && go mod tidy -modfile=bin/versions/$(TEMPORAL).mod
	@$(MAKE) temporal-check GOFLAGS="$(GOFLAGS) -modfile=bin/versions/$(TEMPORAL).mod"
	GOFLAGS="$(GOFLAGS) -modfile=bin/versions/$(TEMPORAL).mod" $(BIN)/pytest -q tests/integration/temporal/test_suites.py tests/integration/temporal/test_visibility.py

test: env check docs ## every check and every test, in PROCESSES=3; SERVICES=containers or local forces one way to start services
	$(BIN)/pytest -n $(PROCESSES) --dist loadfile --no-loadscope-reorder --durations=40 --durations-min=5

check: env ## format, lint, types, import contracts, layout, phrases, commit messages (seconds)
	$(BIN)/ruff format --check --quiet .
	$(BIN)/ruff check --quiet .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(CHECKS).layout
	$(CHECKS).phrases
	$(CHECKS).commit_messages

phrases: env ## the phrases that `make check` refuses; IN=FOLDER reads one folder
	@$(CHECKS).phrases $(IN)

unit: env ## unit tests, properties and vectors only (seconds, no server)
	$(BIN)/pytest tests/unit tests/property tests/vectors

integration: env ## tests against real servers, which the fixtures start and stop
	$(BIN)/pytest tests/integration tests/contract tests/faults tests/packaging

kernel: $(RUNTIME) ## build the native kernel into the environment, which takes it up; needs cargo (three minutes the first time)
	@command -v cargo >/dev/null || { echo "no cargo here: the kernel is written in Rust (see rustup). Everything works without it."; exit 2; }
	@$(UV) pip install -q --python $(BIN)/python --no-deps --reinstall-package strongroom-kernel --build-constraints requirements/release.txt ./kernel
	@$(BIN)/python -c 'from strongroom.kms.sealing import ciphers; print("sealing and opening:", ciphers.chosen())'

bench: bench-env ## measure all, write benchmarks/report and the tables of docs/how-to/sizing.md: 20 minutes, or 3 with QUICK=1
	@$(BENCH)/pytest -q -c benchmarks/pytest.ini --noconftest tests/unit/benchmarks/sealing/test_contenders.py
	$(BENCH)/python -m benchmarks.lib.report $(if $(QUICK),--quick)

bench-compare: bench-env ## what this work tree seals and opens faster or slower than BASE=HEAD~1, beyond the noise
	$(BENCH)/python -m benchmarks.sealing.compare $(or $(BASE),HEAD~1)

bench-persistence: env ## the stores against Temporal's Go store (needs Go) and against themselves without sealing; 10 minutes
	$(BIN)/python -m benchmarks.persistence.contest

bench-freshness: env ## what finding older rows costs: entries, digests and MACs, and the verification of ROWS=1000000; 12 minutes, an interrupted run is continued
	$(BIN)/python -m benchmarks.persistence.freshness --out benchmarks/report/freshness.jsonl --rows $(or $(ROWS),1000000)
	$(BIN)/python -m benchmarks.lib.journals

bench-temporal: go bench-env env ## a Temporal server on a sealed cell against the same server on its own stores, also with two workers and (with Java) on Elasticsearch; needs Go; 20 minutes, or 4 with QUICK=1; an interrupted run is continued
	$(BIN)/python -m benchmarks.temporal.contest --out benchmarks/report/temporal.jsonl $(if $(QUICK),--rounds 1 --count 40)
	$(BIN)/python -m benchmarks.persistence.bridge --out benchmarks/report/bridge.jsonl $(if $(QUICK),--rounds 1)
	$(BENCH)/python -m benchmarks.lib.journals

bench-all: bench-env env ## all benchmarks one after the other, continuing an interrupted run; half an hour, or 11 minutes with QUICK=1
	@echo "This takes about $(if $(QUICK),11,30) minutes on two quiet cores. Interrupted, it continues where it ended."
	$(BENCH)/python -m benchmarks.lib.report --resume $(if $(QUICK),--quick)
	$(BIN)/python -m benchmarks.persistence.contest --out benchmarks/report/persistence.jsonl $(if $(QUICK),--rounds 1 --seconds 0.2)
	$(BIN)/python -m benchmarks.persistence.audit --out benchmarks/report/audit.jsonl $(if $(QUICK),--rounds 1 --seconds 0.2 --records 10000)
	$(BIN)/python -m benchmarks.persistence.row_level_security --out benchmarks/report/row_level_security.jsonl $(if $(QUICK),--rounds 1 --seconds 0.2)
	$(BIN)/python -m benchmarks.persistence.freshness --out benchmarks/report/freshness.jsonl $(if $(QUICK),--rounds 1 --calls 200 --rows 10000 --entries 2000)
	$(BIN)/python -m benchmarks.visibility.contest --out benchmarks/report/visibility.jsonl --documents $(if $(QUICK),2000,200000)
	$(BIN)/python -m benchmarks.lib.journals

bench-leakage: env ## what a thief recovers from a stolen index in each preset; 3 minutes, the same figures on every machine
	$(BIN)/python -m benchmarks.leakage.contest --out benchmarks/report/leakage.jsonl
	$(BIN)/python -m benchmarks.lib.journals

bench-visibility: env ## sealed search against plaintext copies, in Elasticsearch and PostgreSQL; 15 minutes
	$(BIN)/python -m benchmarks.visibility.contest

bench-search: env ## sealed search in namespaces of 10,000 and 100,000 runs against plaintext copies; DOCUMENTS=1000000 for others; 6 minutes, an interrupted run is continued
	$(BIN)/python -m benchmarks.visibility.scale --out benchmarks/report/search.jsonl --documents $(if $(DOCUMENTS),$(DOCUMENTS),10000,100000)

bench-size: bench-env env ## searches, writes, verification and bytes with 10,000 to 1,000,000 rows; ROWS=10000000 for others; DATA=FOLDER keeps the rows; 20 minutes, an interrupted run is continued
	$(BIN)/python -m benchmarks.size.contest --out benchmarks/report/size.jsonl --rows $(if $(ROWS),$(ROWS),10000,100000,1000000) $(if $(DATA),--data $(DATA))
	$(BENCH)/python -m benchmarks.lib.journals

bench-churn: env ## bytes of tables whose rows are replaced three times, with the schema's autovacuum settings and with PostgreSQL's; 12 minutes
	$(BIN)/python -m benchmarks.size.churn --out benchmarks/report/churn.jsonl

bench-namespaces: env ## start, memory and KMS calls of a cell of 10,000 namespaces; NAMESPACES=1000 for others; 5 minutes, an interrupted run is continued
	$(BIN)/python -m benchmarks.size.namespaces --out benchmarks/report/many_namespaces.jsonl $(if $(NAMESPACES),--namespaces $(NAMESPACES))

# -W makes each warning an error.
docs: docs-env ## build the pages into build/docs; a broken link or anchor is an error (10 seconds)
	@$(SPHINX) -q -W --keep-going -E -j 2 -b html -c docs . build/docs
	@echo "build/docs/index.html"

reference: env ## write the generated pages of docs/reference: configuration, Python interface, commands, errors, metrics, operations, record kinds
	@PYTHONPATH=.ci $(BIN)/python -m reference docs/reference

vectors: env ## write tests/vectors again (the frozen files must not change)
	$(BIN)/python -m tests.vectors.generate

claims: env ## write the table of SECURITY.md from the last test run; a claim without a passing test is left out
	@$(BIN)/python -m tests.support.claims.table

claim: env ## run the tests of one claim of SECURITY.md: make claim C=C8; without C, list the claims
	@$(BIN)/python -m tests.support.claims.prove $(C)

wheels: .venv-release/.ready ## build dist/: wheel, source archive, kernel wheel (needs cargo), bill of materials, digests; TWICE=1 compares two builds; PYTHONS=1 installs it in each Python here; QUICK=1 leaves out the kernel
	@PYTHONPATH=.ci .venv-release/bin/python -m release dist $(if $(QUICK),--quick) $(if $(TWICE),--twice) $(if $(PYTHONS),--pythons)

PIN := $(UV) pip compile -q --universal --generate-hashes --no-emit-index-url --no-emit-find-links --no-header

pins: .tools/.ready ## resolve requirements/*.txt again, with hashes and without addresses
	$(PIN) --upgrade -o requirements/bootstrap.txt requirements/bootstrap.in
	$(PIN) --upgrade --python-version 3.11 -o requirements/docs.txt requirements/docs.in
	$(PIN) --upgrade --all-extras --group dev -o requirements/dev.txt pyproject.toml
	$(PIN) --upgrade --extra cli --extra demo --group peers -o requirements/bench.txt pyproject.toml
	$(PIN) --upgrade -c requirements/dev.txt --extra cli --extra demo -o requirements/run.txt pyproject.toml requirements/run.in
	$(PIN) --upgrade -c requirements/dev.txt --all-extras -o requirements/product.txt pyproject.toml
	$(PIN) --upgrade -c requirements/dev.txt -o requirements/release.txt requirements/release.in
	@if command -v cargo >/dev/null; then PYTHONPATH=.ci $(PYTHON) -m release.kernel; else echo "no cargo here: requirements/kernel.txt stays as it is"; fi

clean: ## remove the environment and what was built
	rm -rf .tools .venv .venv-bench .venv-docs .venv-release build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 20

LINK = @echo "$(SOURCES)" | cmp -s - $(LISTING) || { \
	  $(UV) pip install -q --python $(BIN)/python --no-deps --no-build-isolation --reinstall-package strongroom \
	    --config-settings editable_mode=strict -e . && echo "$(SOURCES)" > $(LISTING); }

env: .venv/.ready
	$(LINK)

runtime: .venv/.runtime
	$(LINK)

# The environment for development has these packages too, and `pip sync` would remove the others from it.
.venv/.runtime: requirements/run.txt pyproject.toml .tools/.ready
	@test -e .venv/.ready || { echo "making the environment in .venv ..."; rm -f $(LISTING); \
	  test -x $(BIN)/python || $(UV) venv -q --python .tools/bin/python .venv; \
	  $(UV) pip sync -q --compile-bytecode --python $(BIN)/python --require-hashes requirements/run.txt; }
	@touch $@

.venv/.ready: requirements/dev.txt pyproject.toml .tools/.ready
	@echo "making the environment for development in .venv ..."
	@rm -f $(LISTING)
	@test -x $(BIN)/python || $(UV) venv -q --python .tools/bin/python .venv
	@$(UV) pip sync -q --compile-bytecode --python $(BIN)/python --require-hashes requirements/dev.txt
	@test ! -d kernel/target || echo "if the native kernel was in use, build it again: make kernel"
	@touch $@

# The builder of the pages has an environment of its own, so that .venv does not grow.
docs-env: .venv-docs/.ready

.venv-docs/.ready: requirements/docs.txt .tools/.ready
	@echo "making the environment of the pages in .venv-docs ..."
	@test -x .venv-docs/bin/python || $(UV) venv -q --python .tools/bin/python .venv-docs
	@$(UV) pip sync -q --python .venv-docs/bin/python --require-hashes requirements/docs.txt
	@touch $@

# The tools of a release, which are in no other environment.
.venv-release/.ready: requirements/release.txt .tools/.ready
	@test -x .venv-release/bin/python || $(UV) venv -q --python .tools/bin/python .venv-release
	@$(UV) pip sync -q --python .venv-release/bin/python --require-hashes requirements/release.txt
	@touch $@

# The peers of the benchmarks have an environment of their own, so that no test needs them.
bench-env: .venv-bench/.ready .venv-bench/.kernel $(LIMIT)/target/.built
	@echo "$(SOURCES)" | cmp -s - .venv-bench/.sources || { \
	  $(UV) pip install -q --python $(BENCH)/python --no-deps --no-build-isolation --reinstall-package strongroom \
	    --config-settings editable_mode=strict -e . && echo "$(SOURCES)" > .venv-bench/.sources; }

.venv-bench/.ready: requirements/bench.txt pyproject.toml .tools/.ready
	@echo "making the environment of the benchmarks in .venv-bench ..."
	@rm -f .venv-bench/.sources
	@test -x $(BENCH)/python || $(UV) venv -q --python .tools/bin/python .venv-bench
	@$(UV) pip sync -q --compile-bytecode --python $(BENCH)/python --require-hashes requirements/bench.txt
	@touch $@

# Without cargo the kernel is left out of the report, by name.
.venv-bench/.kernel: .venv-bench/.ready $(wildcard kernel/*.toml kernel/src/*.rs)
	@if command -v cargo >/dev/null; then \
	  echo "building the kernel for the benchmarks ..."; \
	  $(UV) pip install -q --python $(BENCH)/python --no-deps --reinstall-package strongroom-kernel ./kernel && touch $@; fi

# AWS-LC's own speed, which the sealing benchmarks compare with. Without cargo it is left out of the report, by name.
$(LIMIT)/target/.built: $(LIMIT)/Cargo.toml $(LIMIT)/src/lib.rs
	@if command -v cargo >/dev/null; then \
	  echo "building AWS-LC for the benchmarks ..."; \
	  (cd $(LIMIT) && cargo build --release --quiet) && touch $@; fi

.tools/.ready: requirements/bootstrap.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Strongroom needs Python 3.11 or newer; $$($(PYTHON) -V) is here. Try: make PYTHON=python3.12"; exit 2; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
	  || { echo "$(PYTHON) can't make environments (no ensurepip). On Debian and Ubuntu: apt-get install python3-venv"; exit 2; }
	@$(PYTHON) -m venv .tools
	@.tools/bin/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements/bootstrap.txt
	@touch $@
