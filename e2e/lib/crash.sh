# shellcheck shell=bash disable=SC2016,SC2034,SC2154
# Functions for pods whose containers end when the case says so. Sourced by case.sh.

# A script for a container: it waits until `crash` gives it an exit code. The container then starts again without a code.
readonly UNTIL_CRASH='until [ -s /tmp/code ]; do sleep 0.1; done; read code </tmp/code; rm /tmp/code; exit $code'

# The same, with numbered requests to the peer. /tmp/sent has the number of the last request before the crash.
NUMBERED="n=\$(cat /tmp/sent); until [ -s /tmp/code ]; do n=\$((n + 1)); wget -q -O /dev/null http://$PEER:8080/number/\$n; sleep 0.05; done; "
readonly NUMBERED+='read code </tmp/code; echo $n >/tmp/sent; rm /tmp/code; exit $code'

# A container as JSON. It shares /tmp with the other containers of its pod.
container() { # NAME SCRIPT [FIELDS]
  cat <<JSON
{"name": "$1", "image": "$BUSYBOX", "imagePullPolicy": "IfNotPresent", "command": ["sh", "-c", "$2"],
 "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}]${3:+, $3}}
JSON
}

# Operations of a JSON patch, for `pod_with`: a pod whose containers start again; another container; an init container; another script.
readonly ALWAYS='{"op": "replace", "path": "/spec/restartPolicy", "value": "Always"}'
with_container() { echo "{\"op\": \"add\", \"path\": \"/spec/containers/-\", \"value\": $(container "$@")}"; }             # NAME SCRIPT [FIELDS]
with_init_container() { echo "{\"op\": \"add\", \"path\": \"/spec/initContainers\", \"value\": [$(container "$@")]}"; } # NAME SCRIPT [FIELDS]
with_script() { echo "{\"op\": \"replace\", \"path\": \"/spec/containers/0/command/2\", \"value\": \"$1\"}"; }              # SCRIPT

ready() { kubectl -n "$NS" wait --for=condition=Ready pod "$@" --timeout=60s >/dev/null; } # POD...

crash() { kubectl -n "$NS" exec "$1" ${3:+-c "$3"} -- sh -c "echo $2 >/tmp/code"; } # POD CODE [CONTAINER]: the container that waits ends with this code

of_container() { field "$1" ".status.containerStatuses[?(@.name=='$2')].$3"; } # POD CONTAINER PATH
has_restarted_in() { is "$(of_container "$1" "$2" restartCount)" "$3"; }     # POD CONTAINER TIMES
last_end() { of_container "$1" "$2" lastState.terminated.finishedAt; }          # POD CONTAINER

# The words about an incident in a line of JSON: of `status`, or the last line of a copy.
incident() { value '.state} {.ended} {.incident.kind} {.incident.container} {.incident.exit_code} {.incident.reason} {.incident.at'; }

# The numbers of the requests of a NUMBERED container that are in a copy.
numbers() { shark "$1" -Y 'http.request.uri contains "/number/"' -T fields -e http.request.uri | sed 's,.*/,,' | sort -n -u; } # FILE
has_number() { numbers "$1" | awk -v "number=$2" '$1 == number {found = 1} END {exit !found}'; } # FILE NUMBER
has_all_numbers_until() { # FILE LAST: the copy has several numbers before the last one, and none is missing
  local first
  first=$(numbers "$1" | head -n 1)
  [[ $first ]] && is "$(numbers "$1" | awk -v "last=$2" '$1 <= last' | xargs)" "$(seq "$first" "$2" | xargs)" || return
  ((first < $2)) || fail "only number $first is in the copy"
}
