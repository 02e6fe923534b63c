# shellcheck shell=bash disable=SC2154
# `packet-capture get`, `follow` and `status`.

# Creates server pods, and a Service for each. A server answers every HTTP request and every DNS query.
server() { # NAME...: on the case's node
  local name
  for name; do
    cat <<YAML
apiVersion: v1
kind: Pod
metadata: {name: $name, namespace: $NS, labels: {e2e: $ID, server: $name}}
spec:
  nodeName: $NODE
  automountServiceAccountToken: false
  terminationGracePeriodSeconds: 1
  containers:
    - name: server
      image: $BUSYBOX
      imagePullPolicy: IfNotPresent
      command: [sh, -c, 'echo none 127.0.0.1 >/tmp/names; dnsd -c /tmp/names -i :: & exec httpd -f -p 8080 -h /tmp']
      readinessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: $name, namespace: $NS}
spec:
  ipFamilyPolicy: PreferDualStack
  selector: {server: $name}
  ports: [{name: page, port: 8080}, {name: name, port: 53, protocol: UDP}]
---
YAML
  done | kubectl create -f - >/dev/null
}

# Prints each address with a name by its family: NAME4=A NAME6=B.
named() { # NAME ADDRESS...
  local ip
  for ip in "${@:2}"; do if [[ $ip == *:* ]]; then echo "${1}6=$ip"; else echo "${1}4=$ip"; fi; done
}
pod_named() { mapfile -t addresses < <(ips "$2" | xargs -n 1); named "$1" "${addresses[@]}"; } # NAME POD
service_named() { # NAME SERVICE
  mapfile -t addresses < <(kubectl -n "$NS" get service "$2" -o 'jsonpath={.spec.clusterIPs[*]}' | xargs -n 1)
  named "$1" "${addresses[@]}"
}
node_named() { # NAME NODE
  mapfile -t addresses < <(kubectl get node "$2" -o 'jsonpath={.status.addresses[?(@.type=="InternalIP")].address}' | xargs -n 1)
  named "$1" "${addresses[@]}"
}

# Sends ten pings, ten DNS queries and ten HTTP requests to each address. The number and the name are part of each, so each packet can be identified.
talk() { # POD NAME=ADDRESS...
  # shellcheck disable=SC2016 # for the pod's shell
  kubectl -n "$NS" exec "$1" -- sh -c '
    for to; do
      name=${to%%=*} at=${to#*=}
      case $at in *:*) url="[$at]" ;; *) url=$at ;; esac
      case $name in *service*) ;; *) ping -q -A -c 10 "$at" ;; esac
      case $name in node*) continue ;; esac
      for i in 1 2 3 4 5 6 7 8 9 10; do
        nslookup -type=a "question$i.$name." "$at"
        timeout 5 wget -q -O /dev/null "http://$url:8080/$name/$i"
      done
    done' talk "${@:2}" >"$TMP/talk" 2>&1 || true
}

