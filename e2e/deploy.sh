#!/usr/bin/env bash
# Installs packet-capture in the cluster. If packet-capture runs already, restarts it, because the image may have changed under the same name.
# MANIFEST=FILE   applies this file instead of daemonset.yaml. FILE is an absolute path.
set -o errexit -o nounset -o pipefail
cd "$(dirname "$0")"
existed=$(./kubectl.sh -n kube-system get daemonset packet-capture --ignore-not-found --output name)
./kubectl.sh apply -f "${MANIFEST:-../daemonset.yaml}"
[[ ! $existed ]] || ./kubectl.sh -n kube-system rollout restart daemonset/packet-capture
./kubectl.sh -n kube-system rollout status daemonset/packet-capture --timeout=180s
