# shellcheck shell=bash disable=SC2154
# The annotation tcpdump.antrea.io. Each function tests one promise. The functions run in parallel, each with its own pods.

an_annotation_starts_exactly_the_promised_command() {
  pods web
  annotate web 5
  within 20 capturing web 5
  local pid
  pid=$(pid_of web)
  is "$(docker exec "$NODE" cat "/proc/$pid/cmdline" | tr '\0' '\n')" \
    "$(tr ' ' '\n' <<<"tcpdump -U -B 16384 -i any -C 1 -W 5 -w /captures/captres-web_$NS.pcap $(hosts web)")"
  is "$(docker exec "$NODE" readlink "/proc/$pid/exe")" /usr/bin/tcpdump
  is "$(docker exec "$NODE" readlink "/proc/$pid/ns/net")" "$(docker exec "$NODE" readlink /proc/1/ns/net)"
  within 20 has_event web CaptureStarted
}

a_pod_of_the_default_namespace_has_files_under_its_name_alone() {
  local pod=web-$NS
  NS=default
  pods "$pod"
  annotate "$pod" 5
  within 20 captured "$pod"
  is "$(files "$pod")" "captres-$pod.pcap0"
}

the_packets_are_those_of_the_pod_and_of_no_other() {
  pods other
  capture web 5
  within 20 captured web "src host $(field web .status.podIP)"
  within 20 captured web "dst host $(field web .status.podIP)"
  download other
  mark other 7001
  mark web 7002
  within 20 captured web 'tcp port 7002'
  is "$(packets web 'tcp port 7001')" 0
  is "$(packets web "not ($(hosts web))")" 0
}

the_files_are_for_root_only() {
  capture web 2
  local modes
  modes=$(in_controller ls -l /captures | awk -v "stem=$(stem web).pcap" 'index($NF, stem) == 1 {print $1, $3, $4}' | sort -u)
  [[ $modes =~ ^-rw-------\ (0|root)\ +(0|root)$ ]] || fail "modes and owners: $modes"
}

the_ring_keeps_to_n_files_of_a_megabyte_and_drops_the_oldest() {
  capture web 3
  mark web 7001
  within 20 captured web 'tcp port 7001'
  download web
  download web
  mark web 7002
  within 20 captured web 'tcp port 7002'
  is "$(packets web 'tcp port 7001')" 0
  is "$(files web | xargs)" "$(printf "$(stem web).pcap%s " 0 1 2 | xargs)"
  local bytes file
  while read -r bytes file; do
    ((bytes <= 1000000 + 262160)) || fail "$file has $bytes bytes"
  done < <(in_controller ls -l /captures | awk -v "stem=$(stem web).pcap" 'index($NF, stem) == 1 {print $5, $NF}')
}

a_single_file_has_no_index_and_eleven_files_have_two_digits() {
  pods one ten eleven
  annotate one 1
  annotate ten 10
  annotate eleven 11
  within 20 captured one
  within 20 captured ten
  within 20 captured eleven
  is "$(files one)" "$(stem one).pcap"
  is "$(files ten)" "$(stem ten).pcap0"
  is "$(files eleven)" "$(stem eleven).pcap00"
}

a_changed_number_restarts_tcpdump_once_and_keeps_the_old_packets() {
  capture web 5
  download web
  mark web 7001
  within 20 captured web 'tcp port 7001'

  annotate web 12
  within 20 capturing web 12
  is "$(files web | grep --count --invert-match 'pcap[0-9][0-9]$')" 0
  within 20 captured web 'tcp port 7001'
  mark web 7002
  within 20 captured web 'tcp port 7002'

  annotate web 5
  within 20 capturing web 5
  is "$(files web | grep --count --invert-match 'pcap[0-9]$')" 0
  within 20 captured web 'tcp port 7001'
  within 20 captured web 'tcp port 7002'
}

the_last_of_many_changes_at_once_wins() {
  capture web 5
  local before began=$SECONDS files most more
  before=$(starts web)
  for files in 6 7 8 9; do
    annotate web "$files"
  done
  within 20 capturing web 9
  most=$((1 + (SECONDS + 1 - began) / 2)) # one restart at once, then one restart in two seconds
  more=$(($(starts web) - before))
  ((more >= 1 && more <= most)) || fail "$more restarts, at most $most expected"
}

a_change_of_other_metadata_changes_no_capture() {
  pods beacon
  capture web 5
  local pid lines
  pid=$(pid_of web)
  within 20 has_event web CaptureStarted
  lines=$(controller_log | grep --count "pod=$NS/web")
  kubectl -n "$NS" label pod web colour=green >/dev/null
  kubectl -n "$NS" annotate pod web colour=green tcpdump.antrea.iox=7 >/dev/null
  # The controller has handled a later change of another pod, so it has seen this change too.
  annotate beacon 1
  within 20 capturing beacon 1
  same_tcpdump web "$pid"
  is "$(controller_log | grep --count "pod=$NS/web")" "$lines"
}

an_invalid_value_is_refused_and_the_capture_continues() {
  local value pod pid refused
  capture web api 5 # two pods, because a pod gets at most ten Events at once
  for pod in web api; do
    mark "$pod" 7001
    within 20 captured "$pod" 'tcp port 7001'
    pid=$(pid_of "$pod")
    refused=0
    case $pod in
      web) set -- abc 0 -1 +5 05 ;;
      api) set -- 5x ' 5 ' '' 101 ;;
    esac
    for value; do
      annotate "$pod" "$value"
      within 20 event_count_is "$pod" CaptureRefused $((++refused))
    done
    same_tcpdump "$pod" "$pid"
    captured "$pod" 'tcp port 7001'
  done
  has_event web CaptureRefused '"abc"' 100
  has_event web CaptureRefused '"05"' 100
  has_event api CaptureRefused '" 5 "' 100
  has_event api CaptureRefused '"101"' 100
  annotate web 6
  within 20 capturing web 6
}

an_invalid_first_value_starts_no_capture() {
  pods web
  annotate web many
  within 20 has_event web CaptureRefused '"many"'
  gone web
  annotate web 3
  within 20 capturing web 3
}

an_unknown_key_is_refused_until_it_is_removed() {
  pods web
  kubectl -n "$NS" annotate pod web tcpdump.antrea.io=5 tcpdump.antrea.io/fliter='port 80' >/dev/null
  within 20 has_event web CaptureRefused tcpdump.antrea.io/fliter
  gone web
  kubectl -n "$NS" annotate pod web tcpdump.antrea.io/fliter- >/dev/null
  within 20 capturing web 5
}

events_that_differ_only_in_their_text_are_all_shown() {
  pods web
  annotate web abc
  within 20 has_event web CaptureRefused '"abc"'
  annotate web xyz
  within 20 has_event web CaptureRefused '"xyz"'
  local described
  described=$(kubectl -n "$NS" describe pod web | sed -n '/^Events:/,$p')
  [[ $described == *'Warning  CaptureRefused '*'packet-capture'*'"abc"'* && $described == *'"xyz"'* ]] || fail "$described"
}
