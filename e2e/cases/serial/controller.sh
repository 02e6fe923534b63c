# shellcheck shell=bash disable=SC2154
# What happens when the controller goes away and comes back. One at a time: each takes the controller from every pod of its node.

a_killed_controller_resumes_what_is_wanted_and_removes_what_is_not() {
  afterwards renew_controller # or the kubelet would let the next one killed wait
  capture wanted unwanted deleted 5
  mark wanted 7001
  within 20 captured wanted 'tcp port 7001'
  local pid count
  pid=$(controller_pid)
  count=$(restarts)
  docker exec "$NODE" kill -STOP "$pid" # it hears of none of what follows
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

a_restarted_controller_starts_no_finished_pod_again() {
  afterwards renew_controller
  capture finished 5
  finish finished
  within 30 phase_is finished Succeeded
  within 20 not_capturing finished
  docker exec "$NODE" kill -KILL "$(controller_pid)"
  capture web 5 # the new one is at work
  not_capturing finished
  captured finished
}

a_terminated_controller_ends_within_ten_seconds_and_its_successor_starts_anew() {
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
  is "$(packets web 'tcp port 7001')" 0 # the volume went with the pod
}

without_its_cluster_role_the_controller_is_not_ready_and_says_why() {
  afterwards renew_controller
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

without_word_for_too_long_tcpdump_stops_and_the_files_stay() {
  set_environment MAX_STALE=10s
  capture web 5
  mark web 7001
  within 20 captured web 'tcp port 7001'
  kubectl delete clusterrolebinding packet-capture >/dev/null
  docker exec "$CONTROL_PLANE" pkill -KILL -x kube-apiserver # which ends every watch; the kubelet starts it again
  within 90 not_capturing web
  within 90 captured web 'tcp port 7001'
  manifest_of ClusterRoleBinding | kubectl apply -f - >/dev/null # and nothing else: a new controller would have no files
  within 60 capturing web 5
  captured web 'tcp port 7001'
}

in_a_namespace_named_for_it_the_nodes_network_is_captured() {
  set_environment "HOST_NETWORK_NAMESPACES=$NS"
  pod_with web 5 '{"op": "add", "path": "/spec/hostNetwork", "value": true}'
  within 60 captured web
  NS=$NS-b
  namespace "$NS"
  pod_with web 5 '{"op": "add", "path": "/spec/hostNetwork", "value": true}'
  within 30 has_event web CaptureRefused network
  gone web
}
