# shellcheck shell=bash disable=SC2154
# policy.yaml: who may start, change and stop captures, and who may read them. These cases are serial, because policy.yaml applies to the whole
# cluster.

generate_as() { pod_yaml web "${@:2}" | sed 's/^  name: web$/  generateName: web-/' | as "$1" create -f -; } # USER [FILES]
apply_as() { pod_yaml "${@:2}" | as "$1" apply --server-side --force-conflicts -f -; } # USER POD [FILES]

debug_as() { # USER POD [ARGUMENT...]
  as "$1" patch pod "$2" --subresource=ephemeralcontainers "${@:3}" \
    -p "{\"spec\": {\"ephemeralContainers\": [{\"name\": \"debugger\", \"image\": \"$BUSYBOX\", \"command\": [\"true\"]}]}}"
}

replace_as() { # USER POD ANNOTATION
  kubectl -n "$NS" get pod "$2" -o yaml | sed '/^  resourceVersion: /d' | kubectl annotate --local --overwrite -f - "$3" -o yaml |
    as "$1" replace -f -
}

bind_as() { # USER PATH POD ANNOTATION
  kubectl --as="$1" create --raw "/api/v1/namespaces/$NS/$2" -f - <<<"{\"apiVersion\": \"v1\", \"kind\": \"Binding\",
    \"metadata\": {\"name\": \"$3\", \"annotations\": {\"$4\": \"5\"}}, \"target\": {\"kind\": \"Node\", \"name\": \"$NODE\"}}"
}

an_editor_without_the_permission_starts_changes_and_stops_no_capture() {
  apply_policy
  editor ed
  capture web 5
  pods plain
  unbound_pod unbound
  local pid pod
  pid=$(pid_of web)
  denied starting ed
  denied generate_as ed 5
  denied apply_as ed new 5
  denied apply_as ed plain 5
  denied apply_as ed web 6
  denied annotate_as ed plain tcpdump.antrea.io=5
  denied annotate_as ed plain tcpdump.antrea.io/filter=tcp
  denied annotate_as ed web tcpdump.antrea.io=6
  denied annotate_as ed web tcpdump.antrea.io=6 another=6
  denied annotate_as ed web tcpdump.antrea.io-
  denied annotate_as ed web tcpdump.antrea.io/pause=true
  denied replace_as ed web tcpdump.antrea.io=6
  denied patch_status_as ed web '"metadata": {"annotations": {"tcpdump.antrea.io": "6"}}'
  denied patch_status_as ed web '"metadata": {"annotations": null}'
  denied bind_as ed pods/unbound/binding unbound tcpdump.antrea.io
  denied bind_as ed bindings unbound tcpdump.antrea.io/filter

  for pod in web plain; do
    annotate_as ed "$pod" another=5 tcpdump.antrea.io.example/key=5 >/dev/null
    as ed label pod "$pod" another=5 >/dev/null
    patch_status_as ed "$pod" '"status": {"conditions": [{"type": "example.com/seen", "status": "True"}]}' >/dev/null
    within 10 debug_as ed "$pod"
    replace_as ed "$pod" another=6 >/dev/null
  done
  bind_as ed pods/unbound/binding unbound another >/dev/null
  generate_as ed >/dev/null
  apply_as ed new >/dev/null
  same_tcpdump web "$pid"
  as ed delete pod web >/dev/null
  within 20 gone web
}

an_editor_with_the_permission_in_one_namespace_captures_only_there() {
  apply_policy
  editor ed
  grant ed clusterrole=packet-capture-user "$NS"
  pods web
  within 10 annotate_as ed web tcpdump.antrea.io=5
  within 20 capturing web 5
  annotate_as ed web tcpdump.antrea.io=6 >/dev/null
  within 20 capturing web 6
  starting ed >/dev/null
  annotate_as ed web tcpdump.antrea.io- >/dev/null
  within 20 gone web
  revoke ed clusterrole=packet-capture-user "$NS"
  within 10 denied annotate_as ed web tcpdump.antrea.io=5
  grant ed clusterrole=packet-capture-user "$NS"
  within 10 starting ed
  NS=$NS-b
  namespace "$NS"
  grant ed clusterrole=edit "$NS"
  pods web
  within 10 annotate_as ed web another=5
  denied annotate_as ed web tcpdump.antrea.io=5
  denied starting ed
}

