# shellcheck shell=bash disable=SC2154
# The plugin.

# shellcheck disable=SC2016 # $key and $value belong to the template
keys() { kubectl -n "$NS" get pod "$1" -o 'go-template={{range $key, $value := .metadata.annotations}}{{$key}}={{$value}}{{"\n"}}{{end}}' | sed '/antrea/!d'; } # POD

plugin_start_stop_and_delete_change_exactly_the_annotations() {
  local asked=tcpdump.antrea.io
  pods web
  plugin start web --files 7 --filter 'tcp port 7001' --duration=5m --packets 1000 --snaplen 128 --stop-on restart >"$TMP/said"
  capturing web 7
  [[ $(<"$TMP/said") == "web: CaptureStarted: tcpdump captures ($(hosts web)) and (tcp port 7001) into "*' 5m after its start or '* ]]
  is "$(starts web)" 1 # all annotations are set in one patch
  is "$(keys web)" "$asked=7"$'\n'"$asked/duration=5m"$'\n'"$asked/filter=tcp port 7001"$'\n'"$asked/packets=1000"$'\n'"$asked/snaplen=128"$'\n'"$asked/stop-on=restart"

  plugin start web --files 3 >"$TMP/said" # annotations that are not given again are removed
  is "$(keys web)" "$asked=3"
  capturing web 3
  [[ $(tcpdumps web) == *" $(hosts web)" ]]
  is "$(plugin start web --files 3)" 'web: nothing to change; last event: CaptureStarted'
  fails_with 1 'web: CaptureRefused: annotation tcpdump.antrea.io/filter' plugin start web --files 3 --filter 'port 80) or (port 443'
  capturing web 3
  fails_with 1 'web: nothing to change; last event: CaptureRefused' \
    plugin start web --files 3 --filter 'port 80) or (port 443'
  plugin start web --files 3 >/dev/null

  plugin stop pod/web
  within 20 not_capturing web
  has_files web
  plugin start web --files 3 >/dev/null
  capturing web 3
  plugin delete web
  within 20 gone web
  is "$(keys web)" ''
  fails_with 1 "error: pod $NS/web has no capture" plugin stop web
  fails_with 1 'error: cannot read pod' plugin start none
  fails_with 2 'error: start has no option --file' plugin start web --file 3
}

plugin_start_says_why_no_capture_starts() {
  local unbound nowhere
  unbound_pod unbound
  pods finished
  finish finished
  within 30 phase_is finished Succeeded
  pod_with nowhere '' '{"op": "replace", "path": "/spec/nodeName", "value": "no-such-node"}' # the pod is removed, but not at once
  fails_with 1 "the capture of pod $NS/unbound does not run yet: the pod has no node" plugin start unbound & unbound=$!
  fails_with 1 'no packet-capture pod runs on node no-such-node; hint: ' plugin start nowhere & nowhere=$!
  fails_with 1 'finished: CaptureMissed: ' plugin start finished
  wait "$unbound"
  wait "$nowhere"
}

rows() { awk -v "ns=$NS" '$1 == ns {print $2, $3, $4, $5}' <<<"$1"; } # TABLE

plugin_status_and_get_work_for_all_nodes_at_once() {
  local other all
  other=$(other_worker)
  pods here
  NODE=$other pods there
  kubectl -n "$NS" create deployment set --image="$BUSYBOX" -- sleep 1000 >/dev/null
  kubectl -n "$NS" rollout status deployment/set --timeout=60s >/dev/null
  plugin start -l "e2e=$ID" --files 2 >"$TMP/said"
  is "$(sort "$TMP/said" | cut -d ' ' -f 1,2 | xargs)" 'here: CaptureStarted: there: CaptureStarted:'
  plugin start deploy/set --filter 'tcp port 9' >/dev/null
  within 20 captured here
  NODE=$other within 20 on "$other" captured there

  all=$(plugin status -o wide)
  is "$(head -n 1 <<<"$all" | cut -d ' ' -f 1)" NAMESPACE
  is "$(grep --count '^NAMESPACE' <<<"$all")" 1
  is "$(rows "$all" | grep -v ^set | sort)" "here $NODE capturing 2"$'\n'"there $other capturing 2"
  is "$(awk '{print index($0, $3)}' <<<"$all" | sort -u | wc -l)" 1 # all states begin in the same column
  all=$(plugin status -o json)
  is "$(grep -c '^{.*}$' <<<"$all") $(wc -l <<<"$all")" '3 3'
  is "$(grep '"pod":"there"' <<<"$all" | value '.node} {.state')" "$other capturing"
  PATH=$(realpath "$HERE/.."):$PATH kubectl packet-capture status -A >"$TMP/all"
  is "$(awk -v "ns=$NS" '$1 == ns' "$TMP/all" | wc -l)" 3

  cd "$TMP" || return
  plugin get -l "e2e=$ID" >"$TMP/said" 2>&1
  is "$(stat -c '%a' here.pcap there.pcap here.json there.json | sort -u)" 600
  is "$(value '.node} {.pod} {.copy.end} {.copy.bytes' <there.json)" "$other there complete $(stat -c %s there.pcap)"
  is "$(grep --count '^{' "$TMP/said" || true)" 0
  is "$(capinfos -T -r -M -t -E there.pcap | cut -f 2,3)" $'pcap\tlinux-sll2'
  shows there.pcap "ip.addr == $(field there .status.podIP) && tcp"
  is "$(repeated there.pcap)" ''
  grep --quiet "^there.pcap: $(capinfos -T -r -M -c there.pcap | cut -f 2) packets, $(stat -c %s there.pcap) bytes, of $NS/there on node $other$" "$TMP/said"
  fails_with 1 'error: here.pcap exists; hint: ' plugin get here
  plugin get here -o here.pcap >/dev/null
  plugin get deploy/set -o set >/dev/null
  is "$(capinfos -T -r -M -c -s set | cut -f 2,3)" $'0\t24'
  plugin get here -o - 2>"$TMP/said" | cat >piped
  is "$(tail -n 1 "$TMP/said")" "$NS/here on node $NODE: $(capinfos -T -r -M -c piped | cut -f 2) packets, $(stat -c %s piped) bytes"
}

plugin_get_fails_for_an_incomplete_copy() {
  local real
  real=$(command -v kubectl)
  mkdir "$TMP/bin"
  # shellcheck disable=SC2016
  printf '#!/bin/bash\nif [[ " $* " == *" -- packet-capture get "* ]]; then %q "$@" | head -c 1000; else exec %q "$@"; fi\n' "$real" "$real" >"$TMP/bin/kubectl"
  chmod +x "$TMP/bin/kubectl"
  capture web 5
  mark web 7001
  within 20 captured web 'tcp port 7001'
  cd "$TMP" || return
  PATH=$TMP/bin:$PATH fails_with 1 'error: the copy is incomplete: 1000 of ' plugin get web
  is "$(stat -c %s web.pcap.part)" 1000
  [[ ! -e web.pcap && ! -e web.json ]]
  PATH=$TMP/bin:$PATH fails_with 1 'error: the copy is incomplete: 1000 of ' plugin get web -o -
  plugin get web
  [[ ! -e web.pcap.part ]]
  fails_with 1 'error: there is no pod' plugin get none
}
