# shellcheck shell=bash disable=SC2154
# Annotations of an attacker.

# shellcheck disable=SC2034 # used by name: an array of texts for each pod
hostile_annotations_start_nothing() {
  local pods=(one two three) pod text file=pwned-$NS round name
  # Four texts for each pod, because a pod gets at most ten Events at once. NUL is missing: the API server accepts none.
  local one=("-w /captures/$file" 'port 80) or (port 443' $'udp\nor tcp' 'host example.com')
  local two=("udp; cat /etc/passwd >/captures/$file" '-z /bin/sh udp' 'vxlan 5 or udp' 'tcp[13] − 1 = 1')
  # shellcheck disable=SC2016 # these texts must not be expanded
  local three=('$(cat /etc/passwd)' '`id`' 'port ８０' 'tcp udp')
  pods other "${pods[@]}"
  for round in {0..3}; do
    for pod in "${pods[@]}"; do
      name=$pod"[round]" text=${!name}
      optional "$pod" "filter=$text"
      ((round > 0)) || annotate "$pod" 5
    done
    within 20 refusals_are $((3 * (round + 1)))
  done
  has_event one CaptureRefused '")" at character 8 closes a bracket that was never opened'
  has_event one CaptureRefused '"example.com" at character 6 is a name'
  has_event two CaptureRefused '"vxlan" at character 1 is not allowed: it moves the offsets'
  has_event three CaptureRefused 'tcpdump says "' 'syntax error'

  # The largest annotations that the API server accepts. They are too long for an argument of kubectl.
  printf '{"metadata": {"annotations": {"tcpdump.antrea.io/filter": "%s"}}}' "$(printf 'udp or %.0s' {1..35000})" >"$TMP/long"
  kubectl -n "$NS" patch pod one --type=merge --patch-file "$TMP/long" >/dev/null
  printf '{"metadata": {"annotations": {"tcpdump.antrea.io": "%0250000d"}}}' 5 >"$TMP/long"
  kubectl -n "$NS" patch pod two --type=merge --patch-file "$TMP/long" >/dev/null
  within 20 has_event one CaptureRefused 'longer than 512 bytes'
  within 20 has_event two CaptureRefused '"000000000000' 'from 1 to 100'

  annotate other 5
  within 10 capturing other 5
  for pod in "${pods[@]}"; do
    gone "$pod"
    is "$(starts "$pod")" 0
  done
  is "$(in_controller ls -R /captures /run/packet-capture | grep --count "$file")" 0
}

a_filter_that_compiles_slowly_delays_no_other_capture() {
  local bomb
  pods web other
  optional web "filter=portrange $(seq -s '||' 100)" # would take seconds of CPU time
  annotate web 5
  within 20 has_event web CaptureRefused '"49"' 'at most 48'
  bomb="portrange $(seq -s '||' 48)"
  optional web "filter=$bomb"
  annotate other 5
  within 10 capturing other 5
  within 20 capturing_only web "$(hosts web)" "$bomb" || has_event web CaptureRefused 'did not compile the filter'
}
