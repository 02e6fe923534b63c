#!/usr/bin/env bash
# What every commit passes: format, lints, tests without root or cluster, and the scripts' lint where shellcheck is installed.
set -o errexit -o nounset -o pipefail
cd "$(dirname "$0")/.."
cargo fmt --check
cargo clippy --locked --all-targets -- --deny warnings
RUSTDOCFLAGS='--deny warnings' cargo doc --locked --no-deps --quiet
# Licences and sources of the dependencies. Advisories need a database that is not at hand everywhere.
if command -v cargo-deny >/dev/null; then cargo deny --locked check bans licenses sources; fi
# The tests wait more than they work.
export RUST_TEST_THREADS=8
cargo test --locked --quiet
if command -v shellcheck >/dev/null; then
  git ls-files -z --cached --others --exclude-standard '*.sh' .ci/run kubectl-packet_capture | xargs -0 shellcheck --external-sources --source-path=SCRIPTDIR
else
  echo 'shellcheck is not installed: the scripts were not checked' >&2
fi
