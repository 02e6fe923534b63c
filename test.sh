#!/usr/bin/env bash
# Tests each promise of packet-capture on a real Kubernetes: Kind, the image, real pods, real packets.
#
# usage: ./test.sh             everything, on a new cluster that is deleted afterwards
#        ./test.sh CASE...     these cases only
#        ./test.sh --list      the cases; the name of each case is the promise that it tests
#
# KEEP_CLUSTER=1  does not delete the cluster. The next run uses the same cluster and begins at once.
# REUSE=NAME      uses the Kind cluster of that name, and does not delete it. SKIP_BUILD=1: uses the image that is already loaded there.
# CNI=antrea      uses the cluster of kind-config.yaml, with Antrea installed by helm, instead of Kind's own network.
# JOBS=4          how many cases run in parallel. Cases in e2e/cases/serial disturb other cases, so these run one at a time.
# The last line of the output has the counts. A failed case prints its pods and the controller's log. After a failure all output is kept in a
# folder, whose name is printed.
set -o errexit -o nounset -o pipefail
cd "$(dirname "$0")"
readonly CASE_SECONDS_MAX=300 SKIPPED=77
CLUSTER=${REUSE:-packet-capture-test${CNI:+-$CNI}}
JOBS=${JOBS:-4}

cases() { # FILE: a case is a function whose first line has nothing but its name
  sed -n 's/^\([a-z_0-9]*\)() {$/\1/p' "$1"
}

