#!/usr/bin/env bash
# Manages a Kind cluster to test packet-capture: one control plane, two workers, IPv4 and IPv6.
#
#   cluster.sh up [NAME]             creates the cluster, unless it exists and works
#   cluster.sh env [NAME]            prints the environment for a shell: eval "$(e2e/cluster.sh env)"
#   cluster.sh build [TAG]           builds the image from the Dockerfile
#   cluster.sh load [NAME] IMAGE...  loads images into the cluster's nodes
#   cluster.sh down [NAME]           deletes the cluster
#   cluster.sh purge [--cache]       deletes all clusters, and the engine if this script started it; with --cache also the downloads and builds
#
# If Docker runs, this script uses Docker and Kind. Otherwise (or with ENGINE=own) the script starts its own engine, and builds Kind and a node
# image from Debian packages and Go modules (no-docker/). The own engine needs root, Debian 12, Go and Rust.
# CNI=antrea: the cluster of kind-config.yaml, with Antrea installed by helm.
set -o errexit -o nounset -o pipefail

KIND=v0.31.0
KUBERNETES=v1.35.4 # version for the node image of the own engine
NODE_IMAGE=kindest/node:v1.35.0@sha256:452d707d4862f52530247495d180205e029056831160e22870e37e3f6c1ac31f # for Docker
BUSYBOX=docker.io/library/busybox:1.36.1 # for test pods; the node image of the own engine contains an image of this name

HERE=$(dirname "$(realpath "${BASH_SOURCE[0]}")")
CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/packet-capture
LOGS=$CACHE/log
# The name of the folder, the control group and the bridge of the own engine on this host.
OURS=${ENGINE_NAME:-packet-capture}
OWN_HOST=unix:///run/$OURS-e2e/docker.sock
export CNI=${CNI:-kind}

say() { echo "       $*" >&2; }
die() { echo "cluster.sh: $*" >&2; exit 1; }
die_with_log() { tail -n 20 "$LOGS/$1" >&2; die "failed; the whole log: $LOGS/$1"; } # NAME

step() { # WHAT COMMAND...: runs the command and prints how long it took
  local began=$SECONDS
  "${@:2}"
  printf '%5ss %s\n' $((SECONDS - began)) "$1" >&2
}

quietly() { "${@:2}" >"$LOGS/$1" 2>&1 || die_with_log "$1"; } # LOG COMMAND...

hash_of() { sha256sum <<<"$1" | cut -c 1-12; } # TEXT

# Fills a folder once. The folder gets its name only when it is complete.
cached() { # FOLDER WHAT COMMAND...: the command gets a folder as its last argument, and fills it
  [[ ! -e $1 ]] || return 0
  mounts_below "$1.new" | xargs -r -d '\n' umount
  rm -rf --one-file-system "$1.new"
  mkdir -p "$1.new"
  step "$2" "${@:3}" "$1.new"
  mv "$1.new" "$1"
}

# Only one cluster.sh works at a time. The lock is free when the last process that has it open ends, so no daemon may inherit it.
lock() {
  mkdir -p "$CACHE" "$LOGS"
  exec {LOCK}>"$CACHE/lock"
  if ! flock --nonblock "$LOCK"; then
    say 'another cluster.sh is running: waiting until it ends'
    flock --timeout 3600 "$LOCK" || die 'another cluster.sh has been running for an hour'
  fi
  rm -rf --one-file-system "$CACHE"/making-* # of a cluster.sh that was killed
}

# Uses Docker if a Docker engine answers that this script did not start.
choose_engine() {
  if [[ ! ${ENGINE:-} ]]; then
    if [[ ${DOCKER_HOST:-} != "$OWN_HOST" ]] && timeout 10 docker info &>/dev/null; then ENGINE=docker; else ENGINE=own; fi
  fi
  case $ENGINE in
    docker) ;;
    own)
      ((EUID == 0)) || die 'no Docker engine answers; hint: as root, this script starts an engine'
      # shellcheck source=no-docker/engine.sh
      source "$HERE/no-docker/engine.sh"
      # shellcheck source=no-docker/images.sh
      source "$HERE/no-docker/images.sh"
      export DOCKER_HOST=$OWN_HOST PATH=$BINARIES:$ENGINE_FILES/usr/bin:$ENGINE_FILES/usr/sbin:$PATH
      ;;
    *) die "ENGINE=$ENGINE is neither docker nor own" ;;
  esac
  export DOCKER_BUILDKIT=1
}

