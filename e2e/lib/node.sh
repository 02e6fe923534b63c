# shellcheck shell=bash disable=SC2030,SC2031,SC2119,SC2120,SC2154
# Functions for the node: the controller, its tcpdumps, its files and the packets in them. Sourced by case.sh.
# $NODE is the node of the case, $CONTROLLER the name of the controller's pod on this node.

# The controller's pod on a node: the only one that is ready (with `false`: not ready) and not being deleted.
controller_on() { # NODE [READY]
  local pods
  pods=$(kubectl -n kube-system get pods -l app=packet-capture --field-selector "spec.nodeName=$1" -o \
    'jsonpath={range .items[*]}{.metadata.name} {.status.containerStatuses[0].ready} {.metadata.deletionTimestamp}{"\n"}{end}') || return
  awk -v "ready=${2:-true}" 'NF == 2 && $2 == ready {print $1; found++} END {exit found != 1}' <<<"$pods"
}

find_controller() { # [READY]: sets $CONTROLLER to the pod that is now on $NODE
  within 60 controller_on "$NODE" "${1:-true}"
  CONTROLLER=$(controller_on "$NODE" "${1:-true}")
}

replace_controller() { # with a new pod; this also resets the kubelet's back-off for restarts
  kubectl -n kube-system delete pod "$CONTROLLER" >/dev/null
  find_controller
}

manifest_of() { awk -v RS='---\n' -v kind="$1" '$0 ~ "\nkind: " kind "\n"' "$MANIFEST"; } # KIND

apply_daemonset() {
  kubectl apply -f "$MANIFEST" >/dev/null
  kubectl -n kube-system rollout status daemonset/packet-capture --timeout=120s >/dev/null
}

change_controllers() { # PATCH: a strategic patch of the pod spec of all controllers; in force until the end of the case
  afterwards apply_daemonset
  manifest_of DaemonSet | kubectl patch --local -f - -p "{\"spec\": {\"template\": {\"spec\": $1}}}" -o yaml | kubectl apply -f - >/dev/null
  kubectl -n kube-system rollout status daemonset/packet-capture --timeout=120s >/dev/null
  find_controller
}

environment() { # NAME=VALUE...: the patch that sets these variables
  local each list=''
  for each; do list+=", {\"name\": \"${each%%=*}\", \"value\": \"${each#*=}\"}"; done
  echo "\"containers\": [{\"name\": \"packet-capture\", \"env\": [${list#, }]}]"
}

set_environment() { change_controllers "{$(environment "$@")}"; } # NAME=VALUE...: for all controllers, until the end of the case

on() ( # NODE COMMAND...: runs the command with another $NODE
  NODE=$1
  CONTROLLER=$(controller_on "$NODE") && "${@:2}"
)
other_worker() { local other; for other in $WORKERS; do [[ $other == "$NODE" ]] || break; done; echo "$other"; }

in_controller() { kubectl -n kube-system exec "$CONTROLLER" -- "$@"; } # COMMAND...
controller_says() { [[ $(controller_log) == *"$1"* ]]; } # WORDS
controller_log() { kubectl -n kube-system logs "$CONTROLLER" "$@"; }
# The kubelet reports a restart only some time after it.
has_restarted() { [[ $(restarts) == "$1" ]]; } # TIMES
restarts() { kubectl -n kube-system get pod "$CONTROLLER" -o 'jsonpath={.status.containerStatuses[0].restartCount}'; }

kill_controller() { docker exec "$NODE" kill -KILL "$(controller_pid)"; }

# The memory of the controller's container, in bytes: the limit, the peak, and the current memory without the page cache.
memory() {
  local group
  group=$(docker exec "$NODE" cat "/proc/$(controller_pid)/cgroup") || return
  if [[ $group =~ [0-9]+:memory:([^$'\n']+) ]]; then
    cgroup_values "/memory${BASH_REMATCH[1]}" memory.limit_in_bytes memory.max_usage_in_bytes total_rss
  else
    cgroup_values "${group#0::}" memory.max memory.peak anon
  fi
}
cgroup_values() { # GROUP FILE FILE KEY
  docker exec "$NODE" awk -v "key=$4" 'NF == 1 {print} $1 == key {print $2}' "/sys/fs/cgroup$1/"{"$2","$3",memory.stat} | xargs
}

# One line for each process on the node: pid, state, command line (all columns after the second).
processes() { docker exec "$NODE" ps -ww -e -o pid=,stat=,args=; }

controller_pid() { # fails unless there is exactly one
  local all
  all=$(processes) || return
  awk '$3 == "/usr/bin/packet-capture" && NF == 3 {print $1; found++} END {exit found != 1}' <<<"$all"
}

bytes_written() { docker exec "$NODE" awk '$1 == "wchar:" {print $2}' "/proc/$1/io"; } # PID
ended() { local all; all=$(processes) && ! grep --quiet "^ *$1 " <<<"$all"; } # PID
process_status() { docker exec "$NODE" awk -v "name=$2:" '$1 == name {print $2}' "/proc/$1/status"; } # PID NAME

stem() { # POD: the common beginning of the names of its files
  if [[ $NS == default ]]; then echo "captres-$1"; else echo "captres-$1_$NS"; fi
}

# One line for each tcpdump of the pod: pid, state, command line.
tcpdumps() { # POD
  local all
  all=$(processes) || return
  awk -v "file=/captures/$(stem "$1").pcap" '$3 == "tcpdump" {for (i = 4; i < NF; i++) if ($i == "-w" && $(i + 1) == file) print}' <<<"$all"
}

