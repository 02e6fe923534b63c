# shellcheck shell=bash disable=SC2154
# A pod that runs before the API server knows its address.

a_hook_that_delays_the_address_is_told_of_before_and_after() {
  pod_with web 5 '{"op": "add", "path": "/spec/containers/0/lifecycle", "value": {"postStart": {"exec": {"command": ["sleep", "20"]}}}}'
  within 60 has_event web CaptureWaiting 'Packets before that are not captured' 'containers may run already' postStart
  is "$(ips web)" ''
  within 60 has_event web CaptureStarted "packets from before the API server knew the pod's address were not captured"
  within 20 captured web
  event_count_is web CaptureWaiting 1
}

a_pod_that_has_its_address_in_time_is_told_of_nothing_missed() {
  capture web 5
  within 20 has_event web CaptureStarted
  not has_event web CaptureStarted 'were not captured'
  event_count_is web CaptureWaiting 0
}
