# shellcheck shell=bash disable=SC2154
# The controller's process and permissions.

a_second_controller_on_the_node_waits_and_gives_up() {
  NODE=$CONTROL_PLANE # no other case uses this node
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
  within 120 phase_is second Failed
  is "$(field second '.status.containerStatuses[0].state.terminated.exitCode')" 1
  controller_pid >/dev/null
  is "$(restarts)" "$first"
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
