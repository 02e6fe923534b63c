# shellcheck shell=bash disable=SC2034,SC2154
# Many captures at once. These cases are serial, because they disturb the whole cluster.

many_changes_end_with_the_captures_that_were_requested_last() {
  local seed=${SEED:-$RANDOM} i value pod first step
  local -a four nodes=("$NODE" "$(other_worker)")
  local -A requested=() # number of files, by pod
  echo "to repeat the same changes: SEED=$seed"
  RANDOM=$seed
  for i in {0..11}; do
    NODE=${nodes[i % 2]}
    pod_yaml "web$i" | kubectl create -f - >/dev/null
  done
  kubectl -n "$NS" wait --for=condition=Ready pod --all --timeout=90s >/dev/null

  # Twenty-five rounds with four pods are a hundred changes. About a third are removals; about a twelfth are invalid and change nothing.
  for i in {1..25}; do
    value=$((RANDOM % 12 + 1)) first=$((RANDOM % 12)) step=$((RANDOM % 2 * 4 + 1))
    ((i < 25)) || value=5 # so that some captures run at the end
    four=() # 1 and 5 have no common factor with 12, so these are four different pods
    for pod in 0 1 2 3; do four+=("web$(((first + pod * step) % 12))"); done
    case $value in
      1) kubectl -n "$NS" annotate pod "${four[@]}" --overwrite tcpdump.antrea.io=many ;;
      3 | 6 | 9 | 12) kubectl -n "$NS" annotate pod "${four[@]}" tcpdump.antrea.io- ;;
      *) kubectl -n "$NS" annotate pod "${four[@]}" --overwrite "tcpdump.antrea.io=$value" ;;
    esac >/dev/null
    for pod in "${four[@]}"; do
      case $value in
        1) ;;
        3 | 6 | 9 | 12) unset "requested[$pod]" ;;
        *) requested[$pod]=$value ;;
      esac
    done
  done
  within 60 as_requested "${nodes[@]}"
  kubectl -n "$NS" annotate pod --all tcpdump.antrea.io- >/dev/null
  requested=()
  within 30 as_requested "${nodes[@]}"
}

captures_continue_while_the_api_server_is_down() {
  local manifests=/etc/kubernetes/manifests pid bytes
  afterwards within 120 api_server_answers
  afterwards docker exec "$CONTROL_PLANE" sh -c "'[ -e $manifests/kube-apiserver.yaml ] || mv $manifests/../away.yaml $manifests/kube-apiserver.yaml'"
  capture web unwanted 5
  mark web 7001
  within 20 captured web 'tcp port 7001'
  pid=$(pid_of web)
  docker exec "$CONTROL_PLANE" mv $manifests/kube-apiserver.yaml $manifests/../away.yaml
  within 60 not api_server_answers
  bytes=$(bytes_written "$pid")
  holds_for 20 same_tcpdump web "$pid"
  not api_server_answers
  (($(bytes_written "$pid") > bytes))
  docker exec "$CONTROL_PLANE" mv $manifests/../away.yaml $manifests/kube-apiserver.yaml
  within 120 api_server_answers
  within 30 captured web 'tcp port 7001'
  same_tcpdump web "$pid"
  unannotate unwanted
  annotate web 7
  within 60 gone unwanted
  within 60 capturing web 7
  captured web 'tcp port 7001'
}

# kube-proxy rewrites all its rules once an hour, and when the zone of its node changes. With a wrong node image the rules get lost. All other
# cases need Services, so a failure here explains failures of other cases.
full_syncs() { # how often kube-proxy on $NODE rewrote all its rules, for both address families
  docker exec "$NODE" bash -c 'exec 3<>/dev/tcp/127.0.0.1/10249 && printf "GET /metrics HTTP/1.0\r\n\r\n" >&3 && cat <&3' |
    awk '$1 ~ /^kubeproxy_sync_full_proxy_rules_duration_seconds_count/ {sum += $2; found++} END {print sum; exit !found}'
}
synced_since() { local now; now=$(full_syncs) && ((now >= $1)); } # COUNT
service_answers() { docker exec "$NODE" timeout 5 bash -c "exec 3<>/dev/tcp/$SERVICE/443"; }

a_full_sync_of_kube_proxy_keeps_the_services() {
  local SERVICE round before
  SERVICE=$(kubectl -n default get service kubernetes -o 'jsonpath={.spec.clusterIP}')
  full_syncs >/dev/null || skip 'kube-proxy does not report how often it rewrote all its rules'
  service_answers
  afterwards kubectl label node "$NODE" topology.kubernetes.io/zone-
  # Services are checked after each rewrite, because a second rewrite would restore the rules that the first one removed.
  for round in 1 2; do
    before=$(full_syncs)
    kubectl label node "$NODE" --overwrite "topology.kubernetes.io/zone=$ID-$round" >/dev/null
    within 30 synced_since $((before + 2))
    service_answers
  done
}