pid_of() { # POD: the pid of its tcpdump; fails unless there is exactly one
  local found
  found=$(tcpdumps "$1") && [[ $found && $found != *$'\n'* ]] && awk '{print $1}' <<<"$found"
}

capturing() { # POD [FILES]: exactly one tcpdump runs for the pod, with a ring of this many files
  local found
  found=$(tcpdumps "$1") && [[ $found && $found != *$'\n'* && (! ${2:-} || $found == *" -W $2 "*) ]]
}

# The arguments of the pod's tcpdump, one per line.
arguments() { local pid; pid=$(pid_of "$1") && docker exec "$NODE" cat "/proc/$pid/cmdline" | tr '\0' '\n'; } # POD

capturing_only() { # POD HOSTS FILTER: tcpdump captures the packets of these hosts that the filter matches
  local found
  found=$(tcpdumps "$1") && [[ $found == *".pcap -- ($2) and ($3)" ]]
}

not_capturing() { # POD
  local found
  found=$(tcpdumps "$1") && [[ ! $found ]]
}

same_tcpdump() { [[ $(pid_of "$1") == "$2" ]]; }                          # POD PID
other_tcpdump() { local pid; pid=$(pid_of "$1") && [[ $pid != "$2" ]]; } # POD PID

listing() { in_controller ls /captures; }
# Captures of other cases may still be in the course of deletion, and count in the limits of the node.
nobody_else_captures() { is "$(listing)" ''; }

files() { # POD: the names of its files, and of no other pod's files
  local all stem
  all=$(listing) && stem=$(stem "$1") || return
  awk -v "stem=$stem.pcap" 'index($0, stem) == 1 && substr($0, length(stem) + 1) ~ /^[0-9]*$/' <<<"$all"
}

has_files() { local found; found=$(files "$1") && [[ $found ]]; }   # POD
has_no_files() { local found; found=$(files "$1") && [[ ! $found ]]; } # POD

# captures_here: "POD FILES" for each running capture of the case's namespace on the node. pods_with_files_here: the pods of the case's
# namespace that have files on the node.
captures_here() {
  local all
  all=$(processes) || return
  awk -v "end=_$NS.pcap" '$3 == "tcpdump" {
    for (i = 4; i < NF; i++) { if ($i == "-W") files = $(i + 1); if ($i == "-w") path = $(i + 1) }
    sub("^/captures/captres-", "", path); if (sub(end "$", "", path)) print path, files }' <<<"$all" | sort
}
pods_with_files_here() { listing | sed -n "s/^captres-\(.*\)_$NS\.pcap[0-9]*$/\1/p" | sort -u; }
no_zombies() { local all; all=$(processes) && ! grep --extended-regexp '^ *[0-9]+ Z.*tcpdump' <<<"$all"; }

as_requested() { # NODE...: exactly the captures of ${requested[@]} run and have files on these nodes, and there is no zombie
  local node running with_files pod
  running=$(for node; do on "$node" captures_here || exit; done | sort) || return
  with_files=$(for node; do on "$node" pods_with_files_here || exit; done | sort) || return
  is "$running" "$(for pod in "${!requested[@]}"; do echo "$pod ${requested[$pod]}"; done | sort)" || return
  is "$with_files" "$(printf '%s\n' "${!requested[@]}" | sort)" || return
  for node; do on "$node" no_zombies || return; done
}

# The pod has no running capture and no files.
gone() { not_capturing "$1" && has_no_files "$1"; } # POD

# The number of packets in the pod's files that match a filter. tcpdump runs in the controller's pod and reads the names of the files from its
# standard input. If the last packet is being written at this moment, tcpdump exits 1, but counts the packets before it.
packets() { # POD [FILTER]
  local names said
  names=$(files "$1") && [[ $names ]] || return
  # shellcheck disable=SC2001 # the pattern is applied to each line
  said=$(sed 's,^,/captures/,' <<<"$names" | kubectl -n kube-system exec -i "$CONTROLLER" -- tcpdump -n --count -V - ${2:+"$2"} 2>"$TMP/tcpdump") || true
  [[ $said =~ ^([0-9]+)' packet' ]] || fail "$(cat "$TMP/tcpdump")" || return
  echo "${BASH_REMATCH[1]}"
}

intact() { # POD: each of its files ends with a complete packet
  local names said
  names=$(files "$1") && [[ $names ]] || return
  # shellcheck disable=SC2001
  said=$(sed 's,^,/captures/,' <<<"$names" | kubectl -n kube-system exec -i "$CONTROLLER" -- tcpdump -n --count -V - 2>&1) || return
  [[ $said != *'tcpdump: '* ]] || fail "$said" # tcpdump reports an incomplete packet and continues with the next file
}

captured() { local count; count=$(packets "$1" "${2:-}") && ((count > 0)); }    # POD [FILTER]
captured_where_it_is() { local own; own=$(hosts "$1") && captured "$1" "$own"; } # POD

starts() { controller_log | grep --count "capture started pod=$NS/$1 "; } # POD: how often a tcpdump was started for the pod

# Creates pods, annotates them, and waits until their captures have packets.
capture() { # POD... FILES
  local pod files=${*: -1}
  set -- "${@:1:$#-1}"
  pods "$@"
  annotate "$@" "$files"
  for pod; do within 30 capturing "$pod" "$files"; done
  for pod; do within 30 captured "$pod"; done
}