kubeconfig() { echo "$CACHE/kubeconfig-$1"; } # NAME

use() { # NAME
  CLUSTER=$1
  [[ $CLUSTER =~ ^[a-z0-9.-]+$ ]] || die "$CLUSTER cannot be a cluster's name"
  KUBECONFIG=$(kubeconfig "$CLUSTER")
  export KUBECONFIG
}

tools() {
  local tool
  for tool in docker kind kubectl; do
    command -v "$tool" >/dev/null || die "$tool is missing"
  done
}

up() {
  [[ $CNI == kind || $CNI == antrea ]] || die "CNI=$CNI is neither kind nor antrea"
  if [[ $ENGINE == own ]]; then
    [[ $CNI == kind ]] || die 'CNI=antrea needs a Docker that can pull images, and none answers'
    start_engine
    binaries
    base_images
    node_image
    kind_network
    NODE_IMAGE=$NODE_IMAGE_LOCAL
  fi
  tools
  if works; then
    say "cluster $CLUSTER is already running"
    return
  fi
  quietly "kind-delete-$CLUSTER" kind delete cluster --name "$CLUSTER"
  step "cluster $CLUSTER" create
  step 'pods reach Services and one another' talks || die_with_log "check-$CLUSTER"
}

# shellcheck disable=SC2317 # called by `step`
create() {
  if [[ $CNI == antrea ]]; then
    command -v helm >/dev/null || die 'helm is missing: CNI=antrea installs Antrea with it'
    quietly "kind-$CLUSTER" kind create cluster --name "$CLUSTER" --image "$NODE_IMAGE" --config "$HERE/../kind-config.yaml"
    quietly "helm-$CLUSTER" helm install antrea antrea --repo https://charts.antrea.io --namespace kube-system
  else
    configuration | quietly "kind-$CLUSTER" kind create cluster --name "$CLUSTER" --image "$NODE_IMAGE" --config - --retain
  fi
  quietly "wait-$CLUSTER" kubectl wait node --all --for=condition=Ready --timeout=180s
  quietly "wait-$CLUSTER" kubectl -n kube-system rollout status deployment/coredns --timeout=180s
}

# shellcheck disable=SC2317
configuration() {
  cat "$HERE/kind.yaml"
  if [[ $ENGINE == own ]]; then cat "$HERE/no-docker/kind-patches.yaml"; fi
}

# Whether the cluster exists, was made from this node image, and works.
works() {
  local node nodes
  nodes=$(kind get nodes --name "$CLUSTER" 2>/dev/null) && [[ $nodes ]] || return
  for node in $nodes; do
    [[ $(docker inspect --format '{{.State.Running}} {{.Config.Image}}' "$node") == "true $NODE_IMAGE" ]] || return
  done
  kind export kubeconfig --name "$CLUSTER" &>/dev/null || return
  kubectl wait node --all --for=condition=Ready --timeout=5s --request-timeout=10s &>/dev/null || return
  talks
}

# A ready kube-proxy is not enough: pods on all workers must reach a Service by its name and by each of its addresses, and must reach
# each other.
talks() {
  local namespace=cluster-check-$RANDOM status=0
  {
    kubectl create namespace "$namespace"
    check_pods "$namespace" | kubectl apply -f -
    kubectl -n "$namespace" rollout status daemonset/check --timeout=60s && all_reach_all "$namespace" || status=1
    kubectl delete namespace "$namespace" --wait=false
  } &>"$LOGS/check-$CLUSTER"
  return $status
}

