# shellcheck shell=bash disable=SC2154
# What policy.yaml leaves to a pod's own kubelet: where the pod is, and what a static pod asks for. One at a time: it is for the
# whole cluster.

# A list is replaced, not added to.
status_as() { as "$1" patch pod "$2" --subresource=status --type=merge -p "{\"status\": {$3}}"; } # PERSON POD FIELDS
status_json_as() { as "$1" patch pod "$2" --subresource=status --type=json -p "[$3]"; } # PERSON POD OPERATION
# All of the status as it is, but for one thing.
replace_status_as() { # PERSON POD SED
  kubectl -n "$NS" get pod "$2" -o yaml | sed "/^  resourceVersion: /d; $3" | as "$1" replace --subresource=status -f -
}

# On no node, so nothing is known of it.
unbound() { # POD
  pod_with "$1" '' '{"op": "remove", "path": "/spec/nodeName"}' '{"op": "add", "path": "/spec/schedulerName", "value": "none"}'
}

only_a_pods_own_kubelet_says_where_it_is() {
  local address=192.0.2.7 others pod
  apply_policy
  editor ed
  give ed clusterrole=packet-capture-user "$NS"
  pods plain
  capture web 5
  unbound nowhere
  others=$(ips web)
  editor "system:node:not-$NODE"
  within 10 status_as ed plain '"message": "seen"'

  for pod in web plain nowhere; do
    denied status_as ed "$pod" "\"podIP\": \"$address\", \"podIPs\": [{\"ip\": \"$address\"}]"
    denied status_as ed "$pod" "\"podIP\": \"$address\""
    denied status_as ed "$pod" "\"hostIP\": \"$address\", \"hostIPs\": [{\"ip\": \"$address\"}]"
    # Nor may one who is called like another node's kubelet.
    denied status_as "system:node:not-$NODE" "$pod" "\"podIP\": \"$address\""
    status_as ed "$pod" '"message": "seen again", "conditions": [{"type": "example.com/seen", "status": "True"}]' >/dev/null
  done
  # One of several, one taken away, and the whole status.
  denied status_as ed web "\"podIPs\": [{\"ip\": \"${others%% *}\"}, {\"ip\": \"2001:db8::7\"}]"
  denied status_as ed web "\"hostIPs\": [{\"ip\": \"$(field web .status.hostIP)\"}, {\"ip\": \"2001:db8::7\"}]"
  denied status_as ed nowhere "\"podIPs\": [{\"ip\": \"2001:db8::7\"}]"
  denied status_as ed nowhere "\"hostIP\": \"$address\""
  denied status_json_as ed web '{"op": "remove", "path": "/status/podIPs"}, {"op": "remove", "path": "/status/podIP"}'
  denied replace_status_as ed web "s/${others%% *}/$address/"
  replace_status_as ed web 's/^  message: .*/  message: replaced/' >/dev/null
  # With no other request does a status come along.
  as ed patch pod web --subresource=ephemeralcontainers -p "{\"status\": {\"podIP\": \"$address\"}}" >/dev/null
  as ed patch pod web -p "{\"status\": {\"podIP\": \"$address\"}}" >/dev/null
  is "$(ips web)" "$others"

  # Its own kubelet, and one that goes by another name and has the right.
  editor "system:node:$NODE"
  status_as "system:node:$NODE" plain "\"podIP\": \"$address\", \"podIPs\": [{\"ip\": \"$address\"}]" >/dev/null
  editor virtual
  denied status_as virtual nowhere "\"podIP\": \"$address\""
  give virtual clusterrole=packet-capture-operator "$NS"
  within 10 status_as virtual nowhere "\"podIP\": \"$address\""
}

a_pod_that_has_ended_is_not_brought_back() {
  local phase
  apply_policy
  editor ed
  capture web 5
  finish web
  within 30 phase_is web Succeeded
  for phase in Running Pending Failed Unknown; do denied status_as ed web "\"phase\": \"$phase\""; done
  denied status_json_as ed web '{"op": "remove", "path": "/status/phase"}'
  status_as ed web '"phase": "Succeeded", "message": "seen"' >/dev/null
  # To end one is no way to anybody's packets.
  unbound nowhere
  status_as ed nowhere '"phase": "Failed"' >/dev/null
  denied status_as ed nowhere '"phase": "Running"'
}

# As a kubelet shows a static pod.
mirror_yaml() { # NAME
  pod_yaml "$1" 5 | sed "s/^  annotations: {/&kubernetes.io\/config.mirror: '1', kubernetes.io\/config.source: file, /"
}
mirror_as() { mirror_yaml started | as "$1" create --dry-run=server -f -; } # PERSON
has_mirror() { is "$(field "$1" '.metadata.annotations.kubernetes\.io/config\.source')" file; } # POD

a_static_pod_is_captured_as_its_file_on_the_node_says() {
  local static=web-$NODE folder=/etc/kubernetes/manifests
  apply_policy
  afterwards docker exec "$NODE" rm -f "$folder/.$ID" "$folder/$ID.yaml"
  pod_yaml web 5 | docker exec -i "$NODE" sh -c "cat >$folder/.$ID && mv $folder/.$ID $folder/$ID.yaml"
  within 60 has_mirror "$static"
  within 60 captured "$static"

  # To be called so does not make anybody a kubelet: these have an editor's rights, and no more.
  editor ed
  denied mirror_as ed
  editor "system:node:$ID"
  denied mirror_as "system:node:$ID"
  editor "system:node:$NODE"
  denied starting "system:node:$NODE"
  mirror_as "system:node:$NODE" >/dev/null
  # Where there is no node of that name, nobody removes it at once.
  NODE=$ID mirror_yaml elsewhere | sed 's/ tcpdump.antrea.io: .5.//' | kubectl create -f - >/dev/null
  denied annotate_as "system:node:$ID" elsewhere tcpdump.antrea.io=5
}
