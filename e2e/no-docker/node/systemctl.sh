#!/usr/bin/env bash
# What kubeadm and Kind ask of systemd in a node: start, stop and restart of the kubelet and of containerd. The entrypoint
# starts both, and starts them again when they end.
action=${1:-} unit=${2:-}
case $action in
  start | restart) if [[ $unit == kubelet* ]]; then touch /var/lib/kubelet-wanted; fi ;;
  stop) if [[ $unit == kubelet* ]]; then rm -f /var/lib/kubelet-wanted; fi ;;
esac
case $action in
  stop | restart) pkill -x "${unit%.service}" ;;
esac
exit 0
