#!/usr/bin/env bash
# libFuzzer on whatever reads bytes of strangers (fuzz/): SECONDS_TO_RUN from a seed, with FUZZ_TARGET on one reader alone. What
# it found interesting stays in target/fuzz/corpus, what it found wrong in target/fuzz/found; the next run reads the corpus again.
set -euo pipefail
cd "$(dirname "$0")/.."
target=$(rustc -vV | sed -n 's/^host: //p')
# What cargo-fuzz sets, without a sanitizer: the crate has no unsafe code. So any toolchain will do.
flags="--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4
 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table
 -Cllvm-args=-sanitizer-coverage-trace-compares"
RUSTFLAGS=$(echo $flags) cargo build --release --locked --manifest-path fuzz/Cargo.toml --target "$target" --target-dir target/fuzz
built=target/fuzz/$target/release
corpus=target/fuzz/corpus/${FUZZ_TARGET:-all}
mkdir -p target/fuzz/found "$corpus"
FUZZ_SEEDS=target/fuzz/seeds "$built/readers" -max_total_time="${SECONDS_TO_RUN:-60}" ${SEED:+-seed="$SEED"} -max_len=8192 -timeout=5 -rss_limit_mb=1024 \
    -print_final_stats=1 -artifact_prefix=target/fuzz/found/ "$corpus" "target/fuzz/seeds${FUZZ_TARGET:+/$FUZZ_TARGET}"