all_reach_all() { # NAMESPACE
  local pod address addresses deadline=$((SECONDS + 60))
  addresses=$(kubectl -n "$1" get services,pods -o 'jsonpath={.items[*].spec.clusterIPs[*]} {.items[*].status.podIPs[*].ip}')
  for pod in $(kubectl -n "$1" get pods -o name); do
    for address in check $addresses; do
      if [[ $address == *:* ]]; then address="[$address]"; fi
      until kubectl -n "$1" exec "$pod" -- timeout 3 wget -q -O - "http://$address:8080/"; do
        ((SECONDS < deadline)) || return
        sleep 0.5
      done
    done
  done
}

check_pods() { # NAMESPACE
  cat <<YAML
apiVersion: v1
kind: Service
metadata: {name: check, namespace: $1}
spec:
  ipFamilyPolicy: PreferDualStack
  selector: {app: check}
  ports: [{port: 8080}]
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: check, namespace: $1}
spec:
  selector: {matchLabels: {app: check}}
  template:
    metadata: {labels: {app: check}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
        - name: server
          image: $BUSYBOX
          imagePullPolicy: IfNotPresent
          command: [sh, -c, 'mkdir -p /www && echo ok >/www/index.html && exec httpd -f -p 8080 -h /www']
YAML
}

print_environment() {
  [[ -e $KUBECONFIG ]] || say "there is no cluster $CLUSTER yet: cluster.sh up $CLUSTER"
  if [[ $ENGINE == own ]]; then
    # shellcheck disable=SC2016 # $PATH is expanded by the shell that reads the output
    printf 'export DOCKER_HOST=%q PATH=%q:$PATH\n' "$DOCKER_HOST" "$BINARIES:$ENGINE_FILES/usr/bin"
  fi
  printf 'export KUBECONFIG=%q DOCKER_BUILDKIT=1 CLUSTER=%q BUSYBOX=%q\n' "$KUBECONFIG" "$CLUSTER" "$BUSYBOX"
}

build() { # TAG
  if [[ $ENGINE == own ]]; then
    start_engine
    base_images with-rust
    exec {LOCK}>&-
    # Containers of the own engine reach the outside only through the host's network.
    docker build --network host --tag "$1" "$HERE/.."
  else
    docker build --tag "$1" "$HERE/.."
  fi
}

load() { # IMAGE...
  kind load docker-image --name "$CLUSTER" "$@"
}

down() {
  if [[ $ENGINE == own ]] && ! engine_answers; then
    say 'no engine runs, so no cluster runs'
    rm -f "$KUBECONFIG"
    return
  fi
  step "cluster $CLUSTER removed" quietly "kind-delete-$CLUSTER" kind delete cluster --name "$CLUSTER"
  rm -f "$KUBECONFIG"
}

purge() { # [--cache]
  local cluster
  if [[ $ENGINE == own ]]; then
    step 'engine and clusters removed' stop_engine
  else
    for cluster in "$CACHE"/kubeconfig-*; do
      [[ ! -e $cluster ]] || kind delete cluster --name "${cluster##*/kubeconfig-}"
    done
  fi
  rm -f "$CACHE"/kubeconfig-*
  if [[ ${1:-} == --cache ]]; then rm -rf --one-file-system "$CACHE"; fi
}

main() {
  local verb=${1:-}
  shift || true
  case $verb in
    up | env | down) use "${1:-packet-capture}" ;;
    load)
      # A cluster's name has no colon, an image's name does.
      if [[ ${1:-} == *:* ]]; then
        use packet-capture
      else
        use "${1:-}"
        shift
      fi
      ;;
    build | purge) ;;
    *)
      sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"
      exit 2
      ;;
  esac
  choose_engine
  case $verb in
    env) print_environment ;;
    load) load "$@" ;;
    up)
      lock
      up
      ;;
    down)
      lock
      down
      ;;
    build)
      lock
      build "${1:-packet-capture:dev}"
      ;;
    purge)
      lock
      purge "$@"
      ;;
  esac
  exit 0 # so that bash does not read the rest of this file, which may have changed during the run
}

main "$@"
