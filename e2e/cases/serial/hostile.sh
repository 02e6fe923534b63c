# shellcheck shell=bash disable=SC2154
# The largest pods that the API server accepts, created by a user without permissions on captures. These cases are serial, because they load the
# API server.

# Writes the JSON of a pod that never runs: it names its node, and its node selector does not match this node.
never_running() { # NAME FIELDS CONTAINERFIELDS: more fields as JSON, each with a comma at the end
  printf '{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "%s", "namespace": "%s", "labels": {"e2e": "%s", "large": "yes"}},
    "spec": {"nodeName": "%s", "nodeSelector": {"no-node": "has-this"}, "automountServiceAccountToken": false, %s
    "containers": [{%s "name": "c", "image": "%s"}]}}' "$1" "$NS" "$ID" "$NODE" "$2" "$3" "$BUSYBOX" >"$TMP/$1.json"
}
create_large() { # NAME...: creates the pods that never_running wrote
  afterwards "kubectl -n $NS delete pods -l large=yes --force --grace-period=0 >/dev/null 2>&1"
  printf '%s\n' "$@" | xargs -P 4 -I '{}' kubectl create --raw "/api/v1/namespaces/$NS/pods" -f "$TMP/{}.json" >/dev/null
}
listed() { awk -v "entry=$1" -v "times=$2" 'BEGIN {for (; times > 1; times--) printf "%s,", entry; print entry}'; } # ENTRY TIMES
of_bytes() { head -c "$2" /dev/zero | tr '\0' "$1"; }                                                                # CHARACTER BYTES

peak_below() { # KB: the peak of the controller's own memory so far
  local peak
  peak=$(process_status "$(controller_pid)" VmHWM)
  echo "peak memory of the controller: $peak kB"
  ((peak > 0 && peak < $1))
}

a_pod_with_many_list_items_disturbs_no_capture() {
  replace_controller # so that earlier cases do not count in its peak memory
  capture web 5
  local tcpdump controller restarted
  tcpdump=$(pid_of web) controller=$(controller_pid) restarted=$(restarts)
  never_running parts "\"imagePullSecrets\": [$(listed '{"name":"a"}' 210000)]," ''
  create_large parts
  capture after 5 # the controller sees this pod after the large pod
  peak_below 30000
  is "$(controller_pid)" "$controller"
  is "$(restarts)" "$restarted"
  same_tcpdump web "$tcpdump"
}

many_large_pods_do_not_prevent_the_list_of_a_new_controller() {
  capture web 5
  local number large=()
  for number in {1..35}; do
    large+=("large$number")
    never_running "large$number" '' "\"args\": [\"$(of_bytes x 1400000)\"],"
  done
  # In JSON, each `<` is six characters.
  large+=(escaped)
  never_running escaped '' "\"args\": [\"$(of_bytes '<' 1400000)\"],"
  create_large "${large[@]}"
  is "$(kubectl -n "$NS" get pods -l large=yes -o name | grep --count .)" 36
  replace_controller
  within 60 capturing web 5
  within 20 captured web
  peak_below 60000
  is "$(restarts)" 0
}
