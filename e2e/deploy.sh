#!/usr/bin/env bash
# Installs packet-capture in the cluster, or, where it runs already, starts it anew: the image may be another of the same name.
# MANIFEST=FILE   instead of daemonset.yaml, by its absolute path.
set -o errexit -o nounset -o pipefail
cd "$(dirname "$0")"
existed=$(./kubectl.sh -n kube-system get daemonset packet-capture --ignore-not-found --output name)
./kubectl.sh apply -f "${MANIFEST:-../daemonset.yaml}"
[[ ! $existed ]] || ./kubectl.sh -n kube-system rollout restart daemonset/packet-capture
./kubectl.sh -n kube-system rollout status daemonset/packet-capture --timeout=180s
