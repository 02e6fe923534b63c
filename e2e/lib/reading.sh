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

silent() { is "$(grep --count --invert-match '^note: ' "$1.said")" 1; } # FILE: nothing was said but how the capture is, and how much there was

shark() { tshark -n -r "$@" 2>/dev/null; } # FILE ARGUMENT...

shows() { [[ $(shark "$1" -Y "$2") ]]; }                                 # FILE FILTER: as of Wireshark's display
shows_so_many() { is "$(shark "$1" -Y "$2" | grep --count .)" "$3"; } # FILE FILTER COUNT

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

fails_with() { # CODE WORDS COMMAND...
  local said code=0
  said=$("${@:3}" 2>&1 </dev/null | tr -d '\0') || code=$?
  [[ $code == "$1" && $said == *"$2"* ]] || fail "not exit code $1 and \"$2\", but $code: $said"
}

# What `status` shows of a pod.
row() { local all; all=$(verb status -n "$NS") && awk -v "pod=$1" '$2 == pod' <<<"$all"; } # POD
row_has() { # POD STATE [WORDS...]
  local found words
  found=$(row "$1") && [[ $(awk '{print $3}' <<<"$found") == "$2" ]] || fail "$found" || return
  for words in "${@:3}"; do [[ $found == *"$words"* ]] || fail "$found" || return; done
}
json() { local all; all=$(verb status -n "$NS" -o json) && grep "^{\"namespace\":\"$NS\",\"pod\":\"$1\"," <<<"$all"; } # POD

# There may be no other reader of JSON than kubectl, which wants to be told that it is an object.
value() { # PATH: of the JSON on the standard input
  sed 's/^{/{"apiVersion": "example.com\/v1", "kind": "Line", "metadata": {"name": "line"}, /' |
    kubectl annotate --local -f - read=true -o "jsonpath={$1}"
}

readers_here() { # VERB POD: the processes on the node that read its capture
  local all
  all=$(processes) || return
  awk -v "verb=$1" -v "pod=$NS/$2" '$3 ~ /packet-capture$/ && $4 == verb && $5 == pod' <<<"$all"
}
read_here() { [[ $(readers_here "$@") ]]; }                                         # VERB POD
nobody_reads() { local found; found=$(readers_here "$@") && is "$found" ''; }    # VERB POD
ended_here() { ! kill -0 "$1" 2>/dev/null; }                                        # PID, of this machine

# What came from a cluster, in which somebody may have written what a terminal obeys.
harmless() { # TEXT
  [[ $1 ]] || return
  if tr -d '\n' <<<"$1" | LC_ALL=C grep --quiet '[^[:print:]]'; then od -c <<<"$1"; return 1; fi
}
