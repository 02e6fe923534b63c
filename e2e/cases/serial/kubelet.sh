# shellcheck shell=bash disable=SC2154
# policy.yaml and the kubelet: only a pod's own kubelet changes the pod's addresses, and creates the mirror of a static pod. These cases are
# serial, because policy.yaml applies to the whole cluster.

# The patch replaces a list; it does not append to the list.
status_as() { as "$1" patch pod "$2" --subresource=status --type=merge -p "{\"status\": {$3}}"; } # USER POD FIELDS
status_json_as() { as "$1" patch pod "$2" --subresource=status --type=json -p "[$3]"; } # USER POD OPERATION
# Replaces the whole status, changed by a sed script.
replace_status_as() { # USER POD SED
  kubectl -n "$NS" get pod "$2" -o yaml | sed "/^  resourceVersion: /d; $3" | as "$1" replace --subresource=status -f -
}

only_a_pods_own_kubelet_changes_its_addresses() {
  local address=192.0.2.7 others pod
  apply_policy
  editor ed
  grant ed clusterrole=packet-capture-user "$NS"
  pods plain
  capture web 5
  unbound_pod nowhere
  others=$(ips web)
  editor "system:node:not-$NODE"
  within 10 status_as ed plain '"message": "seen"'

  for pod in web plain nowhere; do
    denied status_as ed "$pod" "\"podIP\": \"$address\", \"podIPs\": [{\"ip\": \"$address\"}]"
    denied status_as ed "$pod" "\"podIP\": \"$address\""
    denied status_as ed "$pod" "\"hostIP\": \"$address\", \"hostIPs\": [{\"ip\": \"$address\"}]"
    # A user with the name of another node's kubelet is denied too.
    denied status_as "system:node:not-$NODE" "$pod" "\"podIP\": \"$address\""
    status_as ed "$pod" '"message": "seen again", "conditions": [{"type": "example.com/seen", "status": "True"}]' >/dev/null
  done
  # One address of a list, a removed address, and the whole status.
  denied status_as ed web "\"podIPs\": [{\"ip\": \"${others%% *}\"}, {\"ip\": \"2001:db8::7\"}]"
  denied status_as ed web "\"hostIPs\": [{\"ip\": \"$(field web .status.hostIP)\"}, {\"ip\": \"2001:db8::7\"}]"
  denied status_as ed nowhere "\"podIPs\": [{\"ip\": \"2001:db8::7\"}]"
  denied status_as ed nowhere "\"hostIP\": \"$address\""
  denied status_json_as ed web '{"op": "remove", "path": "/status/podIPs"}, {"op": "remove", "path": "/status/podIP"}'
  denied replace_status_as ed web "s/${others%% *}/$address/"
  replace_status_as ed web 's/^  message: .*/  message: replaced/' >/dev/null
  # Other requests do not change the status.
  as ed patch pod web --subresource=ephemeralcontainers -p "{\"status\": {\"podIP\": \"$address\"}}" >/dev/null
  as ed patch pod web -p "{\"status\": {\"podIP\": \"$address\"}}" >/dev/null
  is "$(ips web)" "$others"

  # The pod's own kubelet, and a kubelet with another name and the permission.
  editor "system:node:$NODE"
  status_as "system:node:$NODE" plain "\"podIP\": \"$address\", \"podIPs\": [{\"ip\": \"$address\"}]" >/dev/null
  editor virtual
  denied status_as virtual nowhere "\"podIP\": \"$address\""
  grant virtual clusterrole=packet-capture-operator "$NS"
  within 10 status_as virtual nowhere "\"podIP\": \"$address\""
}

a_finished_pod_cannot_be_set_back_to_running() {
  local phase
  apply_policy
  editor ed
  capture web 5
  finish web
  within 30 phase_is web Succeeded
  for phase in Running Pending Failed Unknown; do denied status_as ed web "\"phase\": \"$phase\""; done
  denied status_json_as ed web '{"op": "remove", "path": "/status/phase"}'
  status_as ed web '"phase": "Succeeded", "message": "seen"' >/dev/null
  # A user may end a pod: this gives no access to packets.
  unbound_pod nowhere
  status_as ed nowhere '"phase": "Failed"' >/dev/null
  denied status_as ed nowhere '"phase": "Running"'
}

# The mirror of a static pod, as a kubelet creates it.
mirror_yaml() { # NAME
  pod_yaml "$1" 5 | sed "s/^  annotations: {/&kubernetes.io\/config.mirror: '1', kubernetes.io\/config.source: file, /"
}
mirror_as() { mirror_yaml started | as "$1" create --dry-run=server -f -; } # USER
has_mirror() { is "$(field "$1" '.metadata.annotations.kubernetes\.io/config\.source')" file; } # POD

a_static_pod_is_captured_if_its_file_on_the_node_requests_it() {
  local static=web-$NODE folder=/etc/kubernetes/manifests
  apply_policy
  afterwards docker exec "$NODE" rm -f "$folder/.$ID" "$folder/$ID.yaml"
  pod_yaml web 5 | docker exec -i "$NODE" sh -c "cat >$folder/.$ID && mv $folder/.$ID $folder/$ID.yaml"
  within 60 has_mirror "$static"
  within 60 captured "$static"

  # The name alone does not make a user a kubelet: these users have only an editor's permissions.
  editor ed
  denied mirror_as ed
  editor "system:node:$ID"
  denied mirror_as "system:node:$ID"
  editor "system:node:$NODE"
  denied starting "system:node:$NODE"
  mirror_as "system:node:$NODE" >/dev/null
  # The node of this name does not exist, so nobody removes the pod at once.
  NODE=$ID mirror_yaml elsewhere | sed 's/ tcpdump.antrea.io: .5.//' | kubectl create -f - >/dev/null
  denied annotate_as "system:node:$ID" elsewhere tcpdump.antrea.io=5
}
