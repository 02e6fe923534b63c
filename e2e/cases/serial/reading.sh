# shellcheck shell=bash disable=SC2154
# What can be read after a crash of the controller, and after the pod. One at a time: each takes the controller from every pod of its node.

a_copy_goes_on_over_a_restart_of_the_container() {
  afterwards renew_controller # or the kubelet would let the next one killed wait
  local pid
  capture web 5
  mark web 7001
  within 20 captured web 'tcp port 7001'
  pid=$(pid_of web)
  kill_controller
  within 60 other_tcpdump web "$pid"
  mark web 7002
  within 20 captured web 'tcp port 7002'
  optional web pause=true
  within 20 not_capturing web
  copied web "$TMP/once"
  copied web "$TMP/all" --all
  shows_so_many "$TMP/all" frame "$(packets web)"
  shows_so_many "$TMP/once" 'tcp.dstport == 7001 && tcp.flags.syn == 1' 1
  shows_so_many "$TMP/once" 'tcp.dstport == 7002 && tcp.flags.syn == 1' 1
  is "$(repeated "$TMP/once")" ''
}

the_kept_files_of_a_deleted_pod_are_found_and_copied() {
  set_environment KEEP_AFTER_POD=5m
  afterwards renew_controller # the files are gone then
  capture web 5
  mark web 7001
  within 20 captured web 'tcp port 7001'
  delete_pod web
  within 20 not_capturing web
  within 20 row_has web finished
  cd "$TMP" || return
  plugin get web
  shows_so_many web.pcap 'tcp.dstport == 7001 && tcp.flags.syn == 1' 1
  is "$(value '.node} {.pod} {.state' <web.json)" "$NODE web finished"
}
