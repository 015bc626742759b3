#!/usr/bin/env bash
# libFuzzer on whatever reads bytes of strangers (fuzz/): SECONDS_TO_RUN from a seed. What it found interesting stays in
# target/fuzz/corpus, what it found wrong in target/fuzz/found; both are read again by the next run.
set -euo pipefail
cd "$(dirname "$0")/.."
target=$(rustc -vV | sed -n 's/^host: //p')
# What cargo-fuzz sets, without a sanitizer: the crate has no unsafe code. So any toolchain will do.
flags="--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4
 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table
 -Cllvm-args=-sanitizer-coverage-trace-compares"
RUSTFLAGS=$(echo $flags) cargo build --release --locked --manifest-path fuzz/Cargo.toml --target "$target" --target-dir target/fuzz
built=target/fuzz/$target/release
mkdir -p target/fuzz/found target/fuzz/corpus
"$built/seeds" target/fuzz/seeds
"$built/readers" -max_total_time="${SECONDS_TO_RUN:-60}" ${SEED:+-seed="$SEED"} -max_len=8192 -timeout=5 -rss_limit_mb=1024 \
    -print_final_stats=1 -artifact_prefix=target/fuzz/found/ target/fuzz/corpus target/fuzz/seeds
