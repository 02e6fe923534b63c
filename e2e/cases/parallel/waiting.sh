# shellcheck shell=bash disable=SC2154
# A pod that runs before the API server knows its address.

events_report_a_delayed_address_before_and_after_the_start() {
  pod_with web 5 '{"op": "add", "path": "/spec/containers/0/lifecycle", "value": {"postStart": {"exec": {"command": ["sleep", "20"]}}}}'
  within 60 has_event web CaptureWaiting 'Packets before that are not captured' 'containers may run already' postStart
  is "$(ips web)" ''
  within 60 has_event web CaptureStarted "packets from before the API server knew the pod's address were not captured"
  within 20 captured web
  event_count_is web CaptureWaiting 1
}

events_report_no_missed_packets_if_the_address_came_in_time() {
  capture web 5
  within 20 has_event web CaptureStarted
  not has_event web CaptureStarted 'were not captured'
  event_count_is web CaptureWaiting 0
}
