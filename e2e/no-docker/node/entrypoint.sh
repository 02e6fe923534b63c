#!/usr/bin/env bash
# PID 1 of a node, in systemd's place: control groups, containerd, its images, the pod network, and the kubelet as soon as
# kubeadm has asked for it. Logs: /var/log/{containerd,kubelet,network}.log
set -o nounset -o pipefail
trap 'exit 0' TERM

# Runs a command again and again, at most twice a second.
keep() { # NAME COMMAND...
  while :; do
    "${@:2}" >>"/var/log/$1.log" 2>&1
    sleep 0.5
  done
}

# The kubelet is told by Kind to put everything below /kubelet.
control_groups() {
  local group file
  if [[ -e /sys/fs/cgroup/cgroup.controllers ]]; then
    # Version 2: controllers can be handed on only by a group that has no process of its own.
    mkdir -p /sys/fs/cgroup/{init,kubelet}
    xargs -rn1 </sys/fs/cgroup/cgroup.procs >/sys/fs/cgroup/init/cgroup.procs
    sed 's/ / +/g; s/^/+/' /sys/fs/cgroup/cgroup.controllers >/sys/fs/cgroup/cgroup.subtree_control
    return
  fi
  for group in /sys/fs/cgroup/*/; do
    mkdir -p "${group}kubelet"
  done
  # A new cpuset is empty, and an empty one takes no process.
  for file in cpuset.cpus cpuset.mems; do
    cat "/sys/fs/cgroup/cpuset/$file" >"/sys/fs/cgroup/cpuset/kubelet/$file"
  done
}

load_images() {
  local part parts=(services)
  [[ $HOSTNAME != *-control-plane* ]] || parts+=(control-plane)
  until ctr version &>/dev/null; do
    sleep 0.1
  done
  for part in "${parts[@]}"; do
    ctr --namespace k8s.io images import "/kind/images/$part.tar"
  done
  touch /run/images-loaded
}

run_kubelet() (
  [[ -e /var/lib/kubelet-wanted && -e /run/images-loaded ]] || exit 0
  # Pods on the node's network need the API server's address, and have the node's /etc/hosts but not Docker's name server.
  server=$(sed -n 's,.*server: https://\([^:]*\):.*,\1,p' /etc/kubernetes/kubelet.conf /etc/kubernetes/bootstrap-kubelet.conf 2>/dev/null | head -n 1)
  grep --quiet --word-regexp --fixed-strings -- "$server" /etc/hosts ||
    getent ahostsv4 "$server" | awk -v "name=$server" 'NR == 1 {print $1, name}' >>/etc/hosts
  KUBELET_KUBEADM_ARGS=
  # shellcheck source=/dev/null
  source /var/lib/kubelet/kubeadm-flags.env
  # shellcheck disable=SC2086 # several arguments
  exec kubelet --config=/var/lib/kubelet/config.yaml --kubeconfig=/etc/kubernetes/kubelet.conf \
    --bootstrap-kubeconfig=/etc/kubernetes/bootstrap-kubelet.conf $KUBELET_KUBEADM_ARGS
)

# A line a node: its name, its addresses, its ranges of pod addresses.
NODES='{range .items[*]}{.metadata.name} {.status.addresses[?(@.type=="InternalIP")].address} {.spec.podCIDRs[*]}{"\n"}{end}'

# The other nodes' pods by routes, this node's by the CNI plugin ptp, in each address family that the cluster has.
network() {
  local nodes name words
  if ((SECONDS > 120)); then sleep 10; fi # all nodes are there by then
  nodes=$(kubectl --kubeconfig /etc/kubernetes/kubelet.conf get nodes -o "jsonpath=$NODES") || return
  while read -r name words; do
    if [[ $words != */* ]]; then
      continue # it has no range yet
    elif [[ $name != "$HOSTNAME" ]]; then
      routes "$words"
    elif [[ ! -e /etc/cni/net.d/10-ptp.conflist ]]; then
      own_range "$words"
    fi
  done <<<"$nodes"
}

routes() { # WORDS: a node's addresses and ranges
  local range address
  for range in $1; do
    [[ $range == */* ]] || continue
    for address in $1; do
      if [[ $address != */* && $(family "$address") == $(family "$range") ]]; then ip route replace "$range" via "$address"; fi
    done
  done
}

family() { if [[ $1 == *:* ]]; then echo 6; else echo 4; fi; } # ADDRESS

own_range() { # WORDS: this node's addresses and ranges
  local range ranges='' defaults=''
  for range in $1; do
    [[ $range == */* ]] || continue
    ranges+="${ranges:+,}[{\"subnet\": \"$range\"}]"
    if [[ $range == *:* ]]; then defaults+="${defaults:+,}{\"dst\": \"::/0\"}"; else defaults+="${defaults:+,}{\"dst\": \"0.0.0.0/0\"}"; fi
  done
  cat >/etc/cni/net.d/new <<JSON
{"cniVersion": "0.4.0", "name": "pods", "plugins": [
  {"type": "ptp", "ipMasq": false, "ipam": {"type": "host-local", "dataDir": "/run/cni-ipam", "ranges": [$ranges], "routes": [$defaults]}},
  {"type": "portmap", "capabilities": {"portMappings": true}}
]}
JSON
  mv /etc/cni/net.d/new /etc/cni/net.d/10-ptp.conflist
}

mount --make-rshared /
tr -d - </proc/sys/kernel/random/uuid >/etc/machine-id
sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
control_groups
# Not Docker's own name server: its address, 127.0.0.11, is in a pod the pod itself.
echo "nameserver $(ip -4 route show default | awk '{print $3}')" >/kind/resolv.conf
keep containerd containerd &
keep kubelet run_kubelet &
keep network network &
echo 'Reached target Multi-User System' # the line that Kind waits for
load_images
while :; do
  wait # reaps whatever is left to PID 1
done
