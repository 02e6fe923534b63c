# shellcheck shell=bash disable=SC2154
# A pod of the highest class displaces pods of lower classes. This case is serial, because no other pod fits on the node until it ends.

# The CPU requests of the pods on a node that no pod can displace, packet-capture included, in thousandths of a CPU.
critical_cpu() { # NODE
  kubectl get pods -A --field-selector "spec.nodeName=$1,status.phase!=Succeeded,status.phase!=Failed" -o \
    'jsonpath={range .items[*]}{.metadata.labels.app} {.spec.priority} {.spec.containers[*].resources.requests.cpu}{"\n"}{end}' |
    sed 's/^ /- /' | awk '$1 == "packet-capture" || $2 >= 2000001000 {
      for (i = 3; i <= NF; i++) sum += $i ~ /m$/ ? $i + 0 : $i * 1000 } END {print sum + 0}'
}

cpu_of() { # NODE: its CPU, in thousandths
  kubectl get node "$1" -o 'jsonpath={.status.allocatable.cpu}' | awk '{print $0 ~ /m$/ ? $0 + 0 : $0 * 1000}'
}

# A critical pod whose CPU request exceeds the node's free CPU by half of packet-capture's request, even without all pods of lower classes.
greedy_pod() { # NAME OPERATION...
  local cpu=$(($(cpu_of "$NODE") - $(critical_cpu "$NODE") + 5))
  pod_with "$1" '' '{"op": "add", "path": "/spec/priorityClassName", "value": "system-node-critical"}' \
    "{\"op\": \"add\", \"path\": \"/spec/containers/0/resources\", \"value\": {\"requests\": {\"cpu\": \"${cpu}m\"}}}" "${@:2}"
}

is_unschedulable() { # POD
  [[ $(field "$1" '.status.conditions[?(@.type=="PodScheduled")].reason}{.status.nominatedNodeName') == Unschedulable ]]
}
same_controller() { # UID
  [[ $(kubectl -n kube-system get pod "$CONTROLLER" -o 'jsonpath={.metadata.uid}{.metadata.deletionTimestamp}{.status.phase}') == "$1Running" ]]
}

a_pod_of_the_highest_class_does_not_displace_the_controller() {
  local uid pid
  uid=$(kubectl -n kube-system get pod "$CONTROLLER" -o 'jsonpath={.metadata.uid}')
  capture web 5
  pid=$(pid_of web)

  # With the scheduler, and without it.
  greedy_pod scheduled '{"op": "remove", "path": "/spec/nodeName"}' \
    "{\"op\": \"add\", \"path\": \"/spec/nodeSelector\", \"value\": {\"kubernetes.io/hostname\": \"$NODE\"}}"
  within 20 is_unschedulable scheduled
  greedy_pod direct
  within 20 phase_is direct Failed
  # Before the scheduler removes a pod of a lower class, it sets nominatedNodeName in the new pod.
  holds_for 5 same_controller "$uid"
  is_unschedulable scheduled
  same_tcpdump web "$pid"
}
