#!/usr/bin/env bash
# The promises of packet-capture, tried one by one on a real Kubernetes: Kind, the image, real pods, real packets.
#
# usage: ./test.sh             everything, on a new cluster that is deleted afterwards
#        ./test.sh CASE...     these cases only
#        ./test.sh --list      the cases, each named as the promise that it tries
#
# KEEP_CLUSTER=1  leaves the cluster up. The next run finds it and begins at once.
# REUSE=NAME      uses the Kind cluster of that name, and leaves it up. SKIP_BUILD=1: with the image that is loaded there.
# CNI=antrea      on the cluster of kind-config.yaml, with Antrea installed by helm, instead of Kind's own network.
# JOBS=4          so many cases side by side. Those in e2e/cases/serial disturb others, and run one at a time.
# The last line counts. A case that fails shows its pods and the controller's log; all is kept in the folder that is named.
set -o errexit -o nounset -o pipefail
cd "$(dirname "$0")"
readonly CASE_SECONDS_MAX=300 SKIPPED=77
CLUSTER=${REUSE:-packet-capture-test${CNI:+-$CNI}}
JOBS=${JOBS:-4}

cases() { # FILE: a case is a function whose first line is its name alone
  sed -n 's/^\([a-z_0-9]*\)() {$/\1/p' "$1"
}

list() {
  local file
  for file in e2e/cases/*/*.sh; do cases "$file"; done
}

chosen() { # DIRECTORY CASE...: "FILE CASE" of those in it that were asked for, all if none was
  local file name
  for file in e2e/cases/"$1"/*.sh; do
    for name in $(cases "$file"); do
      if (($# == 1)) || [[ " ${*:2} " == *" $name "* ]]; then echo "$file $name"; fi
    done
  done
}

run_case() { # NUMBER FILE CASE; always in the background, where a signal need not wait for the case to end
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

# daemonset.yaml, but for three things. How full this machine's disk is must not decide what a case sees. What a case sets in the
# environment is there sooner if all nodes get it at once, and if a controller counts as ready as soon as it is.
manifest() {
  sed -e 's/maxUnavailable: 10%/maxUnavailable: 100%/' -e '/readinessProbe:/,/periodSeconds:/s/periodSeconds: 5/periodSeconds: 1/' \
    -e 's/^\( *\)env:$/&\n\1  - {name: MIN_FREE_MB, value: "20"}\n\1  - {name: MIN_FREE_PERCENT, value: "0"}/' daemonset.yaml
}

# The pod that all others talk to: an HTTP server on four ports, by which cases tell their requests apart.
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

# Two runs on one cluster would take its API server and its controllers from one another.
lock() {
  exec {LOCK}>"${TMPDIR:-/tmp}/packet-capture-test-$CLUSTER.lock"
  flock --nonblock "$LOCK" || { echo "another test.sh runs on cluster $CLUSTER" >&2; exit 1; }
}

# What is started here and stays, such as an engine, must not keep the lock.
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

finally() { # the exit code is that of the tests
  local status=$?
  set +o errexit
  trap - EXIT
  jobs -pr | xargs --no-run-if-empty kill
  wait
  [[ ! ${workers[*]-} ]] || kubectl delete namespace "e2e-$RUN" --wait=false >/dev/null
  if ((status != 0)); then kind export logs --name "$CLUSTER" "$OUT/cluster" >/dev/null 2>&1; fi
  if [[ ! ${REUSE:-}${KEEP_CLUSTER:-} ]]; then e2e/cluster.sh down "$CLUSTER"; fi
  if ((status == 0)); then rm -r "$OUT"; else echo "what was seen is kept in $OUT"; fi
  if [[ ${counted-} ]]; then echo "$counted"; fi
  exit "$status"
}

main() {
  if [[ ${1:-} == --list ]]; then list; return; fi
  local name
  for name; do
    [[ " $(list | xargs) " == *" $name "* ]] || { echo "no such case: $name (./test.sh --list shows all)" >&2; exit 2; }
  done

  e2e/install.sh tshark wireshark-common # the judges of what captures hold
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
  failed=$(($( (chosen parallel "$@" && chosen serial "$@") | wc -l) - passed - skipped)) # one that left no result has failed
  counted="$passed passed, $failed failed"
  ((skipped == 0)) || counted+=", $skipped skipped"
  ((failed == 0 && passed > 0))
}

main "$@"
