# shellcheck shell=bash disable=SC2154
# A pod of the highest class takes the place of lesser ones. One at a time: until it is over, nothing else fits on the node.

# What on a node gives way to nobody, as packet-capture is meant to, in thousandths of a CPU.
cpu_taken() { # NODE
  kubectl get pods -A --field-selector "spec.nodeName=$1,status.phase!=Succeeded,status.phase!=Failed" -o \
    'jsonpath={range .items[*]}{.metadata.labels.app} {.spec.priority} {.spec.containers[*].resources.requests.cpu}{"\n"}{end}' |
    sed 's/^ /- /' | awk '$1 == "packet-capture" || $2 >= 2000001000 {
      for (i = 3; i <= NF; i++) sum += $i ~ /m$/ ? $i + 0 : $i * 1000 } END {print sum + 0}'
}

cpu_of() { # NODE: in thousandths
  kubectl get node "$1" -o 'jsonpath={.status.allocatable.cpu}' | awk '{print $0 ~ /m$/ ? $0 + 0 : $0 * 1000}'
}

# A pod that lacks half of what packet-capture asks for, even if all others of a lower class made room.
squat() { # NAME OPERATION...
  local cpu=$(($(cpu_of "$NODE") - $(cpu_taken "$NODE") + 5))
  pod_with "$1" '' '{"op": "add", "path": "/spec/priorityClassName", "value": "system-node-critical"}' \
    "{\"op\": \"add\", \"path\": \"/spec/containers/0/resources\", \"value\": {\"requests\": {\"cpu\": \"${cpu}m\"}}}" "${@:2}"
}

finds_no_place() { # POD
  [[ $(field "$1" '.status.conditions[?(@.type=="PodScheduled")].reason}{.status.nominatedNodeName') == Unschedulable ]]
}
same_controller() { # UID
  [[ $(kubectl -n kube-system get pod "$CONTROLLER" -o 'jsonpath={.metadata.uid}{.metadata.deletionTimestamp}{.status.phase}') == "$1Running" ]]
}

a_pod_of_the_highest_class_does_not_take_the_place_of_the_controller() {
  local uid pid
  uid=$(kubectl -n kube-system get pod "$CONTROLLER" -o 'jsonpath={.metadata.uid}')
  capture web 5
  pid=$(pid_of web)

  # By way of the scheduler, and without it.
  squat scheduled '{"op": "remove", "path": "/spec/nodeName"}' \
    "{\"op\": \"add\", \"path\": \"/spec/nodeSelector\", \"value\": {\"kubernetes.io/hostname\": \"$NODE\"}}"
  within 20 finds_no_place scheduled
  squat direct
  within 20 phase_is direct Failed
  # The scheduler removes a lesser pod only after it has said where it would go.
  holds_for 5 same_controller "$uid"
  finds_no_place scheduled
  same_tcpdump web "$pid"
}