list() {
  local file
  for file in e2e/cases/*/*.sh; do cases "$file"; done
}

chosen() { # DIRECTORY CASE...: "FILE CASE" for each of these cases that is in the directory; for all its cases if no CASE is given
  local file name
  for file in e2e/cases/"$1"/*.sh; do
    for name in $(cases "$file"); do
      if (($# == 1)) || [[ " ${*:2} " == *" $name "* ]]; then echo "$file $name"; fi
    done
  done
}

run_case() { # NUMBER FILE CASE; always runs in the background, so that a signal does not have to wait for the end of the case
  local name=$3 began=$SECONDS status=0 node=${workers[$1 % ${#workers[@]}]} pid
  timeout --kill-after=30 "$CASE_SECONDS_MAX" e2e/case.sh "$2" "$name" "e2e-$RUN-$1" "$node" >"$OUT/$name.log" 2>&1 </dev/null &
  pid=$!
  trap 'kill "$pid"; wait "$pid"; exit 143' TERM
  wait "$pid" || status=$?
  case $status in
    0) echo passed ;;
    "$SKIPPED") echo skipped ;;
    *) echo failed ;;
  esac >"$OUT/$name.result"
  {
    printf '%-7s %3d s  %s\n' "$(<"$OUT/$name.result")" $((SECONDS - began)) "$name"
    case $status in
      0) ;;
      "$SKIPPED") grep '^skipped: ' "$OUT/$name.log" ;;
      *) sed 's/^/    /' "$OUT/$name.log" ;;
    esac
  } >"$OUT/$name.report"
  cat "$OUT/$name.report"
}

run_cases() { # CASE...
  local number=0 file name
  while read -r file name; do
    while (($(jobs -pr | wc -l) >= JOBS)); do wait -n; done
    number=$((number + 1))
    run_case "$number" "$file" "$name" &
  done < <(chosen parallel "$@")
  wait
  while read -r file name; do
    number=$((number + 1))
    run_case "$number" "$file" "$name" &
    wait
  done < <(chosen serial "$@")
}

count() { # RESULT
  find "$OUT" -name '*.result' -exec grep --line-regexp --quiet "$1" {} \; -print | wc -l
}

# daemonset.yaml with three changes. The watermarks are low, because the free space of this machine must not decide the result of a case. All
# nodes are updated at once, and readiness is checked each second, so that a changed environment is in force sooner.
manifest() {
  sed -e 's/maxUnavailable: 10%/maxUnavailable: 100%/' -e '/readinessProbe:/,/periodSeconds:/s/periodSeconds: 5/periodSeconds: 1/' \
    -e 's/^\( *\)env:$/&\n\1  - {name: MIN_FREE_MB, value: "20"}\n\1  - {name: MIN_FREE_PERCENT, value: "0"}/' daemonset.yaml
}

# The pod that all other pods talk to: an HTTP server on four ports. The port shows which request a packet belongs to.
peer() {
  local ips deadline=$((SECONDS + 60))
  kubectl create namespace "e2e-$RUN" >/dev/null
  until kubectl -n "e2e-$RUN" get serviceaccount default >/dev/null 2>&1; do
    ((SECONDS < deadline)) || return
    sleep 0.2
  done
  kubectl create -f - >/dev/null <<YAML
apiVersion: v1
kind: Pod
metadata: {name: peer, namespace: e2e-$RUN}
spec:
  nodeName: ${workers[0]}
  automountServiceAccountToken: false
  terminationGracePeriodSeconds: 1
  containers:
    - name: server
      image: $BUSYBOX
      imagePullPolicy: IfNotPresent
      command:
        - sh
        - -c
        - >-
          mkdir -p /tmp/www && cd /tmp/www && echo hello >index.html && dd if=/dev/zero of=3MB bs=1000000 count=3;
          for port in 7001 7002 7003; do httpd -p \$port; done; exec httpd -f -p 8080
      readinessProbe: {httpGet: {port: 8080}, periodSeconds: 1}
YAML
  kubectl -n "e2e-$RUN" wait --for=condition=Ready pod peer --timeout=60s >/dev/null
  ips=$(kubectl -n "e2e-$RUN" get pod peer -o 'jsonpath={.status.podIPs[*].ip}')
  export PEER=${ips% *} PEER6=${ips#* }
}

# Two runs on one cluster would stop each other's API server and controllers.
lock() {
  exec {LOCK}>"${TMPDIR:-/tmp}/packet-capture-test-$CLUSTER.lock"
  flock --nonblock "$LOCK" || { echo "another test.sh runs on cluster $CLUSTER" >&2; exit 1; }
}

# A process that is started here and continues after the run, such as an engine, must not hold the lock.
cluster() {
  local environment
  [[ ${REUSE:-} ]] || e2e/cluster.sh up "$CLUSTER" {LOCK}>&-
  environment=$(e2e/cluster.sh env "$CLUSTER" {LOCK}>&-)
  eval "$environment"
  export MANIFEST=$OUT/daemonset.yaml
  manifest >"$MANIFEST"
  [[ ${SKIP_BUILD:-} ]] || make --no-print-directory docker-build kind-load CLUSTER="$CLUSTER" {LOCK}>&-
  make --no-print-directory deploy CLUSTER="$CLUSTER" {LOCK}>&-
}

finally() { # exits with the exit code of the tests
  local status=$?
  set +o errexit
  trap - EXIT
  jobs -pr | xargs --no-run-if-empty kill
  wait
  [[ ! ${workers[*]-} ]] || kubectl delete namespace "e2e-$RUN" --wait=false >/dev/null
  if ((status != 0)); then kind export logs --name "$CLUSTER" "$OUT/cluster" >/dev/null 2>&1; fi
  if [[ ! ${REUSE:-}${KEEP_CLUSTER:-} ]]; then e2e/cluster.sh down "$CLUSTER"; fi
  if ((status == 0)); then rm -r "$OUT"; else echo "all output is kept in $OUT"; fi
  if [[ ${counted-} ]]; then echo "$counted"; fi
  exit "$status"
}

main() {
  if [[ ${1:-} == --list ]]; then list; return; fi
  local name
  for name; do
    [[ " $(list | xargs) " == *" $name "* ]] || { echo "no such case: $name (./test.sh --list shows all)" >&2; exit 2; }
  done

  e2e/install.sh tshark wireshark-common # these programs check the content of captures
  lock
  RUN=$(printf '%x' $((RANDOM * 32768 + RANDOM)))
  OUT=$(mktemp -d -t packet-capture-test.XXXXXX)
  trap finally EXIT
  trap 'exit 130' INT TERM
  cluster

  mapfile -t workers < <(kubectl get nodes -l '!node-role.kubernetes.io/control-plane' -o 'jsonpath={range .items[*]}{.metadata.name}{"\n"}{end}')
  export CONTROL_PLANE=$CLUSTER-control-plane WORKERS=${workers[*]}
  peer
  run_cases "$@"

  local passed failed skipped
  passed=$(count passed) skipped=$(count skipped)
  failed=$(($( (chosen parallel "$@" && chosen serial "$@") | wc -l) - passed - skipped)) # a case without a result has failed
  counted="$passed passed, $failed failed"
  ((skipped == 0)) || counted+=", $skipped skipped"
  ((failed == 0 && passed > 0))
}

main "$@"
