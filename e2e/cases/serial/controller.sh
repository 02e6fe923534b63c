# shellcheck shell=bash disable=SC2154
# Restarts of the controller. These cases are serial, because each stops the controller for all pods of its node.

a_killed_controller_resumes_what_is_wanted_and_removes_what_is_not() {
  afterwards replace_controller # otherwise the kubelet would delay the restart in the next case
  capture wanted unwanted deleted 5
  mark wanted 7001
  within 20 captured wanted 'tcp port 7001'
  local pid count
  pid=$(controller_pid)
  count=$(restarts)
  docker exec "$NODE" kill -STOP "$pid" # the controller sees none of the following changes
  unannotate unwanted
  delete_pod deleted
  docker exec "$NODE" kill -KILL "$pid"
  within 60 capturing wanted 5
  within 20 gone unwanted
  within 20 gone deleted
  within 20 has_restarted $((count + 1))
  captured wanted 'tcp port 7001'
  mark wanted 7002
  within 20 captured wanted 'tcp port 7002'
}

a_restarted_controller_captures_no_finished_pod_again() {
  afterwards replace_controller
  capture finished 5
  finish finished
  within 30 phase_is finished Succeeded
  within 20 not_capturing finished
  docker exec "$NODE" kill -KILL "$(controller_pid)"
  capture web 5 # the new controller works
  not_capturing finished
  captured finished
}

a_terminated_controller_ends_within_ten_seconds_and_its_successor_starts_with_empty_rings() {
  capture web frozen 5
  mark web 7001
  within 20 captured web 'tcp port 7001'
  docker exec "$NODE" kill -STOP "$(pid_of frozen)"
  local pid
  pid=$(controller_pid)
  kubectl -n kube-system delete pod "$CONTROLLER" --wait=false >/dev/null
  within 10 ended "$pid"
  within 20 has_event web CaptureStopped
  find_controller
  within 20 captured web
  within 20 captured frozen
  is "$(packets web 'tcp port 7001')" 0 # the volume was deleted with the pod
}

a_controller_without_its_cluster_role_is_not_ready_and_says_why() {
  afterwards replace_controller
  afterwards apply_daemonset
  capture web 5
  kubectl delete clusterrolebinding packet-capture >/dev/null
  kubectl -n kube-system delete pod "$CONTROLLER" >/dev/null
  find_controller false
  within 30 controller_says ClusterRole
  not_capturing web
  is "$(restarts)" 0
  kubectl -n kube-system wait --for=condition=Ready=false pod "$CONTROLLER" --timeout=1s >/dev/null
  apply_daemonset
  find_controller
  is "$(restarts)" 0
  within 20 captured web
}

tcpdump_stops_after_max_stale_and_its_files_are_kept() {
  set_environment MAX_STALE=10s
  capture web 5
  mark web 7001
  within 20 captured web 'tcp port 7001'
  kubectl delete clusterrolebinding packet-capture >/dev/null
  docker exec "$CONTROL_PLANE" pkill -KILL -x kube-apiserver # this ends every watch; the kubelet restarts the API server
  within 90 not_capturing web
  within 90 captured web 'tcp port 7001'
  manifest_of ClusterRoleBinding | kubectl apply -f - >/dev/null # only the binding: a new controller pod would have no files
  within 60 capturing web 5
  captured web 'tcp port 7001'
}

host_network_namespaces_allows_pods_on_the_nodes_network() {
  set_environment "HOST_NETWORK_NAMESPACES=$NS"
  pod_with web 5 '{"op": "add", "path": "/spec/hostNetwork", "value": true}'
  within 60 captured web
  NS=$NS-b
  namespace "$NS"
  pod_with web 5 '{"op": "add", "path": "/spec/hostNetwork", "value": true}'
  within 30 has_event web CaptureRefused "the pod uses the node's network"
  gone web
}
