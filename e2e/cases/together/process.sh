# shellcheck shell=bash disable=SC2154
# The processes: what tcpdump and the controller may do, and what becomes of a tcpdump that fails.

a_killed_tcpdump_is_started_again_and_goes_on_with_its_files() {
  capture web 5
  mark web 7001
  within 10 captured web 'tcp port 7001'
  local pid
  pid=$(pid_of web)
  docker exec "$NODE" kill -KILL "$pid"
  within 15 other_tcpdump web "$pid"
  within 10 has_event web CaptureFailed
  captured web 'tcp port 7001'
  mark web 7002
  within 10 captured web 'tcp port 7002'
}

a_frozen_tcpdump_delays_nobody_and_ends_all_the_same() {
  pods other
  capture web 5
  docker exec "$NODE" kill -STOP "$(pid_of web)"
  unannotate web
  annotate other 5
  within 5 capturing other 5
  within 15 gone web
}

no_zombie_is_left() {
  capture web 5
  local pid
  pid=$(pid_of web)
  docker exec "$NODE" kill -KILL "$pid"
  within 15 other_tcpdump web "$pid"
  unannotate web
  within 15 gone web
  within 5 no_zombies # one of our own `kubectl exec` may be there for a moment
}

the_controller_is_one_thread() {
  capture web 5
  local pid
  pid=$(controller_pid)
  is "$(process_status "$pid" Threads)" 1
  echo "the controller's memory: $(process_status "$pid" VmRSS) kB"
}

controller_and_tcpdump_have_one_capability_and_no_more() {
  capture web 5
  local pid
  for pid in $(controller_pid) $(pid_of web); do
    is "$(process_status "$pid" CapEff)" 0000000000002000 # NET_RAW
    is "$(process_status "$pid" CapBnd)" 0000000000002000
    is "$(process_status "$pid" NoNewPrivs)" 1
    is "$(process_status "$pid" Seccomp)" 2
  done
}

the_controller_may_watch_pods_and_write_events_and_nothing_else() {
  local may
  for may in 'list pods' 'watch pods' 'create events'; do
    is "$may: $(can "${may% *}" "${may#* }")" "$may: yes"
  done
  for may in 'get pods' 'create pods' 'update pods' 'patch pods' 'delete pods' 'patch pods/status' 'create pods/exec' \
    'create pods/ephemeralcontainers' 'get pods/log' 'get events' 'list events' 'patch events' 'create events.events.k8s.io' \
    'get nodes' 'list nodes' 'get secrets' 'list secrets' 'get configmaps' 'list namespaces' 'create serviceaccounts/token' \
    'impersonate users' 'patch daemonsets.apps' '* *'; do
    is "$may: $(can "${may% *}" "${may#* }")" "$may: no"
  done
}

a_second_controller_on_the_node_waits_and_gives_up() {
  NODE=$CONTROL_PLANE # no other case looks there
  find_controller
  local first
  first=$(restarts)
  kubectl create -f - >/dev/null <<YAML
apiVersion: v1
kind: Pod
metadata: {name: second, namespace: $NS, labels: {e2e: $ID}}
spec:
  nodeName: $NODE
  restartPolicy: Never
  hostNetwork: true
  terminationGracePeriodSeconds: 1
  containers:
    - {name: packet-capture, image: "packet-capture:dev", imagePullPolicy: IfNotPresent, env: [{name: NODE_NAME, value: $NODE}],
       volumeMounts: [{name: captures, mountPath: /captures}, {name: run, mountPath: /run/packet-capture}]}
  volumes: [{name: captures, emptyDir: {}}, {name: run, emptyDir: {}}]
YAML
  within 30 pod_says second 'waiting for another controller of this node'
  within 100 phase_is second Failed
  is "$(field second '.status.containerStatuses[0].state.terminated.exitCode')" 1
  controller_pid >/dev/null
  is "$(restarts)" "$first"
}
