# The one place for commands. `make` lists them.
SHELL := /bin/bash
.DEFAULT_GOAL := help
CARGO ?= cargo
BINARY := target/debug/longshore

.PHONY: help build release install demo test test-full bench bench-server bench-micro lint format guests completions clean

help: ## List the commands
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## Build the longshore binary (target/debug/longshore)
	$(CARGO) build --locked --workspace --bin longshore

release: ## Build the optimised binary (target/release/longshore)
	$(CARGO) build --locked --release --workspace --bin longshore

install: ## Install the longshore binary into cargo's bin folder
	$(CARGO) install --locked --path host/cli

demo: build ## Back up and restore the sample cluster through real policies, over the REST API
	@$(BINARY) demo

test: ## Install what is missing, then formatter, lints and all tests (short forms of the long suites)
	@bash tests/run.sh

test-full: ## The same with the long forms
	@LONGSHORE_LONG=1 bash tests/run.sh

bench: ## Measure beside cp, tar | zstd, restic and borg on 700 MB; writes tests/bench/RESULTS.md (15 minutes, and the data once)
	@python3 tests/bench/run.py $(BENCH)
	@python3 tests/bench/server.py

bench-server: ## Load on the API while backups run: 1,000 clusters, 200 calls a second; writes tests/bench/SERVER.md (3 minutes)
	@python3 tests/bench/server.py

bench-micro: ## Measure split, hash, encode and pack, and what a policy costs
	$(CARGO) bench --locked -p longshore-vault --bench pipeline
	$(CARGO) bench --locked --workspace --bench policy
	cd plugins && $(CARGO) bench --locked -p longshore-standard --bench native
	@python3 tests/bench/policy_share.py || echo "the share of a backup was not measured"

lint: ## Formatter check and clippy, warnings as errors
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings

format: ## Format everything
	$(CARGO) fmt --all
	cd plugins && $(CARGO) fmt --all

guests: ## Rebuild the plugins and their digests (needs a wasm toolchain; plugins/toolchain.sh gets one)
	bash plugins/toolchain.sh build

completions: build ## Write shell completions to target/completions
	@mkdir -p target/completions
	@for shell in bash zsh fish; do $(BINARY) completions $$shell > target/completions/longshore.$$shell; done
	@ls target/completions

clean: ## Remove everything that was built
	$(CARGO) clean
	rm -rf plugins/target