# Whether the pod web reaches each address. kube-proxy may need a moment.
all_reachable() { # NAME=ADDRESS...
  local each at
  for each; do
    at=${each#*=}
    [[ $at != *:* ]] || at="[$at]"
    [[ $each == node* ]] || kubectl -n "$NS" exec web -- timeout 2 wget -q -O /dev/null "http://$at:8080/names" || return
  done
}

# Counts the packets of `talk` in a file: "NAME KIND PACKETS DIFFERENT-PACKETS".
tally() { # FILE NAME=ADDRESS...
  shark "$1" -o tcp.analyze_sequence_numbers:FALSE -o tcp.desegment_tcp_streams:FALSE \
    -Y 'dns || http.request || icmp.type in {0, 8} || icmpv6.type in {128, 129}' -T fields -E occurrence=f \
    -e ip.src -e ipv6.src -e ip.dst -e ipv6.dst -e icmp.type -e icmpv6.type -e icmp.seq -e icmpv6.echo.sequence_number \
    -e dns.qry.name -e dns.flags.response -e http.request.uri |
    awk -F '\t' -v "named=${*:2}" '
      function count(whose, kind, which) {
        seen[whose " " kind]++
        if (!((whose, kind, which) in known)) {known[whose, kind, which]; differ[whose " " kind]++}
      }
      BEGIN {split(named, pairs, " "); for (i in pairs) {split(pairs[i], pair, "="); name[pair[2]] = pair[1]}}
      $5 $6 == 8 || $5 $6 == 128 {count($3 $4 in name ? name[$3 $4] : "from-" name[$1 $2], "echo", $7 $8)}
      $5 $6 == "0" || $5 $6 == 129 {count($1 $2 in name ? name[$1 $2] : "from-" name[$3 $4], "echo-answer", $7 $8)}
      $9 != "" {split($9, part, "."); count(part[2], $10 ~ /1|True/ ? "answer" : "question", part[1])}
      split($11, part, "/") == 3 {count(part[2], "request", part[3])}
      END {for (each in seen) print each, seen[each], differ[each]}' | sort
}

# The tally of a file that has each packet of `talk` once.
expected_tally() { # NAME=ADDRESS...
  local name kinds kind
  for name in "${@%%=*}"; do
    kinds='echo echo-answer question answer request'
    case $name in *service*) kinds='question answer request' ;; node*) kinds='echo echo-answer' ;; esac
    for kind in $kinds; do echo "$name $kind 10 10"; done
  done | sort
}

get_shows_each_packet_once_on_every_path() {
  local other to from_near from_far flagged='tcp.analysis.retransmission || tcp.analysis.duplicate_ack || tcp.analysis.out_of_order' once all
  other=$(other_worker)
  server web near
  NODE=$other server far
  kubectl -n "$NS" wait --for=condition=Ready pod web near far --timeout=60s >/dev/null
  annotate web 5
  within 20 capturing web 5
  mapfile -t to < <(pod_named near near; service_named service-near near; node_named node-own "$NODE"
    pod_named far far; service_named service-far far; node_named node-other "$other")
  mapfile -t from_near < <(pod_named from-near web; service_named from-near-service web)
  mapfile -t from_far < <(pod_named from-far web; service_named from-far-service web)
  within 20 all_reachable "${to[@]}"
  talk web "${to[@]}"
  talk near "${from_near[@]}"
  talk far "${from_far[@]}"
  mark web 7001
  within 20 captured web 'tcp port 7001'
  optional web pause=true # so that all copies are made from the same packets
  within 20 not_capturing web

  copied web "$TMP/once"
  copied web "$TMP/all" --all
  silent "$TMP/once"
  silent "$TMP/all"
  shows_so_many "$TMP/all" frame "$(packets web)"
  tally "$TMP/once" "${to[@]}" >"$TMP/once.tally"
  tally "$TMP/all" "${to[@]}" >"$TMP/all.tally"
  is "$(<"$TMP/once.tally")" "$(expected_tally "${to[@]}" "${from_near[@]}" "${from_far[@]}")"
  is "$(repeated "$TMP/once")" ''
  [[ $(repeated "$TMP/all") ]]
  shows "$TMP/once" "tcp.dstport == 8080 && ip.src != $(field near .status.podIP)" # a request of the kubelet
  (($(steps_back_ms "$TMP/once") < 500))

  once=$(shark "$TMP/once" -Y "$flagged" | wc -l) all=$(shark "$TMP/all" -Y "$flagged" | wc -l)
  echo "copied: $(amounts "$TMP/once.said"), and $(amounts "$TMP/all.said") with --all"
  echo "as repeated, tshark flags $once, and $all with --all"
  echo 'packets of each kind: sent, copied by get, in the ring'
  join <(sed 's/ /:/' "$TMP/once.tally") <(sed 's/ /:/' "$TMP/all.tally") | awk '{print $1, $3, $2, $4}' | column -t
  ((once < all))
}

load() { kubectl -n "$NS" exec "$1" -- sh -c "until [ -e /tmp/enough ]; do timeout 5 wget -q -O /dev/null http://$PEER:8080/3MB; done"; } # POD

