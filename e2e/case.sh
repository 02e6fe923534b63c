#!/usr/bin/env bash
# Runs one case of test.sh in a separate namespace, and cleans up after it. test.sh starts this script and sets the environment: the cluster, and
# the addresses of the peer.
# usage: case.sh FILE CASE ID NODE
set -o errexit -o nounset -o pipefail -o errtrace
HERE=$(dirname "$(realpath "$0")")
readonly HERE SKIPPED=77
FILE=$1 CASE=$2 ID=$3 NODE=$4
NS=$ID CONTROLLER=''
BEGAN=$(date -u +%FT%TZ)
TMP=$(mktemp -d)

for part in "$HERE"/lib/*.sh "$FILE"; do
  # shellcheck source=/dev/null
  source "$part"
done

# Prints what a person would look at first after a failure.
describe() {
  set +o errexit
  echo "--- the node: $NODE"
  processes | grep '[t]cpdump'
  in_controller ls -l /captures
  echo "--- the pods"
  kubectl get namespaces -l "e2e=$ID" -o name | while read -r namespace; do kubectl -n "${namespace#*/}" describe pods; done
  kubectl -n default describe pods -l "e2e=$ID"
  echo "--- the controller"
  kubectl -n kube-system describe pod "$CONTROLLER" | sed -n '/^Containers:/,/^ *Ready:/p; /^Events:/,$p'
  controller_log --since-time="$BEGAN"
  controller_log --previous --since-time="$BEGAN" 2>/dev/null
} 2>&1

# Prints the line of the case that failed.
show_failed_line() {
  local i
  for i in "${!BASH_SOURCE[@]}"; do
    if ((i > 0)) && [[ ${BASH_SOURCE[i]} == "$FILE" ]]; then
      echo "failed: ${FILE##*/} line ${BASH_LINENO[i - 1]}:$(sed -n "${BASH_LINENO[i - 1]}p" "$FILE")"
      return
    fi
  done
} >&2

finally() {
  local status=$?
  trap - ERR
  if ((status != 0 && status != SKIPPED)); then describe; fi
  undo
  kubectl delete namespaces -l "e2e=$ID" --wait=false >/dev/null
  kubectl -n default delete pods -l "e2e=$ID" --wait=false >/dev/null
  rm -rf "$TMP"
  exit "$status"
}
trap finally EXIT
trap show_failed_line ERR

find_controller
namespace "$NS"
"$CASE"