# A workload of any kind that Kubernetes itself creates pods from, with the annotation in its template.
workload() { # KIND [FILES]
  local template group=apps/v1 annotation=${2:+"tcpdump.antrea.io: '$2'"} restart=Always
  local selector="selector: {matchLabels: {app: $1}}"
  case $1 in
    CronJob | Job) group=batch/v1 selector='' restart=Never ;;
    PodTemplate) group=v1 ;;
    ReplicationController) group=v1 selector="selector: {app: $1}" ;;
  esac
  template="{metadata: {labels: {app: $1, e2e: $ID}, annotations: {$annotation}}, spec: {restartPolicy: $restart,
    automountServiceAccountToken: false, terminationGracePeriodSeconds: 1, nodeSelector: {kubernetes.io/hostname: $NODE},
    containers: [{name: main, image: $BUSYBOX, imagePullPolicy: IfNotPresent, command: [sleep, '3600']}]}}"
  echo "{apiVersion: $group, kind: $1, metadata: {name: ${1,,}, namespace: $NS},"
  case $1 in
    CronJob) echo "spec: {schedule: '* * * * *', concurrencyPolicy: Forbid, jobTemplate: {spec: {template: $template}}}}" ;;
    Job) echo "spec: {template: $template}}" ;;
    PodTemplate) echo "template: $template}" ;;
    *) echo "spec: {$selector, template: $template}}" ;;
  esac
}

create_workload_as() { workload "${@:2}" | as "$1" create -f -; } # USER KIND [FILES]
pods_of() { # KIND COUNT: this many of its pods have the annotation
  is "$(kubectl -n "$NS" get pods -l "app=$1" -o 'jsonpath={.items[*].metadata.annotations.tcpdump\.antrea\.io}' | wc -w)" "$2"
}
patch_template_as() { # USER ANNOTATION
  as "$1" patch deployment deployment -p "{\"spec\": {\"template\": {\"metadata\": {\"annotations\": {$2}}}}}"
}
template_has() { # FILES
  is "$(kubectl -n "$NS" get deployment deployment -o 'jsonpath={.spec.template.metadata.annotations.tcpdump\.antrea\.io}')" "$1"
}

a_template_is_checked_when_it_is_applied_and_its_pods_are_not_checked_again() {
  local kind makers='DaemonSet Deployment ReplicaSet StatefulSet CronJob Job ReplicationController'
  apply_policy
  editor ed
  editor owner
  grant owner clusterrole=packet-capture-user "$NS"
  within 10 starting owner
  for kind in $makers PodTemplate; do
    denied create_workload_as ed "$kind" 5
    create_workload_as owner "$kind" 5 >/dev/null
  done
  # The CronJob controller starts a missed run at once.
  kubectl -n "$NS" patch cronjob cronjob --subresource=status \
    -p "{\"status\": {\"lastScheduleTime\": \"$(date -u -d -3minutes +%FT%TZ)\"}}" >/dev/null
  for kind in $makers; do within 60 pods_of "$kind" 1; done

  # The owner loses the permission. The workloads continue to work.
  revoke owner clusterrole=packet-capture-user "$NS"
  within 10 denied starting owner
  kubectl -n "$NS" delete pods -l 'app in (DaemonSet, ReplicaSet, StatefulSet, ReplicationController)' --force --wait=false >/dev/null 2>&1
  for kind in DaemonSet ReplicaSet StatefulSet ReplicationController; do within 30 pods_of "$kind" 1; done
  as ed scale deployment deployment --replicas=2 >/dev/null
  as ed set env deployment deployment another=5 >/dev/null
  as ed rollout status deployment deployment --timeout=60s >/dev/null
  within 30 pods_of Deployment 2

  denied as ed create job again --from=cronjob/cronjob
  denied patch_template_as ed '"tcpdump.antrea.io": "6"'
  denied patch_template_as ed '"tcpdump.antrea.io/filter": "tcp"'
  denied patch_template_as ed '"tcpdump.antrea.io": null'
  patch_template_as ed '"another": "5"' >/dev/null
  # An old template cannot be restored either, not even by a controller on the user's behalf.
  kubectl -n "$NS" patch deployment deployment --type=json \
    -p '[{"op": "remove", "path": "/spec/template/metadata/annotations"}]' >/dev/null
  denied as ed rollout undo deployment deployment
  as ed annotate deployment deployment deprecated.deployment.rollback.to=1 >/dev/null
  holds_for 5 template_has ''
}

