# shellcheck shell=bash
# Waiting and judging: what makes a case pass or fail. Sourced by case.sh.

fail() { echo "$*" >&2; return 1; }

# A case that cannot be tried on this cluster says why; it is counted apart.
skip() { echo "skipped: $*"; exit "$SKIPPED"; }

is() { # ACTUAL WANTED
  [[ $1 == "$2" ]] || fail "expected: $2"$'\n'"actual:   $1"
}

# Tries a command until it succeeds. All waiting for something to happen is done here.
within() { # SECONDS COMMAND...
  local deadline=$((SECONDS + $1)) said
  shift
  until said=$("$@" 2>&1); do
    ((SECONDS < deadline)) || fail "not in time: $*"${said:+$'\n'"$said"} || return
    sleep 0.6
  done
}

# Asks again and again for so long whether a command still succeeds: for what must not happen, where no later event would tell.
holds_for() { # SECONDS COMMAND...
  local until=$((SECONDS + $1))
  shift
  while ((SECONDS < until)); do
    "$@" || fail "no longer true: $*" || return
    sleep 0.3
  done
}

not() { ! "$@"; }

# What the case has changed beyond its own pods is put back when it ends, the last change first.
undone_by=()
afterwards() { undone_by=("$*" "${undone_by[@]}"); }
undo() {
  local step
  for step in "${undone_by[@]}"; do
    eval "$step" || echo "could not put back: $step" >&2
  done
  undone_by=()
}
