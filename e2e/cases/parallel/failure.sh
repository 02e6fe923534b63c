# shellcheck shell=bash disable=SC2154
# A tcpdump that is killed, or that does not react.

a_killed_tcpdump_is_restarted_and_keeps_its_files() {
  capture web 5
  mark web 7001
  within 20 captured web 'tcp port 7001'
  local pid
  pid=$(pid_of web)
  docker exec "$NODE" kill -KILL "$pid"
  within 20 other_tcpdump web "$pid"
  within 20 has_event web CaptureFailed
  captured web 'tcp port 7001'
  mark web 7002
  within 20 captured web 'tcp port 7002'
}

a_frozen_tcpdump_ends_and_delays_no_other_capture() {
  pods other
  capture web 5
  docker exec "$NODE" kill -STOP "$(pid_of web)"
  unannotate web
  annotate other 5
  within 10 capturing other 5
  within 20 gone web
  within 20 has_event web CaptureStopped 'packets captured'
  not has_event web CaptureStopped 'reported ' # tcpdump was continued, wrote its packets, and reported its counts
}

a_killed_tcpdump_leaves_no_zombie() {
  capture web 5
  local pid
  pid=$(pid_of web)
  docker exec "$NODE" kill -KILL "$pid"
  within 20 other_tcpdump web "$pid"
  unannotate web
  within 20 gone web
  within 10 no_zombies # a process of the case's own `kubectl exec` may be a zombie for a moment
}
