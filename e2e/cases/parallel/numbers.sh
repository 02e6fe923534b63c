# shellcheck shell=bash disable=SC2154
# Values that users can misunderstand: bytes of a packet, copies of packets, directions.

the_smallest_snaplen_keeps_tcp_flags_and_options_over_ipv6() {
  [[ $PEER6 == *:* ]] || skip 'the pods have no IPv6 addresses'
  local first='tcp.flags.syn == 1 && ipv6'
  pods web
  optional web snaplen=100 'filter=ip6 and tcp port 7001'
  annotate web 5
  within 20 capturing web 5
  fetch web "[$PEER6]:7001/"
  within 20 captured web 'ip6[53] & 1 != 0' # FIN: the last packets are captured, too
  optional web pause=true # so that the file does not change any more
  within 20 not_capturing web

  verb get "$NS/web" >"$TMP/it" # not `copied`: it compares lengths, and snaplen cuts packets
  shows "$TMP/it" "$first && tcp.flags.ack == 0"
  shows "$TMP/it" "$first && tcp.flags.ack == 1"
  shows "$TMP/it" 'tcp.flags.fin == 1 && ipv6'
  shows_so_many "$TMP/it" '!ipv6 || !tcp.flags' 0
  shows_so_many "$TMP/it" "$first && (_ws.short || !tcp.options.mss || !tcp.options.timestamp || !tcp.options.wscale)" 0
  shows_so_many "$TMP/it" 'frame.cap_len > 120' 0 # 100 bytes and the 20 bytes of LINUX_SLL2

  optional web snaplen=99 pause-
  within 20 has_event web CaptureRefused 'snaplen="99"' 'from 100 to 262144' 'headers of IPv6 and TCP'
}

a_filter_with_a_direction_is_refused_with_an_alternative() {
  local own filter
  pods web
  optional web 'filter=inbound and icmp'
  annotate web 5
  within 20 has_event web CaptureRefused '"inbound" at character 1' 'not the pod' "\`dst host ADDRESS\`" 'nothing is captured'
  not_capturing web
  own=$(ips web)
  filter="dst host ${own%% *}"
  optional web "filter=$filter"
  within 20 capturing_only web "$(hosts web)" "$filter"
  optional web 'filter=tcp and outbound'
  within 20 has_event web CaptureRefused '"outbound" at character 9' 'not the pod' "\`src host ADDRESS\`" 'kept: the capture with 5 files'
  capturing_only web "$(hosts web)" "$filter"
}

the_packets_annotation_counts_copies_and_events_say_so() {
  local once
  pods web
  optional web packets=20
  annotate web 5
  within 20 has_event web CaptureStarted 'which keep the last 5 MB of copies' 'ends after 20 copies of packets' "\`get\` shows one copy of each packet"
  within 20 has_event web CaptureFinished 'all requested copies of packets' '20 copies of packets captured'
  within 20 row_has web finished
  is "$(verb status -n "$NS" | head -n 1 | xargs)" 'NAMESPACE POD STATE N FILES SIZE OLDEST COPIES DROPPED REASON'
  is "$(row web | awk '{print $8}')" 20
  copied web "$TMP/all" --all
  shows_so_many "$TMP/all" frame 20
  copied web "$TMP/once"
  once=$(shark "$TMP/once" | wc -l)
  ((once > 0 && once < 20)) || fail "$once packets of 20 copies"
}
