# shellcheck shell=bash disable=SC2154
# What becomes of a tcpdump that is killed or does not react.

a_killed_tcpdump_is_started_again_and_goes_on_with_its_files() {
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

a_frozen_tcpdump_delays_nobody_and_ends_all_the_same() {
  pods other
  capture web 5
  docker exec "$NODE" kill -STOP "$(pid_of web)"
  unannotate web
  annotate other 5
  within 10 capturing other 5
  within 20 gone web
  within 20 has_event web CaptureStopped packet
  not has_event web CaptureStopped 'not counting' # it was let go on, wrote what it had, and counted
}

no_zombie_is_left() {
  capture web 5
  local pid
  pid=$(pid_of web)
  docker exec "$NODE" kill -KILL "$pid"
  within 20 other_tcpdump web "$pid"
  unannotate web
  within 20 gone web
  within 10 no_zombies # one of our own `kubectl exec` may be there for a moment
}
