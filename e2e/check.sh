#!/usr/bin/env bash
# Every commit must pass this check: format, lints, tests without root or cluster, and shellcheck if it is installed.
set -o errexit -o nounset -o pipefail
cd "$(dirname "$0")/.."
cargo fmt --check
cargo clippy --locked --workspace --all-targets -- --deny warnings
# The fuzz targets follow the code. libFuzzer itself is not needed for that, nor a C++ compiler to build it.
CUSTOM_LIBFUZZER_PATH=/usr/lib/libFuzzer.a cargo check --locked --quiet --manifest-path fuzz/Cargo.toml --target-dir target
RUSTDOCFLAGS='--deny warnings' cargo doc --locked --workspace --no-deps --quiet
# Checks the licences and sources of the dependencies. A check of advisories needs a database that is not available everywhere.
if command -v cargo-deny >/dev/null; then cargo deny --locked check bans licenses sources; fi
# More threads than processors: the tests mostly wait.
export RUST_TEST_THREADS=8
cargo test --locked --workspace --quiet
if command -v shellcheck >/dev/null; then
  git ls-files -z --cached --others --exclude-standard '*.sh' .ci/run kubectl-packet_capture | xargs -0 shellcheck --external-sources --source-path=SCRIPTDIR
else
  echo 'shellcheck is not installed: the scripts were not checked' >&2
fi
