# shellcheck shell=bash disable=SC2154
# Reading after a crash of the controller, and after the deletion of the pod. These cases are serial, because each stops the controller for all
# pods of its node.

get_shows_packets_across_a_restart_of_the_container() {
  afterwards replace_controller # otherwise the kubelet would delay the restart in the next case
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

get_copies_the_retained_files_of_a_deleted_pod() {
  set_environment KEEP_AFTER_POD=5m
  afterwards replace_controller # this deletes the retained files
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
