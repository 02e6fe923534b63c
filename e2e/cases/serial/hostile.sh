# shellcheck shell=bash disable=SC2154
# Pods as large as the API server takes them, by someone with no right on captures. Alone, since they burden everyone's API server.

# A pod that never runs: its node has been chosen, and does not suit it.
never_running() { # NAME FIELDS CONTAINERFIELDS: more of its JSON, each with a comma at its end
  printf '{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "%s", "namespace": "%s", "labels": {"e2e": "%s", "large": "yes"}},
    "spec": {"nodeName": "%s", "nodeSelector": {"no-node": "has-this"}, "automountServiceAccountToken": false, %s
    "containers": [{%s "name": "c", "image": "%s"}]}}' "$1" "$NS" "$ID" "$NODE" "$2" "$3" "$BUSYBOX" >"$TMP/$1.json"
}
create_large() { # NAME...: of those that were written
  afterwards "kubectl -n $NS delete pods -l large=yes --force --grace-period=0 >/dev/null 2>&1"
  printf '%s\n' "$@" | xargs -P 4 -I '{}' kubectl create --raw "/api/v1/namespaces/$NS/pods" -f "$TMP/{}.json" >/dev/null
}
listed() { awk -v "entry=$1" -v "times=$2" 'BEGIN {for (; times > 1; times--) printf "%s,", entry; print entry}'; } # ENTRY TIMES
of_bytes() { head -c "$2" /dev/zero | tr '\0' "$1"; }                                                                # CHARACTER BYTES

peak_below() { # KB: the controller's own memory, at its most so far
  local peak
  peak=$(process_status "$(controller_pid)" VmHWM)
  echo "the controller has had $peak kB at the most"
  ((peak > 0 && peak < $1))
}

a_pod_of_many_parts_disturbs_no_capture() {
  renew_controller # its memory has seen nothing yet
  capture web 5
  local tcpdump controller restarted
  tcpdump=$(pid_of web) controller=$(controller_pid) restarted=$(restarts)
  never_running parts "\"imagePullSecrets\": [$(listed '{"name":"a"}' 210000)]," ''
  create_large parts
  capture after 5 # what comes later is heard later
  peak_below 30000
  is "$(controller_pid)" "$controller"
  is "$(restarts)" "$restarted"
  same_tcpdump web "$tcpdump"
}

many_large_pods_do_not_keep_a_new_controller_from_its_list() {
  capture web 5
  local number large=()
  for number in {1..35}; do
    large+=("large$number")
    never_running "large$number" '' "\"args\": [\"$(of_bytes x 1400000)\"],"
  done
  # As JSON, each of these is six characters.
  large+=(escaped)
  never_running escaped '' "\"args\": [\"$(of_bytes '<' 1400000)\"],"
  create_large "${large[@]}"
  is "$(kubectl -n "$NS" get pods -l large=yes -o name | grep --count .)" 36
  renew_controller
  within 60 capturing web 5
  within 20 captured web
  peak_below 60000
  is "$(restarts)" 0
}