get_under_load_is_valid_and_disturbs_no_capture() {
  local pod loading copies
  pods five one
  annotate five 5
  annotate one 1
  for pod in five one; do
    within 20 captured "$pod"
    load "$pod" &
    loading=$!
    for copies in {1..5}; do copied "$pod" "$TMP/$pod.$copies"; done
    kubectl -n "$NS" exec "$pod" -- touch /tmp/enough
    wait "$loading"
    download "$pod"
    mark "$pod" 7001
    within 20 captured "$pod" 'tcp port 7001'
    copied "$pod" "$TMP/$pod"
    shows "$TMP/$pod" 'tcp.port == 7001'
    (($(steps_back_ms "$TMP/$pod") < 500)) || fail "packets are out of order by $(steps_back_ms "$TMP/$pod") ms"
    echo "$pod: $(amounts "$TMP/$pod".*said | xargs -d '\n')"
  done
  (($(capinfos -T -r -M -s "$TMP/five" | cut -f 2) > 2000000))
}

begins() { shark "$1" -Y "tcp.dstport == $2 && tcp.flags.syn == 1" -T fields -e frame.number | xargs; } # FILE PORT: the numbers of the packets that begin a request to this port

get_shows_packets_across_restarts_pauses_and_the_end_of_the_pod() {
  local port
  capture web 5
  for port in 7001 7002 7003; do
    case $port in
      7002) annotate web 12; within 20 capturing web 12 ;;
      7003) optional web pause=true; within 20 not_capturing web; copied web "$TMP/paused"; optional web pause-; within 20 capturing web 12 ;;
    esac
    mark web "$port"
    within 20 captured web "tcp port $port"
  done
  is "$(begins "$TMP/paused" 7001 | wc -w) $(begins "$TMP/paused" 7002 | wc -w) $(begins "$TMP/paused" 7003 | wc -w)" '1 1 0'
  finish web
  within 30 phase_is web Succeeded
  within 20 not_capturing web
  copied web "$TMP/finished"
  silent "$TMP/finished"
  [[ $(begins "$TMP/finished" 7001) -lt $(begins "$TMP/finished" 7002) && $(begins "$TMP/finished" 7002) -lt $(begins "$TMP/finished" 7003) ]]
  copied web "$TMP/all" --all
  shows_so_many "$TMP/all" frame "$(packets web)"
  unannotate web
  within 20 gone web
  fails_with 1 "error: no capture of $NS/web on this node; it asks for none; hint: kubectl -n $NS annotate pod web " verb get "$NS/web"
}

a_reader_without_a_capture_says_where_to_look() {
  pods plain
  on "$(other_worker)" pods elsewhere
  unbound_pod unbound 5
  fails_with 1 "error: no capture of $NS/plain on this node; it asks for none; hint: kubectl -n $NS annotate pod plain tcpdump.antrea.io=5" verb get "$NS/plain"
  fails_with 1 "error: no capture of $NS/elsewhere on this node; it runs on $(other_worker)" verb get "$NS/elsewhere"
  fails_with 1 "error: no capture of $NS/elsewhere on this node; it runs on $(other_worker)" verb follow "$NS/elsewhere" --all
  fails_with 1 "error: no capture of $NS/unbound on this node; it is not scheduled yet" verb get "$NS/unbound"
  fails_with 1 "error: no capture of $NS/none on this node; there is no such pod" verb get "$NS/none"
  fails_with 2 'error: "../state" is not a valid pod name; expected [NAMESPACE/]POD' verb get ../state
  fails_with 2 'error: "\u{1b}[31mred" is not a valid pod name; expected [NAMESPACE/]POD' verb get $'\e[31mred'
  fails_with 2 'usage: packet-capture follow ' verb follow "$NS/plain" plain
  fails_with 2 'error: "A" is not a valid namespace name' verb status -n A
  is "$(verb status -n "$NS" | wc -l)" 1 # only the header
}

