# shellcheck shell=bash disable=SC2154
# The content of the image, and how captures can be copied out of the container.

the_image_has_no_shell() {
  local shell said
  for shell in sh bash ash /bin/sh /busybox/sh busybox; do
    if said=$(in_controller "$shell" -c true 2>&1); then fail "$shell runs" || return; fi
    [[ $said == *'executable file not found'* || $said == *'no such file or directory'* ]] || fail "$shell: $said"
  done
}

the_image_is_below_12_mb_and_holds_five_programs() {
  local bytes
  bytes=$(docker image inspect --format '{{.Size}}' packet-capture:dev)
  ((bytes > 1000000 && bytes < 12000000)) || fail "$bytes bytes" || return
  is "$(in_controller ls /bin /sbin /usr/bin /usr/sbin /usr/local/bin 2>/dev/null | grep -v ':$' | sort | xargs)" 'cat ls packet-capture tar tcpdump'
}

captures_are_listed_with_ls() {
  capture web 5
  [[ " $(kubectl -n kube-system exec "$CONTROLLER" -- ls /captures | xargs) " == *" captres-web_$NS.pcap0 "* ]]
}

captures_are_copied_with_kubectl_cp() {
  capture web 5
  finish web # so that the file does not change any more
  within 30 phase_is web Succeeded
  within 20 not_capturing web
  local file
  file=$(files web)
  kubectl cp "kube-system/$CONTROLLER:captures/$file" "$TMP/copy" >/dev/null
  in_controller cat "/captures/$file" >"$TMP/original"
  cmp "$TMP/copy" "$TMP/original"
  [[ $(od -A n -t x4 -N 4 "$TMP/copy") == ' a1b2c3d4' ]]
}

the_root_file_system_of_the_container_is_read_only() {
  local options
  options=$(in_controller cat /proc/self/mounts | awk '$2 == "/" {print $4}')
  [[ $options, == ro,* ]]
}
