# shellcheck shell=bash
# Functions for the user: namespaces, pods with traffic, annotations, Events. Sourced by case.sh.
# Each case has its own namespace $NS (a case may set NS=default) and its own $ID, and runs its pods on $NODE.

namespace() { # NAME
  kubectl create -f - >/dev/null <<YAML
apiVersion: v1
kind: Namespace
metadata: {name: $1, labels: {e2e: $ID}}
YAML
  within 30 kubectl -n "$1" get serviceaccount default # the API server accepts no pod before
}

# A pod that requests a small page from the peer three times a second. The pod succeeds when there is a file /tmp/done.
# The pod has no privileges, so that it may run in any namespace.
pod_yaml() { # NAME [FILES]
  local annotation=${2:+"tcpdump.antrea.io: '$2'"}
  cat <<YAML
apiVersion: v1
kind: Pod
metadata:
  name: $1
  namespace: $NS
  labels: {e2e: $ID}
  annotations: {$annotation}
spec:
  nodeName: $NODE
  restartPolicy: Never
  automountServiceAccountToken: false
  terminationGracePeriodSeconds: 1
  securityContext: {runAsNonRoot: true, runAsUser: 65534, seccompProfile: {type: RuntimeDefault}}
  volumes: [{name: tmp, emptyDir: {}}]
  containers:
    - name: talker
      image: $BUSYBOX
      imagePullPolicy: IfNotPresent
      command: [sh, -c, 'until [ -e /tmp/done ]; do timeout 2 wget -q -O /dev/null http://$PEER:8080/; sleep 0.3; done']
      securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
      volumeMounts: [{name: tmp, mountPath: /tmp}]
YAML
}

pods() { # NAME...
  local name
  for name; do
    pod_yaml "$name"
    echo ---
  done | kubectl create -f - >/dev/null
  kubectl -n "$NS" wait --for=condition=Ready pod "$@" --timeout=60s >/dev/null
}

# The same pod, changed by the operations of a JSON patch. Does not wait until the pod is ready.
pod_with() { # NAME FILES OPERATION...
  local operations
  operations=$(IFS=,; echo "[${*:3}]")
  pod_yaml "$1" "$2" | kubectl patch --local -f - --type=json -p "$operations" -o yaml | kubectl create -f - >/dev/null
}

# A pod on no node: its scheduler does not exist.
unbound_pod() { # NAME [FILES]
  pod_with "$1" "${2:-}" '{"op": "remove", "path": "/spec/nodeName"}' '{"op": "add", "path": "/spec/schedulerName", "value": "none"}'
}

annotate() { kubectl -n "$NS" annotate pod "${@:1:$#-1}" --overwrite "tcpdump.antrea.io=${*: -1}" >/dev/null; } # POD... FILES
unannotate() { kubectl -n "$NS" annotate pod "$1" tcpdump.antrea.io- >/dev/null; } # POD
optional() { # POD KEY=VALUE|KEY-...: sets or removes the annotations other than tcpdump.antrea.io
  local keys=("${@:2}")
  kubectl -n "$NS" annotate pod "$1" --overwrite "${keys[@]/#/tcpdump.antrea.io/}" >/dev/null
}
finish() { kubectl -n "$NS" exec "$1" -- touch /tmp/done; }                         # POD

delete_pod() { kubectl -n "$NS" delete pod "$1" >/dev/null; } # POD

# A request with a port of its own (7001 to 7003), so that its packets can be found.
mark() { fetch "$1" "$PEER:$2/"; }                            # POD PORT
download() { fetch "$1" "$PEER:8080/3MB"; }                   # POD
fetch() { kubectl -n "$NS" exec "$1" -- timeout 5 wget -q -O /dev/null "http://$2"; } # POD URL

field() { kubectl -n "$NS" get pod "$1" -o "jsonpath={$2}"; } # POD PATH
ips() { field "$1" '.status.podIPs[*].ip'; }                  # POD
other_ips() { local now; now=$(ips "$1") && [[ $now && $now != "$2" ]]; } # POD IPS
phase_is() { [[ $(field "$1" .status.phase) == "$2" ]]; }     # POD PHASE

# The pod's addresses as a filter: `host A`, or `host A or host B` with dual stack.
hosts() { # POD
  local addresses
  addresses=$(ips "$1") && [[ $addresses ]] && echo "host ${addresses// / or host }"
}

events() { # POD REASON: the texts of these Events
  kubectl -n "$NS" get events --field-selector "involvedObject.name=$1,reason=$2" -o 'jsonpath={range .items[*]}{.message}{"\n"}{end}'
}

has_event() { # POD REASON [WORDS...]: one Event has all these words
  local messages words
  messages=$(events "$1" "$2") || return
  for words in "${@:3}"; do
    messages=$(grep --fixed-strings -- "$words" <<<"$messages") || return
  done
  [[ $messages ]]
}

event_time() { # POD REASON: the time of the first Event, in seconds since 1970
  local times
  times=$(kubectl -n "$NS" get events --field-selector "involvedObject.name=$1,reason=$2" -o 'jsonpath={range .items[*]}{.firstTimestamp}{"\n"}{end}')
  [[ $times ]] && date -d "$(sort <<<"$times" | head -n 1)" +%s
}

event_count_is() { # POD REASON COUNT
  local messages
  messages=$(events "$1" "$2") && [[ $(grep --count . <<<"$messages") == "$3" ]]
}

refusals_are() { is "$(kubectl -n "$NS" get events --field-selector reason=CaptureRefused -o name | grep --count .)" "$1"; } # COUNT: of all pods

pod_says() { [[ $(kubectl -n "$NS" logs "$1") == *"$2"* ]]; } # POD WORDS

# "yes" or "no": whether the controller has this permission. `can-i` exits 1 for "no".
can() { # VERB RESOURCE
  local part='' # `can-i` would read the part after a slash as a name
  [[ $2 != */* ]] || part=${2#*/}
  kubectl auth can-i "$1" "${2%%/*}" ${part:+"--subresource=$part"} --all-namespaces --as=system:serviceaccount:kube-system:packet-capture \
    2>/dev/null || [[ $? == 1 ]]
}

api_server_answers() { kubectl get --raw /readyz --request-timeout=2s >/dev/null; }
