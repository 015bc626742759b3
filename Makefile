# The one door for tools: `.ci/run` calls the same targets. Tools that are not in the system live in $(CACHE).
export CHROMA_EDGE_CACHE ?= $(CURDIR)/.cache
CACHE := $(CHROMA_EDGE_CACHE)
# A cmake of our own is used only where the system has none; a node only where the system's is too old.
export PATH := $(CACHE)/node-bin:$(PATH):$(CACHE)/tools/bin

.PHONY: help setup run demo test use-cases recipes clients packages check bench chaos hostile fuzz fuzz-guided proof-of-proof compatibility fmt check-deploy deb check-deb nginx-loss use-case-7

help: ## what there is
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 16

setup: ## install what is missing for everything below
	@scripts/setup.sh all

run: ## two Chroma servers and the edge in front, until Ctrl-C
	@scripts/setup.sh run
	@cargo build --release --locked
	@$(CACHE)/venv/bin/python scripts/run.py

demo: ## the primary is killed under load, then the replica loses its disk; both servers are compared
	@scripts/setup.sh demo
	@cargo build --release --locked
	@$(CACHE)/client/bin/python scripts/demo.py

test: ## every test, on real Chroma servers and official clients
	@scripts/setup.sh test
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

fuzz: ## mutated bytes into whatever reads bytes of strangers, from a seed: [SEED=n] [SECONDS=n]
	@FUZZ_SEED=$(or $(SEED),$(FUZZ_SEED)) FUZZ_SECONDS=$(if $(filter command line,$(origin SECONDS)),$(SECONDS)) \
	cargo test --locked --test fuzz -- as_told --ignored --exact --nocapture

fuzz-guided: ## the same readers, before libFuzzer, which looks for what reaches new code: [TARGET=name] [SEED=n] [SECONDS=n]
	@FUZZ_TARGET=$(TARGET) SEED=$(SEED) SECONDS_TO_RUN=$(if $(filter command line,$(origin SECONDS)),$(SECONDS)) scripts/fuzz_guided.sh

proof-of-proof: ## rules broken on purpose, and caught: [RULE=name] [STORE=sqlite|postgres], see docs/proof.md
	@scripts/setup.sh test
	CHAOS_STORE=$(STORE) cargo nextest run --locked --features proof --test chaos --run-ignored all --no-capture \
	-- proof_of_proof::$(RULE)

compatibility: ## the table of Chroma's versions in docs/compatibility.md, made anew on real servers
	@scripts/setup.sh compatibility
	cargo test --locked --test e2e -- versions::table::compatibility --ignored --exact --nocapture

use-cases: use-case-1 use-case-2 use-case-3 use-case-4 use-case-5 use-case-6 ## the use cases, with their figures: also one by one

use-case-%:
	@scripts/setup.sh run
	cargo test --locked --test use_cases case_$*_ -- --nocapture --include-ignored

use-case-7: ## the journal on a PostgreSQL that fails over by itself, its leader killed again and again: [ROUNDS=n], see docs/postgres-ha.md
	@scripts/setup.sh failover
	@cargo build --release --locked
	@$(CACHE)/venv/bin/python scripts/failover.py $(if $(ROUNDS),--rounds $(ROUNDS))

recipes: ## the programs of docs/recipes/, each from its page, while the primary is killed
	@scripts/setup.sh recipes
	cargo test --locked --test recipes -- --include-ignored

clients: ## the client libraries' own tests, without the edge
	@scripts/setup.sh clients
	cd clients/js && node --test
	cd clients/python && PYTHONPATH=src $(CACHE)/client/bin/python -m unittest discover -s . -t .

packages: ## the client libraries as packages in target/packages, installed into fresh projects and used there: [REPOSITORY=url]
	@scripts/setup.sh packages
	@REPOSITORY=$(REPOSITORY) python3 scripts/packages.py

check: ## format, lints, licences, alerts
	@scripts/setup.sh check
	cargo fmt --all --check
	cargo clippy --locked -- -D warnings
	cargo clippy --all-targets --features proof --locked -- -D warnings
	cargo deny --locked check bans licenses sources
	@$(MAKE) --no-print-directory check-deploy

check-deploy: ## what is in deploy/: alerts, their syntax and when each fires; compose files and the chart, against their schemas
	@scripts/setup.sh deploy
	promtool check config deploy/prometheus/prometheus.yml
	promtool check rules deploy/prometheus/alerts.yml
	promtool test rules deploy/prometheus/alerts_test.yml
	@$(CACHE)/deploy/bin/python scripts/check_deploy.py

deb: ## the Debian package, in target/debian
	@scripts/setup.sh deb
	cargo deb --locked

check-deb: ## the Debian package of the release build that is there, in a clean root: installed, started, upgraded, purged
	@scripts/setup.sh check-deb
	@scripts/check_deb.sh

nginx-loss: ## what nginx in front of two bare servers loses when one is killed
	@scripts/setup.sh nginx
	@$(CACHE)/venv/bin/python scripts/nginx_loss.py

bench: ## what the edge costs and saves, as one table: [ROWS=writes,reads,...], see docs/performance.md
	@scripts/setup.sh bench
	@cargo build --release --locked
	@$(CACHE)/venv/bin/python scripts/bench.py --rows "$(ROWS)"

fmt: ## format everything
	cargo fmt --all
