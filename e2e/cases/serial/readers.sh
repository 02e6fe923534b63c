# shellcheck shell=bash disable=SC2154
# Readers that do not end. This case is serial, because its readers use up the limit of the node.

refused_are() { is "$(grep --files-with-matches '^error: 8 readers (get, follow) of captures in namespace ' "$TMP"/said.* | wc -l)" "$1"; } # COUNT
run_are() { is "$(readers_here follow web | wc -l)" "$1"; }                                                                               # COUNT

readers_are_limited_and_disturb_no_capture() {
  local clients=() i pid reader
  capture web 5
  download web
  pid=$(pid_of web)
  mkfifo "$TMP/held" "$TMP/unread"
  exec 7<>"$TMP/held" 8<>"$TMP/unread"
  for i in {1..20}; do
    kubectl -n kube-system exec -i "$CONTROLLER" -- packet-capture follow "$NS/web" --all <&7 >&8 2>"$TMP/said.$i" &
    clients+=($!)
  done
  within 60 refused_are 12
  run_are 8
  for reader in $(readers_here follow web | awk '{print $1}'); do
    is "$(docker exec "$NODE" cat "/proc/$reader/oom_score_adj")" 1000
  done
  for reader in $(readers_here follow web | awk '{print $1}'); do
    (($(docker exec "$NODE" awk '/^RssAnon:/ {print $2}' "/proc/$reader/status") < 1536)) # kB, of the musl build
  done
  fails_with 1 "error: 8 readers (get, follow) of captures in namespace $NS already run on this node, of at most 8; hint: " verb get "$NS/web"
  fails_with 1 "error: no capture of default/none on this node" verb get default/none # a reader of another namespace is accepted
  verb status -n "$NS" >/dev/null
  docker exec "$NODE" kill -KILL "$reader"
  within 10 run_are 7
  verb get "$NS/web" >"$TMP/got" 2>"$TMP/got.said"
  same_tcpdump web "$pid"
  kill "${clients[@]}" 2>/dev/null || true
  within 60 nobody_reads follow web
  same_tcpdump web "$pid"
  exec 7>&- 8>&-
}
