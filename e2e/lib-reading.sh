# shellcheck shell=bash disable=SC2154
# How captures are read: by the verbs in the container, and by the plugin. Wireshark's programs judge what came. Sourced by case.sh.

verb() { in_controller packet-capture "$@"; } # WORD...
# The plugin, as kubectl finds it.
plugin() { PATH=$(realpath "$HERE/.."):$PATH kubectl packet-capture "$@" -n "$NS"; } # VERB ARGUMENT...

# Copies a capture by the verb to a file, and judges it: one whole pcap file, as large as was said, while tcpdump goes on.
copied() { # POD FILE [--all]; what was said is in FILE.said
  local kind encapsulation packets size data before after
  before=$(tcpdumps "$1")
  verb get "$NS/$1" "${@:3}" >"$2" 2>"$2.said" || fail "$(cat "$2.said")" || return
  after=$(tcpdumps "$1")
  is "$(awk '{print $1, $3}' <<<"$after")" "$(awk '{print $1, $3}' <<<"$before")" || return
  IFS=$'\t' read -r _ kind encapsulation packets size data < <(capinfos -T -r -M -t -E -c -s -d "$2")
  is "$kind, $encapsulation" 'pcap, linux-sll2' || return
  is "$(tail -n 1 "$2.said")" "$(counted "$packets" packet), $(counted "$size" byte)" || return
  is "$data" $((size - 24 - 16 * packets))
}
counted() { if (($1 == 1)); then echo "1 $2"; else echo "$1 $2s"; fi; } # NUMBER WORD

silent() { is "$(wc -l <"$1.said")" 1; } # FILE: nothing was said but how much there was

shark() { tshark -n -r "$@" 2>/dev/null; } # FILE ARGUMENT...

shows() { [[ $(shark "$@") ]]; }                                      # FILE FILTER: as of Wireshark's display
shows_so_many() { is "$(shark "$1" "$2" | grep --count .)" "$3"; } # FILE FILTER COUNT

# By how much a packet is at most older than the one before it, in milliseconds. Two processors may swap neighbours.
steps_back_ms() { # FILE
  shark "$1" -T fields -e frame.time_delta | awk '0 - $1 > most {most = 0 - $1} END {printf "%d\n", most * 1000}'
}

# The packets of TCP, DNS and ping that are there more than once. What is really sent twice differs in its time stamp, or its number.
repeated() { # FILE
  shark "$1" -Y '(tcp || dns || icmp.type in {0, 8} || icmpv6.type in {128, 129}) && !(icmp.type in {3, 11}) && !(icmpv6.type in {1 .. 4})' \
    -o tcp.analyze_sequence_numbers:FALSE -T fields -e ip.src -e ip.dst -e ip.id -e ipv6.src -e ipv6.dst -e tcp.srcport -e tcp.dstport -e tcp.seq_raw \
    -e tcp.ack_raw -e tcp.len -e tcp.flags -e tcp.options.timestamp.tsval -e tcp.options.timestamp.tsecr -e udp.srcport -e udp.dstport -e dns.id \
    -e dns.flags -e icmp.type -e icmp.ident -e icmp.seq -e icmpv6.type -e icmpv6.echo.identifier -e icmpv6.echo.sequence_number | sort | uniq -d
}
