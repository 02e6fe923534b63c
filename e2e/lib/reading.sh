# shellcheck shell=bash disable=SC2154
# Functions to read captures, with the verbs in the container and with the plugin. Wireshark's programs check the copies. Sourced by case.sh.

verb() { in_controller packet-capture "$@"; } # WORD...
# Runs the plugin through kubectl.
plugin() { PATH=$(realpath "$HERE/.."):$PATH kubectl packet-capture "$@" -n "$NS"; } # VERB ARGUMENT...

# Copies a capture with `packet-capture get` and checks the copy: one complete pcap file, as large as standard error says, and tcpdump
# continues.
copied() { # POD FILE [--all]; the messages of `get` are in FILE.said
  local kind encapsulation packets size data before after
  before=$(tcpdumps "$1")
  verb get "$NS/$1" "${@:3}" >"$2" 2>"$2.said" || fail "$(cat "$2.said")" || return
  after=$(tcpdumps "$1")
  is "$(awk '{print $1, $3}' <<<"$after")" "$(awk '{print $1, $3}' <<<"$before")" || return
  IFS=$'\t' read -r _ kind encapsulation packets size data < <(capinfos -T -r -M -t -E -c -s -d "$2")
  is "$kind, $encapsulation" 'pcap, linux-sll2' || return
  is "$(amounts "$2.said")" "$(counted "$packets" packet), $(counted "$size" byte)" || return
  is "$(tail -n 1 "$2.said" | value '.copy.end} {.copy.packets} {.copy.bytes')" "complete $packets $size" || return
  is "$data" $((size - 24 - 16 * packets))
}
counted() { if (($1 == 1)); then echo "1 $2"; else echo "$1 $2s"; fi; } # NUMBER WORD

# The numbers of packets and bytes as a copy says them to people.
amounts() { grep --no-filename --extended-regexp '^[0-9]+ packets?, [0-9]+ bytes?$' "$@"; } # FILE...

silent() { is "$(grep --count --extended-regexp '^(warning|error): ' "$1.said")" 0; } # FILE: of the copy, which warns of nothing

shark() { tshark -n -r "$@" 2>/dev/null; } # FILE ARGUMENT...

shows() { [[ $(shark "$1" -Y "$2") ]]; }                                 # FILE FILTER: a display filter of Wireshark
shows_so_many() { is "$(shark "$1" -Y "$2" | grep --count .)" "$3"; } # FILE FILTER COUNT

# The largest step back in time from one packet to the next, in milliseconds. Two processors may swap neighbouring packets.
steps_back_ms() { # FILE
  shark "$1" -T fields -e frame.time_delta | awk '0 - $1 > most {most = 0 - $1} END {printf "%d\n", most * 1000}'
}

# The packets of TCP, DNS and ping that are in the file more than once. Packets that were really sent twice differ in time stamp or number.
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

# The line of a pod in `status`.
row() { local all; all=$(verb status -n "$NS") && awk -v "pod=$1" '$2 == pod' <<<"$all"; } # POD
row_has() { # POD STATE [WORDS...]
  local found words
  found=$(row "$1") && [[ $(awk '{print $3}' <<<"$found") == "$2" ]] || fail "$found" || return
  for words in "${@:3}"; do [[ $found == *"$words"* ]] || fail "$found" || return; done
}
json() { local all; all=$(verb status -n "$NS" -o json) && grep "\"namespace\":\"$NS\"" <<<"$all" | grep "\"pod\":\"$1\""; } # POD

# kubectl may be the only JSON reader on this machine. It reads only Kubernetes objects, so the JSON gets the fields of one.
value() { # PATH: the value at this path of the JSON on the standard input
  sed 's/^{/{"apiVersion": "example.com\/v1", "kind": "Line", "metadata": {"name": "line"}, /' |
    kubectl annotate --local -f - read=true -o "jsonpath={$1}"
}

readers_here() { # VERB POD: the processes on the node that read the pod's capture
  local all
  all=$(processes) || return
  awk -v "verb=$1" -v "pod=$NS/$2" '$3 ~ /packet-capture$/ && $4 == verb && $5 == pod' <<<"$all"
}
read_here() { [[ $(readers_here "$@") ]]; }                                         # VERB POD
nobody_reads() { local found; found=$(readers_here "$@") && is "$found" ''; }    # VERB POD
ended_here() { ! kill -0 "$1" 2>/dev/null; }                                        # PID of this machine

# The text has no character that a terminal interprets. Texts from a cluster can contain such characters on purpose.
harmless() { # TEXT
  [[ $1 ]] || return
  if tr -d '\n' <<<"$1" | LC_ALL=C grep --quiet '[^[:print:]]'; then od -c <<<"$1"; return 1; fi
}
