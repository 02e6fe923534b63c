# shellcheck shell=bash disable=SC2154
# The annotation stop-on while the controller is away. This case is serial, because it stops the controller for all pods of its node.

a_crash_that_no_controller_saw_is_found_by_the_next_controller() {
  local pid count at
  afterwards replace_controller # otherwise the kubelet would delay the restart in the next case
  pod_with web '' "$ALWAYS" "$(with_container app "$NUMBERED")"
  ready web
  optional web stop-on=restart
  annotate web 5
  within 20 captured web 'tcp port 8080'
  pid=$(controller_pid) count=$(restarts)
  docker exec "$NODE" kill -STOP "$pid" # the controller does not see the crash
  crash web 3
  within 30 has_restarted_in web app 1
  at=$(last_end web app)
  docker exec "$NODE" kill -KILL "$pid"
  within 60 has_event web CaptureFinished "container app of this pod ended with 3 (Error) at $at; " 'kept: '
  within 20 not_capturing web
  within 20 has_restarted $((count + 1))
  is "$(starts web)" 0 # in the log of the new controller
  copied web "$TMP/got"
  has_all_numbers_until "$TMP/got" "$(kubectl -n "$NS" exec web -- cat /tmp/sent)"
  is "$(json web | incident)" "finished stop-on restart app 3 Error $at"
}
