# shellcheck shell=bash disable=SC2154
# Addresses that a pod does not have, written into its status by someone who may patch that.

# A pod that asks for a capture and never runs, so that the kubelet hardly looks after its status.
never_runs() { # NAME
  pod_with "$1" 5 '{"op": "add", "path": "/spec/nodeSelector", "value": {"packet-capture.test/no-such": "label"}}'
  within 20 phase_is "$1" Failed
}

# The kubelet puts it right after some seconds, so this is done again with each look at what came of it.
claim() { # POD IP NODE-IP: its status says that it lives there, on a node of that address
  kubectl -n "$NS" patch pod "$1" --subresource=status --type=merge -p "{\"status\": {\"phase\": \"Running\",
    \"podIP\": \"$2\", \"podIPs\": [{\"ip\": \"$2\"}], \"hostIP\": \"$3\", \"hostIPs\": [{\"ip\": \"$3\"}]}}" >/dev/null
}
claims_in_vain() { claim "$1" "$2" 203.0.113.9 && has_event "$1" CaptureRefused "\"$2\" is $3"; } # POD IP WORDS
claims_and_is_captured() { claim "$1" "$2" 203.0.113.9 && capturing "$1" 5; }                           # POD IP

forged_addresses_are_refused_and_the_pod_that_has_them_keeps_its_capture() {
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
    within 30 claims_in_vain copies "$address" 'that of another live pod of the node, which reported it first'
    within 30 claims_in_vain node "$node_address" "the node's own address"
    # With an address that is nobody's it is captured, so it was the address that was refused.
    within 30 claims_and_is_captured node 192.0.2.77
    not capturing copies
    is "$(starts copies)" 0
    is "$(kubectl -n "$NS" get events --field-selector involvedObject.name=node,reason=CaptureStarted -o 'jsonpath={.items[*].message}' |
      grep --count --fixed-strings "host $node_address ")" 0
  )
  capturing web 5
  is "$(starts web)" 1
}
