#!/usr/bin/env bash
# kubectl, on the cluster $CLUSTER of cluster.sh if there is one, else on whatever kubectl is set to.
# usage: kubectl.sh ARGUMENT...
set -o errexit -o nounset -o pipefail
cluster=${CLUSTER:-packet-capture}
if [[ -e ${XDG_CACHE_HOME:-$HOME/.cache}/packet-capture/kubeconfig-$cluster ]]; then
  environment=$("$(dirname "$0")/cluster.sh" env "$cluster")
  eval "$environment"
fi
exec kubectl "$@"
