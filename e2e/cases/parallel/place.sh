# shellcheck shell=bash disable=SC2154
# The pod's addresses and node: no address yet, two addresses, another address, the node's network, another node.

a_capture_waits_for_the_address_of_its_pod() {
  pod_with web 5 \
    '{"op": "add", "path": "/spec/volumes/-", "value": {"name": "late", "configMap": {"name": "late"}}}' \
    '{"op": "add", "path": "/spec/containers/0/volumeMounts/-", "value": {"name": "late", "mountPath": "/late"}}'
  within 30 has_event web CaptureWaiting
  gone web
  kubectl -n "$NS" create configmap late >/dev/null
  within 120 kubectl -n "$NS" wait --for=condition=Ready pod web --timeout=1s
  within 20 capturing web 5
  within 20 captured web
}

an_init_container_is_captured() {
  local loop="until [ -e /tmp/initiated ]; do timeout 2 wget -q -O /dev/null http://$PEER:7003/; sleep 0.3; done"
  pod_with web 5 "{\"op\": \"add\", \"path\": \"/spec/initContainers\", \"value\": [{\"name\": \"init\", \"image\": \"$BUSYBOX\",
    \"command\": [\"sh\", \"-c\", \"$loop\"], \"volumeMounts\": [{\"name\": \"tmp\", \"mountPath\": \"/tmp\"}],
    \"securityContext\": {\"allowPrivilegeEscalation\": false, \"capabilities\": {\"drop\": [\"ALL\"]}}}]}"
  within 60 captured web 'tcp port 7003'
  phase_is web Pending
  kubectl -n "$NS" exec web -c init -- touch /tmp/initiated
  within 30 captured web 'tcp port 8080'
}

a_pod_with_two_addresses_has_one_capture_of_both() {
  pods web
  [[ $(ips web) == *' '* ]] || skip "pods have one address each on this cluster"
  annotate web 5
  within 20 capturing web 5
  [[ $(tcpdumps web) == *".pcap host "*" or host "* ]]
  fetch web "[$PEER6]:7001/"
  mark web 7002
  within 20 captured web 'ip6 and tcp port 7001'
  within 20 captured web 'ip and tcp port 7002'
}

a_pod_whose_address_changes_is_captured_at_the_new_address() {
  pod_yaml web 5 | sed 's/restartPolicy: Never/restartPolicy: Always/' | kubectl create -f - >/dev/null
  within 60 captured web
  mark web 7001
  within 20 captured web 'tcp port 7001'
  local before pid sandbox
  before=$(ips web) pid=$(pid_of web)
  sandbox=$(docker exec "$NODE" ctr -n k8s.io containers list -q \
    "labels.\"io.kubernetes.pod.uid\"==$(field web .metadata.uid),labels.\"io.cri-containerd.kind\"==sandbox")
  docker exec "$NODE" ctr -n k8s.io tasks kill -s SIGKILL "$sandbox"
  within 60 other_ips web "$before"
  within 30 other_tcpdump web "$pid"
  [[ $(tcpdumps web) == *" $(hosts web)" ]]
  within 20 captured web 'tcp port 7001' # the old files were kept
  within 30 captured_where_it_is web
}

a_pod_on_the_nodes_network_is_refused() {
  pod_with web 5 '{"op": "add", "path": "/spec/hostNetwork", "value": true}'
  within 30 has_event web CaptureRefused "the pod uses the node's network"
  gone web
}

a_name_too_long_for_a_file_is_refused() {
  local pod
  pod=$(printf 'w%.0s' {1..240})
  pod_yaml "$pod" 5 | kubectl create -f - >/dev/null
  within 30 has_event "$pod" CaptureRefused 'the file system allows 255'
  gone "$pod"
}

only_the_pods_own_node_captures_it() {
  capture web 5
  on "$(other_worker)" capture beacon 5 # so the other node's controller has seen all earlier events
  on "$(other_worker)" gone web
  is "$(on "$(other_worker)" controller_log | grep --count "pod=$NS/web ")" 0
  captured web
}

a_pod_in_a_restricted_namespace_is_captured() {
  kubectl label namespace "$NS" pod-security.kubernetes.io/enforce=restricted >/dev/null
  local said
  if said=$(kubectl -n "$NS" run forbidden --image "$BUSYBOX" --privileged 2>&1); then fail 'every pod is accepted'; fi
  [[ $said == *restricted* ]]
  capture web 5
}
