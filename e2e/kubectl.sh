#!/usr/bin/env bash
# kubectl for the cluster $CLUSTER of cluster.sh if it exists, otherwise for kubectl's current cluster.
# usage: kubectl.sh ARGUMENT...
set -o errexit -o nounset -o pipefail
cluster=${CLUSTER:-packet-capture}
if [[ -e ${XDG_CACHE_HOME:-$HOME/.cache}/packet-capture/kubeconfig-$cluster ]]; then
  environment=$("$(dirname "$0")/cluster.sh" env "$cluster")
  eval "$environment"
fi
exec kubectl "$@"
