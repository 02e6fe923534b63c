# shellcheck shell=bash disable=SC2154
# The share of one namespace of a node. These cases are serial, because each changes all controllers.

# Runs a command with another $NS.
in_namespace() { local NS=$1; "${@:2}"; } # NAMESPACE COMMAND...

# Creates pods with tcpdump.antrea.io and one other annotation.
pods_with_request() { # FILES KEY=VALUE|- NAME...
  local name
  for name in "${@:3}"; do
    pod_yaml "$name" "$1" | if [[ $2 == - ]]; then cat; else sed "s,^\( *annotations: {.*\)},\1\, tcpdump.antrea.io/${2%%=*}: '${2#*=}'},"; fi
    echo ---
  done | kubectl create -f - >/dev/null
}

paused_captures_of_one_namespace_block_no_other_namespace() {
  local other=$NS-shop i
  set_environment NODE_BUDGET_MB=1000 MAX_CAPTURES=16
  within 60 nobody_else_captures
  namespace "$other"
  pods_with_request 98 pause=true paused{1..10}
  for i in 1 10; do
    within 60 has_event "paused$i" CaptureWaiting 'tcpdump.antrea.io/pause="true"' "kubectl -n $NS annotate pod paused$i tcpdump.antrea.io/pause-"
    within 10 row_has "paused$i" paused
  done
  in_namespace "$other" pods web
  in_namespace "$other" annotate web 98
  within 20 in_namespace "$other" capturing web 98
  # A paused capture resumes if it fits, like a new one: five times 98 MB are less than half of 1000 MB.
  for i in {1..5}; do optional "paused$i" pause-; done
  for i in {1..5}; do within 30 capturing "paused$i" 98; done
  optional paused6 pause-
  within 20 has_event paused6 CaptureRefused "the capture needs 98 MB, and other captures of namespace $NS use 490 MB on this node" \
    'together 588 MB of at most 500 MB (NAMESPACE_BUDGET_MB)' 'takes effect when there is room'
  not_capturing paused6
  optional paused1 pause=true
  within 20 capturing paused6 98
}

a_namespace_beyond_its_share_is_refused_and_another_starts() {
  local other=$NS-shop
  set_environment MAX_CAPTURES=4
  within 60 nobody_else_captures
  namespace "$other"
  pods one two three
  annotate one two 1
  within 20 capturing one 1
  within 20 capturing two 1
  annotate three 1
  within 20 has_event three CaptureRefused "namespace $NS already runs 2 of at most 2 captures on this node (MAX_CAPTURES_PER_NAMESPACE)"
  within 10 row_has three refused
  in_namespace "$other" pods web
  in_namespace "$other" annotate web 1
  within 20 in_namespace "$other" capturing web 1
  gone three
  unannotate one
  within 20 capturing three 1
}
