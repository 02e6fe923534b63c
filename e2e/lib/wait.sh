# shellcheck shell=bash
# Functions that wait and check: these make a case pass or fail. Sourced by case.sh, and by bench/stop-on.sh.

fail() { echo "$*" >&2; return 1; }

# For a case that cannot run on this cluster. The case says why, and is counted separately.
skip() { echo "skipped: $*"; exit "$SKIPPED"; }

is() { # ACTUAL WANTED
  [[ $1 == "$2" ]] || fail "expected: $2"$'\n'"actual:   $1"
}

# Repeats a command until it succeeds. Every wait for an event is done here.
within() { # SECONDS COMMAND...
  local deadline=$((SECONDS + $1)) said
  shift
  until said=$("$@" 2>&1); do
    ((SECONDS < deadline)) || fail "not in time: $*"${said:+$'\n'"$said"} || return
    sleep 0.6
  done
}

# Repeats a command for this time; the command must succeed each time. For things that must not happen, when no later event would show them.
holds_for() { # SECONDS COMMAND...
  local until=$((SECONDS + $1))
  shift
  while ((SECONDS < until)); do
    "$@" || fail "no longer true: $*" || return
    sleep 0.3
  done
}

not() { ! "$@"; }

# Each command of `afterwards` undoes a change that the case made outside its own pods. The commands run when the case ends, the last one first.
undo_steps=()
afterwards() { undo_steps=("$*" "${undo_steps[@]}"); }
undo() {
  local step
  for step in "${undo_steps[@]}"; do
    eval "$step" || echo "could not undo: $step" >&2
  done
  undo_steps=()
}