# A pod with nearly the largest permitted size of annotations.
annotated_pod() { # NAME [FILES]
  local yaml many='' text i
  text=$(printf '%0800d' 0)
  for i in {1..300}; do many+="example.com/$i: '$text', "; done
  yaml=$(pod_yaml "$@")
  echo "${yaml/'annotations: {'/"annotations: {$many"}" | kubectl create -f - >/dev/null
}

three_hundred_annotations_are_checked_like_one() {
  apply_policy
  editor ed
  annotated_pod plain
  annotated_pod web 5
  annotate_as ed plain another=5 >/dev/null
  annotate_as ed web another=5 >/dev/null
  denied annotate_as ed plain tcpdump.antrea.io=5
  denied annotate_as ed web tcpdump.antrea.io-
  kubectl -n "$NS" wait --for=condition=Ready pod plain web --timeout=60s >/dev/null
  within 20 capturing web 5
}

# Grants a ClusterRole in every namespace.
grant_everywhere() { # USER CLUSTERROLE
  afterwards kubectl delete --ignore-not-found clusterrolebinding "$1-$ID"
  kubectl create clusterrolebinding "$1-$ID" "--clusterrole=$2" "--user=$1" >/dev/null
}

read_as() { exec_as "$1" "$CONTROLLER" packet-capture "${@:2}"; } # USER ARGUMENT...
pod_of_kube_system() { kubectl -n kube-system get pods -l "$1" -o 'jsonpath={.items[0].metadata.name}'; } # LABEL

# The output of the command begins like a pcap file.
copies() { [[ $("$@" 2>/dev/null | od -A n -t x4 -N 4) == ' a1b2c3d4' ]] || fail "copied nothing: $*"; } # COMMAND...

a_reader_runs_the_reading_commands_for_its_namespace_and_nothing_else() {
  local pod=$NS/web newline=$'\n' websockets
  apply_policy
  capture web 5
  finish web # so that `follow` ends
  within 30 phase_is web Succeeded
  within 20 row_has web finished
  grant reader role=packet-capture-reader kube-system
  within 10 denied read_as reader get "$pod"
  grant reader clusterrole=packet-capture-user "$NS"
  within 10 copies read_as reader get "$pod"
  for websockets in true false; do # exec by GET, and by POST
    export KUBECTL_REMOTE_COMMAND_WEBSOCKETS=$websockets
    copies read_as reader get "$pod"
    denied read_as reader get default/none
    denied exec_as reader "$CONTROLLER" sh -c id
  done
  copies read_as reader get "$pod" --all
  copies read_as reader follow "$pod"
  copies read_as reader follow "$pod" --all
  copies exec_as reader "$CONTROLLER" /usr/bin/packet-capture get "$pod"
  [[ $(read_as reader status -n "$NS") == *"$NS  web  finished  "* ]]
  [[ $(read_as reader status -n "$NS" -o wide) == *"$NS  web  $NODE  finished  "* ]]
  [[ $(read_as reader status -n "$NS" -o json) == "{\"namespace\":\"$NS\",\"pod\":\"web\","* ]]
  let_in read_as reader get "$NS/none"

  denied read_as reader follow default/none --all
  denied read_as reader status -n default
  denied read_as reader status
  denied read_as reader status -o json
  denied read_as reader status "$NS"
  denied read_as reader status -n "$NS" -n default
  denied read_as reader status -n "$NS" -o yaml
  denied read_as reader get none
  denied read_as reader get /none
  denied read_as reader get "$NS/"
  denied read_as reader get "$NS/../default/none"
  denied read_as reader get "$NS/.."
  denied read_as reader get "../$pod"
  denied read_as reader get "$pod" default/none
  denied read_as reader get "$pod" --all --all
  denied read_as reader get --all "$pod"
  denied read_as reader get --all=true "$pod"
  denied read_as reader get -- "$pod"
  denied read_as reader get "$pod" ''
  denied read_as reader '' get "$pod"
  denied read_as reader get "$pod$newline"
  denied read_as reader get "$pod${newline}default/none"
  denied read_as reader "get $pod"
  denied read_as reader get "$pod --all"
  denied read_as reader get "$pod;id"
  denied read_as reader GET "$pod"
  denied read_as reader
  denied read_as reader health
  denied exec_as reader "$CONTROLLER" "packet-capture get $pod"
  denied exec_as reader "$CONTROLLER" /captures/packet-capture get "$pod"
  denied exec_as reader "$CONTROLLER" tcpdump -r /captures/none
  denied exec_as reader "$CONTROLLER" cat /captures/.state.json
  denied exec_as reader "$CONTROLLER" ls
  denied exec_as reader "$CONTROLLER" tar -x
  denied kubectl --as=reader cp "kube-system/$CONTROLLER:/captures/.state.json" "$TMP/copy"
  denied kubectl -n kube-system --as=reader exec "$CONTROLLER" -c debugger -- packet-capture get "$pod"

  grant_everywhere reader packet-capture-user
  within 10 read_as reader status
  let_in read_as reader get default/none
  denied exec_as reader "$CONTROLLER" ls
}

plugin_as() { plugin "${@:2}" "--as=$1"; } # USER VERB ARGUMENT...

the_plugin_starts_reads_and_ends_a_capture_with_both_permissions() {
  local following
  apply_policy
  pods web
  grant ed clusterrole=edit "$NS"
  fails_with 1 "ValidatingAdmissionPolicy 'packet-capture-start'" plugin_as ed start web
  grant ed clusterrole=packet-capture-user "$NS"
  within 10 starting ed
  plugin_as ed start web >"$TMP/said" 2>&1
  grep --quiet '^warning: you may not read captures; hint: ' "$TMP/said"
  fails_with 1 'cannot look for the packet-capture pod of node' plugin_as ed get web -o "$TMP/web.pcap"
  grant ed role=packet-capture-reader kube-system
  within 20 captured web
  within 10 plugin_as ed get web -o "$TMP/web.pcap"
  shows "$TMP/web.pcap" tcp
  is "$(value '.pod} {.state' <"$TMP/web.json")" 'web capturing'
  [[ $(plugin_as ed start web --files 6 2>&1) != *warning* ]]
  [[ $(plugin_as ed status) == *"$NS  web  capturing  6  "* ]]
  fails_with 1 'to read captures of all namespaces you need permission' env "PATH=$(realpath "$HERE/.."):$PATH" kubectl packet-capture status -A --as=ed
  plugin_as ed stop web >/dev/null
  within 20 not_capturing web
  plugin_as ed follow web >"$TMP/followed" &
  following=$!
  within 20 shows "$TMP/followed" tcp
  plugin_as ed delete web >/dev/null
  wait "$following"
  within 20 gone web
}

attach_as() { timeout 10 kubectl -n kube-system --as="$1" attach "$2"; }                        # USER POD
proxy_as() { kubectl --as="$1" get --raw "/api/v1/namespaces/kube-system/pods/$2/proxy/$3"; } # USER POD [PATH]
forward_as() { timeout 10 kubectl -n kube-system --as="$1" port-forward "pod/$2" :10249; } # USER POD

packet_capture_pods_are_closed_and_other_pods_are_as_open_as_before() {
  local proxy dns form
  proxy=$(pod_of_kube_system k8s-app=kube-proxy) dns=$(pod_of_kube_system k8s-app=kube-dns)
  apply_policy
  kubectl -n kube-system create role "support-$ID" --verb=get,list,create,patch \
    --resource=pods,pods/attach,pods/ephemeralcontainers,pods/exec,pods/portforward,pods/proxy >/dev/null
  afterwards kubectl -n kube-system delete role "support-$ID"
  grant support "role=support-$ID" kube-system
  within 10 exec_as support "$proxy" kube-proxy --version
  debug_as support "$proxy" -n kube-system --dry-run=server >/dev/null
  denied exec_as support "$CONTROLLER" ls
  denied read_as support status -n "$NS"
  denied debug_as support "$CONTROLLER" -n kube-system --dry-run=server
  denied attach_as support "$CONTROLLER"
  denied forward_as support "$CONTROLLER"
  proxy_as support "$dns:9153" metrics >/dev/null
  for form in "$CONTROLLER" {,http:,https:,:}"$CONTROLLER:10256" "$CONTROLLER%3A10256"; do
    denied proxy_as support "$form" healthz
    denied kubectl --as=support create --raw "/api/v1/namespaces/kube-system/pods/$form/proxy/" -f - <<<'{}'
  done

  # A user who may exec only to read captures cannot exec into another pod.
  grant reader clusterrole=packet-capture-user "$NS"
  grant reader role=packet-capture-reader kube-system
  within 10 let_in read_as reader get "$NS/none"
  denied exec_as reader "$proxy" kube-proxy --version
  denied exec_as reader "$proxy" packet-capture get "$NS/none"
  denied exec_as reader "$dns" /coredns -version
  denied kubectl --as=reader get --raw \
    "/api/v1/namespaces/kube-system/pods/$proxy/exec?command=packet-capture&command=get&command=$NS/none"

  grant support clusterrole=packet-capture-operator kube-system
  grant support role=packet-capture-reader kube-system
  within 10 exec_as support "$CONTROLLER" ls /captures
  debug_as support "$CONTROLLER" -n kube-system --dry-run=server >/dev/null
  exec_as support "$proxy" kube-proxy --version >/dev/null
}