follow_shows_a_capture_live_until_its_end() {
  local following pid
  capture web 5
  mark web 7001
  within 20 captured web 'tcp port 7001'
  pid=$(pid_of web)
  plugin follow web >"$TMP/followed" 2>"$TMP/said" &
  following=$!
  within 20 shows "$TMP/followed" 'tcp.port == 7001'
  mark web 7002
  within 10 shows "$TMP/followed" 'tcp.port == 7002'
  read_here follow web
  same_tcpdump web "$pid"
  mark web 7003
  within 20 captured web 'tcp port 7003'
  unannotate web
  within 20 ended_here "$following"
  wait "$following"
  shows_so_many "$TMP/followed" 'tcp.dstport == 7003 && tcp.flags.syn == 1' 1
  is "$(repeated "$TMP/followed")" ''
  capinfos "$TMP/followed" >/dev/null
  within 20 nobody_reads follow web
  within 20 gone web
}

follow_ends_with_its_client_even_without_packets() {
  local following reader
  pods web
  optional web filter='tcp port 7001'
  annotate web 5
  within 20 capturing web 5
  mkfifo "$TMP/pipe"
  cat <"$TMP/pipe" >/dev/null &
  reader=$!
  plugin follow web >"$TMP/pipe" 2>"$TMP/said" &
  following=$!
  within 20 read_here follow web
  capturing web 5
  kill "$reader"
  within 20 ended_here "$following"
  wait "$following"
  within 20 nobody_reads follow web
  same_tcpdump web "$(pid_of web)"
}

kill_and_shows_failed() { docker exec "$NODE" kill -KILL "$(pid_of crashing)"; row_has crashing failed; }
HOSTILE=$'\e[31mred\e]0;title\a\xc2\x9b31m\nudp\r'

status_shows_the_state_and_the_reason_of_each_capture() {
  local line
  pods web paused finished refused crashing
  pod_with late 5 \
    '{"op": "add", "path": "/spec/volumes/-", "value": {"name": "late", "configMap": {"name": "late"}}}' \
    '{"op": "add", "path": "/spec/containers/0/volumeMounts/-", "value": {"name": "late", "mountPath": "/late"}}'
  optional finished packets=5
  optional refused filter="$HOSTILE"
  optional web filter='tcp port 8080'
  annotate web paused finished refused crashing 5
  within 20 captured paused
  optional paused pause=true
  within 20 captured web
  within 20 row_has web capturing " 5  1  "
  within 20 row_has paused paused ' 1  ' 'the capture is paused'
  within 20 row_has finished finished ' 1  ' 'all requested copies'
  within 20 row_has refused refused 'tcpdump.antrea.io/filter'
  within 30 row_has late waiting 'knows no IP address'
  within 60 kill_and_shows_failed

  verb status -n "$NS" -o wide >"$TMP/wide"
  is "$(head -n 1 "$TMP/wide" | xargs)" 'NAMESPACE POD NODE STATE N FILES SIZE OLDEST COPIES DROPPED ADDRESSES FILTER REASON'
  grep --quiet "^$NS  *web  *$NODE  *capturing .* $(ips web | tr ' ' ,) *\"tcp port 8080\"" "$TMP/wide"
  harmless "$(<"$TMP/wide")"
  harmless "$(verb status -n "$NS" -o json)"
  harmless "$(plugin status)"
  harmless "$(plugin start refused --filter "$HOSTILE or tcp" 2>&1 || true)"

  is "$(row finished | awk '{print $8, $9}')" '5 0'
  optional web pause=true
  within 20 row_has web paused
  is "$(row web | awk '{print $8}')" "$(packets web)"
  line=$(json web)
  is "$(value .captured <<<"$line")" "$(packets web)"
  is "$(value '.namespace}/{.pod} {.node} {.state} {.files} {.history[0].filter' <<<"$line")" "$NS/web $NODE paused 1 tcp port 8080"
  is "$(json refused | value .state)" refused
  [[ $(json refused | value .reason) == *'tcpdump.antrea.io/filter'* ]]
}
