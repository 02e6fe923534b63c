#!/usr/bin/env bash
# Measures how late the report of a crash comes for a capture with the annotation stop-on, and what the ring then has.
# usage: [CLUSTER=NAME] [SKIP_BUILD=1] stop-on.sh [CRASHES]
#
# The crashes are real, on the Kind cluster of e2e/cluster.sh: a container writes the time, and exits with 3. Another container of its pod sends a
# ping to another pod every 20 ms, before and after the crash. At most five pods crash at a time, each at a random moment, because the
# processors of the machine must not decide the result. The script prints, in seconds after the crash:
#   report       when the API server sends the kubelet's report of the crash to a client that watches the pods, as the controller does
#   last packet  the time of the last packet in the copy that `get` makes: the capture continues for 1.25 s after the report, and the
#                packets of up to one second before its end stay in the kernel if the pod sends as little as here
# SKIP_BUILD=1 uses the controller that already runs in the cluster. The script does not delete the cluster.
set -o errexit -o nounset -o pipefail
cd "$(dirname "$0")/.."
source e2e/lib/wait.sh # within
crashes=${1:-50}
at_once=5
CLUSTER=${CLUSTER:-packet-capture}
export CLUSTER

e2e/install.sh tcpdump
e2e/cluster.sh up "$CLUSTER"
environment=$(e2e/cluster.sh env "$CLUSTER")
eval "$environment"
PATH=$PWD:$PATH # so that kubectl finds the plugin
if [[ ! ${SKIP_BUILD:-} ]]; then make --no-print-directory docker-build kind-load deploy >&2; fi

namespace=stop-on-$$
dir=$(mktemp -d)
cleanup() {
  [[ ! ${watch:-} ]] || kill "$watch" 2>/dev/null || true
  kubectl delete namespace "$namespace" --wait=false >/dev/null
  rm -r "$dir"
}
trap cleanup EXIT

in_namespace() { kubectl -n "$namespace" "$@"; }
have_event() { # REASON COUNT: so many pods
  local pods
  pods=$(in_namespace get events --field-selector "reason=$1" -o 'jsonpath={range .items[*]}{.involvedObject.name}{"\n"}{end}') &&
    [[ $(sort -u <<<"$pods" | grep --count .) == "$2" ]]
}

peer() {
  kubectl create namespace "$namespace" >/dev/null
  within 30 in_namespace get serviceaccount default
  in_namespace run peer --image="$BUSYBOX" --image-pull-policy=IfNotPresent --restart=Never -- sleep 3600 >/dev/null
  in_namespace wait --for=condition=Ready pod peer --timeout=60s >/dev/null
  peer=$(in_namespace get pod peer -o 'jsonpath={.status.podIP}')
}

# Writes "POD TIME" for each report of a crash, as long as the namespace exists.
watch_reports() {
  local pod code
  in_namespace get pods --watch -o 'jsonpath={.metadata.name} {.status.containerStatuses[?(@.name=="app")].state.terminated.exitCode}{.status.containerStatuses[?(@.name=="app")].lastState.terminated.exitCode}{"\n"}' |
    while read -r pod code; do [[ ! $code ]] || echo "$pod $EPOCHREALTIME"; done >"$dir/reports"
}

pod_yaml() { # NAME
  cat <<YAML
---
apiVersion: v1
kind: Pod
metadata:
  name: $1
  annotations: {tcpdump.antrea.io: "5", tcpdump.antrea.io/stop-on: restart}
spec:
  automountServiceAccountToken: false
  terminationGracePeriodSeconds: 0
  activeDeadlineSeconds: 300
  volumes: [{name: shared, emptyDir: {}}]
  containers:
    - name: sender
      image: $BUSYBOX
      imagePullPolicy: IfNotPresent
      command: [ping, -q, -i, "0.02", "$peer"]
      volumeMounts: [{name: shared, mountPath: /shared}]
    - name: app
      image: $BUSYBOX
      imagePullPolicy: IfNotPresent
      command:
        - sh
        - -c
        - >-
          if [ -e /shared/crashed ]; then exec sleep 3600; fi; until [ -e /shared/go ]; do sleep 0.1; done;
          sleep 0.\$((RANDOM % 10))\$((RANDOM % 10)); echo | ts %.s >/shared/crashed; exit 3
      volumeMounts: [{name: shared, mountPath: /shared}]
YAML
}

crash() { # POD...
  local pod crashed reported
  for pod; do pod_yaml "$pod"; done | in_namespace create -f - >/dev/null
  in_namespace wait --for=condition=Ready pod "$@" --timeout=60s >/dev/null
  within 30 have_event CaptureStarted "$done_with"
  for pod; do in_namespace exec "$pod" -c sender -- touch /shared/go; done
  within 60 have_event CaptureFinished "$done_with"
  for pod; do
    kubectl packet-capture get "$pod" -n "$namespace" -o "$dir/$pod" >/dev/null 2>"$dir/said"
    crashed=$(in_namespace exec "$pod" -c sender -- cat /shared/crashed)
    reported=$(awk -v "pod=$pod" '$1 == pod {print $2; exit}' "$dir/reports")
    [[ $reported ]] || { echo "no report of the crash of $pod" >&2; return 1; }
    # "REPORT LAST-PACKET GAP": the gap is the longest time without a packet.
    tcpdump -n -tt -r "$dir/$pod" icmp 2>/dev/null | awk -v "crashed=$crashed" -v "reported=$reported" '
      NR > 1 && $1 - last > gap {gap = $1 - last}
      {last = $1}
      END {printf "%.3f %.3f %.3f\n", reported - crashed, last - crashed, gap}' >>"$dir/delays"
  done
  in_namespace delete pod "$@" --wait=false >/dev/null
}

peer
watch_reports &
watch=$!
for ((done_with = 0; done_with < crashes;)); do
  pods=()
  while ((${#pods[@]} < at_once && done_with < crashes)); do pods+=("crash-$((++done_with))"); done
  crash "${pods[@]}"
done

node=$(kubectl get nodes -o 'jsonpath={.items[0].status.nodeInfo.kubeletVersion}, {.items[0].status.nodeInfo.containerRuntimeVersion}')
capture=$(kubectl -n kube-system get pods -l app=packet-capture -o 'jsonpath={.items[0].metadata.name}')
echo "$(nproc) x $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1), Linux $(uname -r), load $(cut -d ' ' -f 1-3 /proc/loadavg)"
echo "Kubernetes $node, $(kubectl -n kube-system exec "$capture" -- packet-capture --version)"
column() { cut -d ' ' -f "$1" "$dir/delays" | sort -n; } # NUMBER
median() { awk '{value[NR] = $1} END {print (value[int((NR + 1) / 2)] + value[int(NR / 2) + 1]) / 2}'; }
line() { printf '%-20s %9s %9s %9s\n' "$@"; }
echo "$(column 1 | wc -l) crashes, at most $at_once at a time; without a packet for at most $(column 3 | tail -n 1) s"
line 'seconds after a crash' best median worst
line report "$(column 1 | head -n 1)" "$(column 1 | median)" "$(column 1 | tail -n 1)"
line 'last packet' "$(column 2 | head -n 1)" "$(column 2 | median)" "$(column 2 | tail -n 1)"
column 1 | tail -n 1 | awk '{worst = $1 + 1.25; printf "until 1.25 s after the worst report: %.1f MB at 1 MB/s, %.0f MB at 10 MB/s, %.0f MB at 100 MB/s, for each copy of a packet\n",
  worst, worst * 10, worst * 100}'
