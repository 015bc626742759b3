# The one door for tools: `.ci/run` calls the same targets. Tools that are not in the system live in $(CACHE).
export CHROMA_EDGE_CACHE ?= $(CURDIR)/.cache
CACHE := $(CHROMA_EDGE_CACHE)
# A cmake of our own is used only where the system has none; a node only where the system's is too old.
export PATH := $(CACHE)/node-bin:$(PATH):$(CACHE)/tools/bin

.PHONY: help setup run demo test use-cases clients check bench chaos hostile proof-of-proof compatibility fmt

help: ## what there is
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 16

setup: ## install what is missing for everything below
	@scripts/setup.sh all

run: ## two Chroma servers and the edge in front, until Ctrl-C
	@scripts/setup.sh run
	@cargo build --release --locked
	@$(CACHE)/venv/bin/python scripts/run.py

demo: ## the primary is killed under load; both servers are compared
	@scripts/setup.sh demo
	@cargo build --release --locked
	@$(CACHE)/client/bin/python scripts/demo.py

test: ## every test, on real Chroma servers and official clients
	@scripts/setup.sh test
	cargo test --doc --locked
	cargo nextest run --locked
	cargo nextest run --locked --features proof --test chaos --test proof_points
	@$(MAKE) --no-print-directory clients

# Shells have a SECONDS of their own: only the command line's counts.
chaos: ## faults drawn from a seed, and a checker: [SEED=n] [SECONDS=n] [STORE=sqlite|postgres], see docs/proof.md
	@scripts/setup.sh test
	@CHAOS_SEED=$(SEED) CHAOS_SECONDS=$(if $(filter command line,$(origin SECONDS)),$(SECONDS)) \
	CHAOS_STORE=$(STORE) CHAOS_RULE=$(RULE) \
	cargo test --locked --features proof --test chaos -- as_told --ignored --exact --nocapture

hostile: ## mutated requests of every kind, from a seed: [SEED=n] [SECONDS=n]
	@scripts/setup.sh test
	@HOSTILE_SEED=$(SEED) HOSTILE_SECONDS=$(if $(filter command line,$(origin SECONDS)),$(SECONDS)) \
	cargo test --locked --test e2e -- hostile::as_told --ignored --exact --nocapture

proof-of-proof: ## rules broken on purpose, and caught: [RULE=name] [STORE=sqlite|postgres], see docs/proof.md
	@scripts/setup.sh test
	CHAOS_STORE=$(STORE) cargo nextest run --locked --features proof --test chaos --run-ignored all --no-capture \
	-- proof_of_proof::$(RULE)

compatibility: ## the table of Chroma's versions in docs/compatibility.md, made anew on real servers
	@scripts/setup.sh compatibility
	cargo test --locked --test e2e -- versions::table::compatibility --ignored --exact --nocapture

use-cases: use-case-1 use-case-2 use-case-3 use-case-4 use-case-6 ## the use cases, with their figures: also one by one

use-case-%:
	@scripts/setup.sh run
	cargo test --locked --test use_cases case_$*_ -- --nocapture

clients: ## the client libraries' own tests, without the edge
	@scripts/setup.sh clients
	cd clients/js && node --test
	cd clients/python && PYTHONPATH=src $(CACHE)/client/bin/python -m unittest discover -s . -t .

check: ## format, lints, licences
	@scripts/setup.sh check
	cargo fmt --all --check
	cargo clippy --all-targets --locked -- -D warnings
	cargo clippy --all-targets --features proof --locked -- -D warnings
	cargo deny --locked check bans licenses sources

bench: ## the parts (benches/), then writes through the edge against a bare Chroma server
	@scripts/setup.sh run
	cargo bench --locked --bench scan --bench journal --bench audit
	@cargo build --release --locked
	@$(CACHE)/venv/bin/python scripts/bench_writes.py
	@$(CACHE)/venv/bin/python scripts/bench_lists.py

fmt: ## format everything
	cargo fmt --all
