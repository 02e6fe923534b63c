# shellcheck shell=bash disable=SC2154
# The other annotations: filter, duration, packets, snaplen, pause. stop_on.sh has the cases of stop-on.

a_filter_is_the_last_argument_and_only_its_packets_are_captured() {
  local filter='tcp port 7001 or tcp port 7002' pid
  pods web
  optional web "filter=$filter"
  annotate web 5
  within 20 capturing web 5
  pid=$(pid_of web)
  is "$(docker exec "$NODE" cat "/proc/$pid/cmdline" | tr '\0' '\n')" \
    "$(printf '%s\n' tcpdump -U -B 16384 -i any -C 1 -W 5 -w "/captures/$(stem web).pcap" -- "($(hosts web)) and ($filter)")"
  within 20 has_event web CaptureStarted "captures ($(hosts web)) and ($filter) into" 'which keep the last 5 MB of copies'
  mark web 7003
  mark web 7001
  within 20 captured web 'tcp port 7001'
  mark web 7002
  within 20 captured web 'tcp port 7002'
  is "$(packets web "not ($filter)")" 0
}

common_filters_are_accepted() {
  local pods=(one two three) own=() pod i
  local filters=('tcp port 443' 'udp and port 53' 'icmp or icmp6' 'net 10.0.0.0/8' 'tcp[tcpflags] & (tcp-syn|tcp-fin) != 0' 'tcp[13] - 1 = 1'
    'portrange 8000-9000' 'not port 22' 'greater 1000' 'ip6 proto 58' 'src host 10.0.0.1 and dst port 80' 'ether proto 0x0806')
  pods "${pods[@]}"
  for pod in 0 1 2; do own[pod]=$(hosts "${pods[pod]}"); done
  annotate "${pods[@]}" 3
  for ((i = 0; i < ${#filters[@]}; i += ${#pods[@]})); do # four filters for each pod, because a pod gets at most ten Events at once
    for pod in 0 1 2; do optional "${pods[pod]}" "filter=${filters[i + pod]}"; done
    for pod in 0 1 2; do within 20 capturing_only "${pods[pod]}" "${own[pod]}" "${filters[i + pod]}"; done
  done
}

a_capture_with_a_duration_ends_and_a_changed_duration_restarts_it() {
  pods web beacon
  optional web duration=4s
  annotate web 5
  within 20 has_event web CaptureStarted 'ends 4s after its start'
  within 20 has_event web CaptureFinished 'the duration of 4s is over' ' packets captured' 'kept: 1 file'
  local kept lasted=$(($(event_time web CaptureFinished) - $(event_time web CaptureStarted)))
  ((lasted >= 4 && lasted <= 10)) || fail "it lasted $lasted s"
  kept=$(packets web)
  kubectl -n "$NS" label pod web colour=green >/dev/null
  annotate beacon 5
  within 20 capturing beacon 5 # so the controller has seen the label, too
  not_capturing web
  is "$(packets web)" "$kept"

  optional web duration=1h
  within 20 capturing web 5
  mark web 7002
  within 20 captured web 'tcp port 7002'
  (($(packets web 'not tcp port 7002') >= kept)) # the old files were kept
  unannotate web
  within 20 gone web
}

a_capture_with_a_packet_limit_keeps_exactly_this_many() {
  pods web
  optional web packets=20
  annotate web 5
  within 20 has_event web CaptureStarted 'ends after 20 copies of packets'
  within 20 has_event web CaptureFinished 'all requested copies' '20 copies of packets captured' 'kept: 1 file'
  not_capturing web
  is "$(packets web)" 20
}

snaplen_limits_the_bytes_that_are_kept_of_each_packet() {
  pods web
  optional web snaplen=100
  annotate web 5
  within 20 captured web
  [[ $(arguments web | xargs) == *' -W 5 -s 120 -w '* ]]
  optional web pause=true # so that the file does not change any more
  within 20 not_capturing web
  # A record has the time (8 bytes), the kept length, the original length, and the packet. The largest value of both lengths is printed.
  is "$(in_controller cat "/captures/$(files web)" | od -A n -v -t u1 -w1 | awk '
    NR <= 24 {next}
    {at++}
    at > 8 && at <= 12 {kept += $1 * 256 ^ (at - 9)}
    at > 12 && at <= 16 {was += $1 * 256 ^ (at - 13)}
    at >= 16 && at == 16 + kept {if (kept > most) most = kept; if (was > more) more = was; at = kept = was = 0}
    END {print "at the most", most, "kept; cut packets:", (more > 120), "left over:", at + 0}')" 'at the most 120 kept; cut packets: 1 left over: 0'
}

a_paused_capture_keeps_its_files_and_resumes() {
  capture web 5
  mark web 7001
  within 20 captured web 'tcp port 7001'
  optional web pause=true
  within 20 not_capturing web
  within 20 has_event web CaptureStopped paused 'kept: 1 file'
  captured web 'tcp port 7001'
  mark web 7003
  optional web pause-
  within 20 capturing web 5
  mark web 7002
  within 20 captured web 'tcp port 7002'
  captured web 'tcp port 7001'
  is "$(packets web 'tcp port 7003')" 0
}

an_invalid_optional_value_refuses_all_and_the_capture_continues() {
  local key=tcpdump.antrea.io/ pid wrong pod last='' refused=0
  pods running new
  annotate running 5
  within 20 capturing running 5
  pid=$(pid_of running)
  for wrong in 'filter=port 80) or (port 443' duration=1d packets=0 snaplen=99 pause=yes stop-on=crash fliter=udp; do
    kubectl -n "$NS" annotate pod running new --overwrite "$key$wrong" ${last:+"$key$last-"} >/dev/null
    ((refused > 0)) || annotate new 5
    within 20 refusals_are $((refused += 2))
    last=${wrong%%=*}
  done
  has_event running CaptureRefused 'tcpdump.antrea.io/filter' '")" at character 8' 'kept: the capture with 5 files'
  for pod in running new; do
    has_event "$pod" CaptureRefused 'tcpdump.antrea.io/duration="1d"' '1s to 24h'
    has_event "$pod" CaptureRefused 'tcpdump.antrea.io/packets="0"' 'from 1 to'
    has_event "$pod" CaptureRefused 'tcpdump.antrea.io/snaplen="99"' 'from 100 to'
    has_event "$pod" CaptureRefused 'tcpdump.antrea.io/pause="yes"' '"true"'
    has_event "$pod" CaptureRefused 'tcpdump.antrea.io/stop-on="crash"' 'is not "restart", "unready" or "restart,unready"'
    has_event "$pod" CaptureRefused '"tcpdump.antrea.io/fliter"'
  done
  same_tcpdump running "$pid"
  is "$(starts running)" 1
  is "$(starts new)" 0
  optional new fliter-
  within 20 capturing new 5
}

the_event_of_an_empty_capture_says_where_to_read_why() {
  pods web
  optional web 'filter=tcp port 9'
  annotate web 5
  within 20 capturing web 5
  optional web pause=true
  within 20 has_event web CaptureStopped '0 copies of packets captured' 'Nothing captured?'
}
