# shellcheck shell=bash disable=SC2154
# The annotation stop-on: the capture ends when a container crashes or the pod is no longer Ready, and keeps the packets from before that.

a_crash_ends_the_capture_and_the_ring_has_the_last_packets_before_it() {
  local following at last incident
  pod_with web '' "$ALWAYS" "$(with_container app "$NUMBERED")"
  ready web
  optional web stop-on=restart
  annotate web 5
  within 20 has_event web CaptureStarted ' after its start or on container restart or failure; '
  within 20 captured web 'tcp port 8080'
  verb follow "$NS/web" >"$TMP/followed" 2>"$TMP/followed.said" &
  following=$!
  within 20 shows "$TMP/followed" tcp
  crash web 3
  within 30 has_restarted_in web app 1
  at=$(last_end web app)
  within 20 has_event web CaptureFinished "container app of this pod ended with 3 (Error) at $at; seen at 20" 'kept: '
  within 20 not_capturing web
  within 20 ended_here "$following"
  wait "$following"

  last=$(kubectl -n "$NS" exec web -- cat /tmp/sent)
  copied web "$TMP/got"
  silent "$TMP/got"
  has_all_numbers_until "$TMP/got" "$last"
  has_all_numbers_until "$TMP/followed" "$last"
  row_has web finished "container app of this pod ended with 3 (Error) at $at; "
  incident="finished stop-on restart app 3 Error $at"
  is "$(json web | incident)" "$incident"
  is "$(tail -n 1 "$TMP/got.said" | incident)" "$incident"
  is "$(tail -n 1 "$TMP/followed.said" | incident)" "$incident"

  # The container's next start, and a change that is no change of annotations, start no capture.
  pods beacon
  annotate beacon 5
  within 20 capturing beacon 5 # so the controller has seen the container's next start, too
  not_capturing web
  is "$(starts web)" 1
  annotate web 6
  within 20 capturing web 6
  mark web 7002
  within 20 captured web 'tcp port 7002'
  is "$(json web | incident | xargs)" capturing
  copied web "$TMP/again"
  has_number "$TMP/again" "$last" # the old files were kept
  crash web 4
  within 30 has_event web CaptureFinished 'container app of this pod ended with 4 (Error) at '
  within 20 not_capturing web
  delete_pod web
  within 20 gone web
}

# Kills the containers of a pod whose script has this mark at its end, all with one command.
kill_marked() { # MARK
  local all
  all=$(processes | awk -v "mark=# $1" 'substr($0, length($0) - length(mark) + 1) == mark {print $1}')
  is "$(wc -w <<<"$all")" 2
  xargs docker exec "$NODE" kill -KILL <<<"$all"
}
ends_with() { within 30 has_event "$1" CaptureFinished "${@:2}" 'kept: '; } # POD WORDS...

each_kind_of_crash_ends_the_capture_and_the_event_says_which() {
  local pod probe='{"exec": {"command": ["cat", "/tmp/fine"]}, "periodSeconds": 1, "failureThreshold": 1}' fine='touch /tmp/fine; exec sleep 1000'
  pod_with memory '' "$ALWAYS" "$(with_container app 'until [ -s /tmp/code ]; do sleep 0.1; done; exec tail /dev/zero' '"resources": {"limits": {"memory": "20Mi"}}')"
  pod_with alive '' "$ALWAYS" "$(with_container app "$fine" "\"livenessProbe\": $probe")"
  pod_with unready '' "$(with_container app "$fine" "\"readinessProbe\": $probe")"
  pod_with two '' "$ALWAYS" "$(with_container app "while :; do sleep 1; done # two-$ID")" "$(with_container other "while :; do sleep 1; done # two-$ID")"
  pod_with job '' "$(with_script "$UNTIL_CRASH")"
  pod_with init '' "$ALWAYS" "$(with_init_container first "$UNTIL_CRASH")"
  ready memory alive unready two job
  for pod in memory alive two job init; do optional "$pod" stop-on=restart; done
  optional unready stop-on=unready
  annotate memory alive unready two job init 5
  for pod in memory alive unready two job init; do within 30 capturing "$pod" 5; done
  within 10 has_event unready CaptureStarted ' after its start or when the pod becomes unready; '

  crash memory 1
  kubectl -n "$NS" exec alive -- rm /tmp/fine
  kubectl -n "$NS" exec unready -- rm /tmp/fine
  kill_marked "two-$ID"
  crash job 7
  crash init 9 first
  ends_with memory 'container app of this pod ended with 137 (OOMKilled) at '
  ends_with alive 'container app of this pod ended with 137 (Error) at '
  ends_with unready 'this pod is no longer Ready since '
  ends_with two ' of this pod ended with 137 (Error) at ' ', and 1 more container restarted or failed'
  ends_with job 'container talker of this pod ended with 7 (Error) at '
  ends_with init 'container first of this pod ended with 9 (Error) at '
  for pod in memory alive unready two job init; do
    within 20 not_capturing "$pod"
    has_files "$pod"
    row_has "$pod" finished
  done
  is "$(json unready | incident | sed 's/ 2[^ ]*Z$//')" 'finished stop-on unready   '
}

a_pod_in_crash_loop_back_off_is_captured_from_its_next_start_to_its_next_crash() {
  pod_with web '' "$ALWAYS" "$(with_script "$NUMBERED")"
  ready web
  crash web 3
  within 30 has_restarted_in web talker 1
  within 10 crash web 4
  within 30 is_down web 1
  optional web stop-on=restart
  annotate web 5
  within 20 capturing web 5
  is_down web 1 # and the kubelet starts it only later
  within 60 has_restarted_in web talker 2
  within 20 captured web 'tcp port 8080'
  event_count_is web CaptureFinished 0
  crash web 5
  within 30 has_event web CaptureFinished 'container talker of this pod ended with 5 (Error) at '
  event_count_is web CaptureFinished 1
  within 20 not_capturing web
  captured web 'tcp port 8080'
}
# The container does not run, and has restarted so many times.
is_down() { is "$(of_container "$1" talker restartCount) $(of_container "$1" talker state.running.startedAt)" "$2 "; } # POD TIMES

a_pod_that_succeeds_or_is_deleted_has_no_incident() {
  pod_with job '' "$(with_init_container sidecar 'while :; do sleep 1; done' '"restartPolicy": "Always"')"
  pods deleted
  ready job
  optional job stop-on=restart,unready
  optional deleted stop-on=unready,restart
  annotate job deleted 5
  within 20 captured job
  within 20 captured deleted
  finish job
  within 60 phase_is job Succeeded
  is "$(field job '.status.initContainerStatuses[0].state.terminated.exitCode')" 137 # the kubelet killed the sidecar
  within 20 has_event job CaptureFinished 'the pod has finished; ' 'kept: '
  event_count_is job CaptureFinished 1
  is "$(json job | incident | xargs)" finished
  delete_pod deleted
  within 20 gone deleted
  not has_event deleted CaptureFinished 'of this pod'
}
