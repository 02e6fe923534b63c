# shellcheck shell=bash disable=SC2154
# The operator's limits. These cases are serial, because each changes all controllers, or fills a node.

the_newest_request_waits_for_the_budget_and_a_restart_keeps_the_order() {
  set_environment MAX_CAPTURES=3 MAX_CAPTURES_PER_NAMESPACE=3 NODE_BUDGET_MB=20 NAMESPACE_BUDGET_MB=20 MAX_DURATION=1h MAX_SNAPLEN=128 KEEP_AFTER_POD=10s
  within 60 nobody_else_captures
  local pid deleted
  pods one two three four
  annotate one two 5
  within 20 capturing one 5
  within 20 capturing two 5
  within 20 has_event one CaptureStarted '128 bytes of each packet' 'ends 1h after its start'
  [[ $(arguments one | xargs) == *' -W 5 -s 148 -w '* ]]

  annotate three 11
  within 20 has_event three CaptureRefused 'needs 11 MB' 'use 10 MB: together 21 MB of at most 20 MB (NODE_BUDGET_MB)'
  pid=$(pid_of one)
  annotate one 16
  within 20 has_event one CaptureRefused 'needs 16 MB' 'use 5 MB: together 21 MB of at most 20 MB (NODE_BUDGET_MB)' 'kept: the capture with 5 files'
  same_tcpdump one "$pid"
  annotate one 5
  within 20 has_event one CaptureAccepted
  same_tcpdump one "$pid"
  gone three

  kill_controller
  within 60 capturing one 5
  within 20 capturing two 5
  within 20 event_count_is three CaptureRefused 2
  gone three

  unannotate two
  within 20 capturing three 11
  annotate four 2
  within 20 capturing four 2
  annotate two 1
  within 20 has_event two CaptureRefused 'this node already runs 3 of at most 3 captures (MAX_CAPTURES)'
  gone two
  within 20 captured four
  deleted=$SECONDS
  delete_pod four
  within 20 capturing two 1
  has_files four
  within 30 has_no_files four
  ((SECONDS - deleted >= 10)) || fail "its files were retained for $((SECONDS - deleted)) s"
}

a_controller_restart_repeats_no_finished_capture_and_prolongs_none() {
  afterwards replace_controller
  local pod count lasted
  pods counted brief long
  optional counted packets=10
  optional brief duration=2s
  optional long duration=15s
  annotate counted brief long 5
  within 20 has_event counted CaptureFinished
  within 20 has_event brief CaptureFinished
  count=$(restarts)
  kill_controller
  within 40 has_event long CaptureFinished 'the duration of 15s is over'
  within 20 has_restarted $((count + 1))
  lasted=$(($(event_time long CaptureFinished) - $(event_time long CaptureStarted)))
  ((lasted >= 15 && lasted <= 18)) || fail "it lasted $lasted s"
  for pod in counted brief long; do
    not_capturing "$pod"
    captured "$pod"
  done
  is "$(starts counted) $(starts brief)" '0 0' # starts by the new controller
  is "$(packets counted)" 10
}

captures_stop_cleanly_at_the_low_watermark_and_resume_at_the_high_watermark() {
  local pod
  change_controllers "{$(environment MIN_FREE_MB=5 MIN_FREE_PERCENT=0), \"volumes\": [{\"name\": \"captures\",
    \"emptyDir\": {\"medium\": \"Memory\", \"sizeLimit\": \"20Mi\"}}]}" # 21 MB
  within 60 nobody_else_captures
  pods fat lean thin
  annotate fat 14
  annotate lean 5
  annotate thin 1
  for pod in fat lean thin; do within 20 captured "$pod"; done
  for pod in {1..5}; do download fat; done # more downloads would overwrite files of the ring
  until has_event fat CaptureLowDisk; do
    ((SECONDS < 150)) || fail 'the disk does not fill'
    download lean
  done
  within 20 has_event thin CaptureLowDisk 'low watermark of 5 MB (MIN_FREE_MB' 'high watermark of 10 MB'
  for pod in fat lean thin; do
    not_capturing "$pod"
    intact "$pod"
    within 10 row_has "$pod" lowdisk
  done

  unannotate lean # then a little more than 5 MB are free
  within 20 gone lean
  annotate lean 1
  within 20 has_event lean CaptureRefused '10 MB must stay free (MIN_FREE_MB'
  holds_for 4 not_capturing thin
  is "$(starts fat) $(starts lean) $(starts thin)" '1 1 1'

  unannotate fat
  within 20 capturing thin 1
  within 20 capturing lean 1
  gone fat
  mark lean 7001
  within 20 captured lean 'tcp port 7001'
  event_count_is thin CaptureLowDisk 1
  is "$(starts lean) $(starts thin)" '2 2'
}

all_tcpdumps() { processes | awk '$3 == "tcpdump" {print $1}'; }
sixteen_run() { is "$(captures_here | grep --count .)" 16; }

sixteen_captures_stay_within_the_memory_limit() {
  local i pids restarted limit most=0 own own_most=0 until
  set_environment MAX_CAPTURES_PER_NAMESPACE=16 # this starts a new controller, so that earlier cases do not count in its memory
  within 60 nobody_else_captures
  restarted=$(restarts)
  for i in {1..16}; do
    pod_yaml "web$i" 10 | sed 's,:8080/;,:8080/3MB;,'
    echo ---
  done | kubectl create -f - >/dev/null
  within 90 sixteen_run
  pids=$(all_tcpdumps)
  read -r limit most own < <(memory)
  until=$((SECONDS + 60))
  while ((most < limit - 4194304)); do # until the page cache of the written files fills the limit, and the kernel has to reclaim pages
    ((SECONDS < until)) || fail "only $most bytes after a minute"
    read -r limit most own < <(memory)
  done
  until=$((SECONDS + 5))
  while ((SECONDS < until)); do
    read -r limit most own < <(memory)
    ((own <= own_most)) || own_most=$own
  done
  is "$(all_tcpdumps)" "$pids"
  is "$(restarts)" "$restarted"
  echo "16 captures under load: limit $limit bytes, peak $most bytes with the page cache, $own_most bytes without it"
  ((own_most > 0 && own_most < limit / 2))
}
