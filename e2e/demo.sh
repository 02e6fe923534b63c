#!/usr/bin/env bash
# Creates a Kind cluster, captures a pod's packets and shows them. The script prints each command as a user would type it, and then runs it.
# The script does not delete the cluster. usage: [CLUSTER=NAME] demo.sh
set -o errexit -o nounset -o pipefail
cd "$(dirname "$0")/.."
cluster=${CLUSTER:-packet-capture}
PATH=$PWD:$PATH # so that kubectl finds the plugin
copy=$(mktemp -d)
trap 'rm -r "$copy"' EXIT

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }
run() { # COMMAND, as a user would type it
  printf '\033[32m$ %s\033[0m\n' "$*"
  eval "$*"
}
within() { # SECONDS COMMAND: repeats the command until it succeeds
  local deadline=$((SECONDS + $1))
  until eval "$2" >/dev/null 2>&1; do
    ((SECONDS < deadline)) || { echo "not within $1 s: $2" >&2; return 1; }
    sleep 0.5
  done
}

say '1. A cluster, the image, and the controller on every node'
run "e2e/cluster.sh up $cluster"
run "eval \"\$(e2e/cluster.sh env $cluster)\""
run make docker-build kind-load deploy
run kubectl get nodes
run kubectl -n kube-system get pods -l app=packet-capture -o wide

say '2. A pod with some traffic'
kubectl delete pod test-pod --ignore-not-found --now >/dev/null # from an earlier demo
run make test-pod
run kubectl get pod test-pod -o wide
node=$(kubectl get pod test-pod -o 'jsonpath={.spec.nodeName}')
uid=$(kubectl get pod test-pod -o 'jsonpath={.metadata.uid}')
capture_pod=$(kubectl -n kube-system get pods -l app=packet-capture --field-selector "spec.nodeName=$node" -o 'jsonpath={.items[0].metadata.name}')

say '3. Ask for a capture: a ring of five files'
run 'kubectl annotate pod test-pod tcpdump.antrea.io="5"'
within 30 "kubectl get events --field-selector involvedObject.uid=$uid,reason=CaptureStarted -o name | grep ."
run "kubectl describe pod test-pod | sed -n '/^Events/,\$p'"

say "4. The state of the capture, and its files in the controller's pod on the pod's node ($node)"
within 30 "kubectl -n kube-system exec $capture_pod -- tcpdump -n -c 50 -r /captures/captres-test-pod.pcap0 | grep -c . | grep -x 50"
run kubectl packet-capture status -A
run "kubectl -n kube-system exec $capture_pod -- ls -l /captures"

say '5. The packets'
run "kubectl packet-capture get test-pod -o $copy/test-pod.pcap"
run "kubectl -n kube-system exec -i $capture_pod -- tcpdump -n -c 12 -r - <$copy/test-pod.pcap"

say '6. Stop the capture and delete its files'
run kubectl annotate pod test-pod tcpdump.antrea.io-
within 30 "files=\$(kubectl -n kube-system exec $capture_pod -- ls /captures) && [[ \$files != *captres-test-pod.pcap* ]]"
run "kubectl -n kube-system exec $capture_pod -- ls -l /captures"
stopped="kubectl get events --field-selector involvedObject.uid=$uid,reason=CaptureStopped"
within 30 "$stopped -o name | grep ."
run "$stopped"

say 'The cluster is still running. To continue by hand:'
cat <<TEXT
  eval "\$(e2e/cluster.sh env $cluster)"    # so that kubectl finds the cluster
  kubectl annotate pod test-pod tcpdump.antrea.io="2"
  kubectl -n kube-system exec $capture_pod -- ls -l /captures
  ./kubectl-packet_capture get test-pod     # test-pod.pcap, for Wireshark; make install-plugin: kubectl packet-capture get test-pod

  make demo-down    # removes the cluster
  make clean        # removes the clusters, the engine that was started, and what was built here
TEXT
