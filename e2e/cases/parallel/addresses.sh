# shellcheck shell=bash disable=SC2154
# Forged addresses: a user who may patch a pod's status writes an address into it that the pod does not have.

# A pod that requests a capture and never runs, so that the kubelet seldom updates its status.
never_runs() { # NAME
  pod_with "$1" 5 '{"op": "add", "path": "/spec/nodeSelector", "value": {"packet-capture.test/no-such": "label"}}'
  within 20 phase_is "$1" Failed
}

# Writes a status with this address. The kubelet corrects the status after some seconds, so the functions below repeat the patch for each check.
claim() { # POD IP NODE-IP
  kubectl -n "$NS" patch pod "$1" --subresource=status --type=merge -p "{\"status\": {\"phase\": \"Running\",
    \"podIP\": \"$2\", \"podIPs\": [{\"ip\": \"$2\"}], \"hostIP\": \"$3\", \"hostIPs\": [{\"ip\": \"$3\"}]}}" >/dev/null
}
claim_is_refused() { claim "$1" "$2" 203.0.113.9 && has_event "$1" CaptureRefused "\"$2\" is $3"; } # POD IP WORDS
claim_is_captured() { claim "$1" "$2" 203.0.113.9 && capturing "$1" 5; }                           # POD IP

forged_addresses_are_refused_and_their_owner_keeps_its_capture() {
  local address node_address
  pods web
  annotate web 5
  within 10 capturing web 5
  address=$(ips web) address=${address%% *}
  node_address=$(kubectl get node "$NODE" -o 'jsonpath={.status.addresses[?(@.type=="InternalIP")].address}')
  node_address=${node_address%% *}
  namespace "$NS-thief"
  (
    NS=$NS-thief
    never_runs copies
    never_runs node
    within 30 claim_is_refused copies "$address" 'that of another live pod of the node, which reported it first'
    within 30 claim_is_refused node "$node_address" "the node's own address"
    # The same pod is captured at an address that nobody has, so only the address was refused before.
    within 30 claim_is_captured node 192.0.2.77
    not capturing copies
    is "$(starts copies)" 0
    is "$(kubectl -n "$NS" get events --field-selector involvedObject.name=node,reason=CaptureStarted -o 'jsonpath={.items[*].message}' |
      grep --count --fixed-strings "host $node_address ")" 0
  )
  capturing web 5
  is "$(starts web)" 1
}
