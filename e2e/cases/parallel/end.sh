# shellcheck shell=bash disable=SC2154
# The end of a capture: what is deleted, and what is kept.

a_removed_annotation_stops_tcpdump_and_deletes_its_files() {
  capture web 5
  unannotate web
  within 20 gone web
  within 20 has_event web CaptureStopped packet
}

a_removed_annotation_deletes_no_file_of_a_pod_with_a_similar_name() {
  local web=web-$NS
  NS=default
  local neighbours=("$web-2" "$web.pcap1" "$web.pcap") neighbour pids
  capture "$web" "${neighbours[@]}" 5
  for neighbour in "${neighbours[@]}"; do
    mark "$neighbour" 7001
    within 20 captured "$neighbour" 'tcp port 7001'
  done
  pids=$(for neighbour in "${neighbours[@]}"; do pid_of "$neighbour"; done)
  unannotate "$web"
  within 20 gone "$web"
  for neighbour in "${neighbours[@]}"; do
    captured "$neighbour" 'tcp port 7001'
  done
  is "$(for neighbour in "${neighbours[@]}"; do pid_of "$neighbour"; done)" "$pids"
}

pods_of_one_name_in_two_namespaces_have_two_captures() {
  capture web 5
  local first=$NS pid
  pid=$(pid_of web)
  NS=$first-b
  namespace "$NS"
  capture web 3
  is "$(packets web "not ($(hosts web))")" 0
  unannotate web
  within 20 gone web
  NS=$first
  same_tcpdump web "$pid"
  captured web
  is "$(packets web "not ($(hosts web))")" 0
}

an_annotation_removed_and_set_again_starts_with_an_empty_ring() {
  capture web 5
  mark web 7001
  within 20 captured web 'tcp port 7001'
  local pid
  pid=$(pid_of web)
  unannotate web
  annotate web 5
  within 20 other_tcpdump web "$pid"
  within 20 captured web
  is "$(packets web 'tcp port 7001')" 0
}

a_deleted_pod_loses_its_files() {
  capture web 5
  delete_pod web
  within 20 gone web
}

a_finished_pod_keeps_its_files_until_the_annotation_is_removed() {
  capture web 5
  mark web 7001
  within 20 captured web 'tcp port 7001'
  finish web
  within 30 phase_is web Succeeded
  within 20 not_capturing web
  within 20 has_event web CaptureFinished
  captured web 'tcp port 7001'
  annotate web 6 # has no effect: another pod may have the address by now
  unannotate web
  within 20 gone web
}

a_finished_pod_keeps_its_files_until_it_is_deleted() {
  capture web 5
  finish web
  within 30 phase_is web Succeeded
  within 20 not_capturing web
  captured web
  delete_pod web
  within 20 gone web
}

a_pod_that_finished_before_its_capture_gets_an_event() {
  pods web
  finish web
  within 30 phase_is web Succeeded
  annotate web 5
  within 20 has_event web CaptureMissed
  gone web
}

a_pod_recreated_under_its_name_starts_with_an_empty_ring() {
  capture web 5
  mark web 7001
  within 20 captured web 'tcp port 7001'
  local pid
  pid=$(pid_of web)
  pod_yaml web 3 | kubectl replace --force -f - >/dev/null
  within 60 captured_where_it_is web
  other_tcpdump web "$pid"
  capturing web 3
  [[ $(tcpdumps web) == *" $(hosts web)" ]]
  is "$(packets web 'tcp port 7001')" 0
  is "$(packets web "not ($(hosts web))")" 0
}
