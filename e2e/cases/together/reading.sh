# shellcheck shell=bash disable=SC2154
# What `packet-capture get`, `follow` and `status` show of captures.

# Servers, and a Service for each. They answer any request for a page, and any question for a name.
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

# The addresses of both families, each with a name: NAME4=A NAME6=B.
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

# Ten echoes, ten questions and ten requests to each, told apart by what they are about.
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

# kube-proxy may take a moment.
reached() { # NAME=ADDRESS...
  local each at
  for each; do
    at=${each#*=}
    [[ $at != *:* ]] || at="[$at]"
    [[ $each == node* ]] || kubectl -n "$NS" exec web -- timeout 2 wget -q -O /dev/null "http://$at:8080/names" || return
  done
}

# How often each packet of `talk` is in a file: "NAME KIND PACKETS DIFFERENT-ONES".
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

# What `talk` has said.
said() { # NAME=ADDRESS...
  local name kinds kind
  for name in "${@%%=*}"; do
    kinds='echo echo-answer question answer request'
    case $name in *service*) kinds='question answer request' ;; node*) kinds='echo echo-answer' ;; esac
    for kind in $kinds; do echo "$name $kind 10 10"; done
  done | sort
}

each_packet_is_copied_once_whatever_way_it_took() {
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
  within 20 reached "${to[@]}"
  talk web "${to[@]}"
  talk near "${from_near[@]}"
  talk far "${from_far[@]}"
  mark web 7001
  within 20 captured web 'tcp port 7001'
  optional web pause=true # so that all look at the same packets
  within 20 not_capturing web

  copied web "$TMP/once"
  copied web "$TMP/all" --all
  silent "$TMP/once"
  silent "$TMP/all"
  shows_so_many "$TMP/all" frame "$(packets web)"
  tally "$TMP/once" "${to[@]}" >"$TMP/once.tally"
  tally "$TMP/all" "${to[@]}" >"$TMP/all.tally"
  is "$(<"$TMP/once.tally")" "$(said "${to[@]}" "${from_near[@]}" "${from_far[@]}")"
  is "$(repeated "$TMP/once")" ''
  [[ $(repeated "$TMP/all") ]]
  shows "$TMP/once" "tcp.dstport == 8080 && ip.src != $(field near .status.podIP)" # the kubelet's
  (($(steps_back_ms "$TMP/once") < 500))

  once=$(shark "$TMP/once" -Y "$flagged" | wc -l) all=$(shark "$TMP/all" -Y "$flagged" | wc -l)
  echo "all of it: $(tail -n 1 "$TMP/once.said"), and $(tail -n 1 "$TMP/all.said") with --all"
  echo "as repeated, tshark flags $once, and $all with --all"
  echo 'packets of each kind: sent, copied by get, in the ring'
  join <(sed 's/ /:/' "$TMP/once.tally") <(sed 's/ /:/' "$TMP/all.tally") | awk '{print $1, $3, $2, $4}' | column -t
  ((once < all))
}
