#!/usr/bin/env bash
# Measures time and peak memory of `packet-capture get` on a ring of 100 files, and of Debian's mergecap on the same files. Needs root.
# usage: get.sh [ROUNDS]
#
# The real tcpdump writes the ring, in a separate network namespace with a pair of interfaces as a pod has it: 75,000 UDP packets, each of
# which passes one interface. The script prints the best of ROUNDS rounds. In each round the files are in the page cache and the output is a pipe.
# mergecap -F pcap writes the same format as get; without -F pcap, mergecap writes pcapng. mergecap does not report what it could not read,
# cannot read while tcpdump writes, and copies all copies of a packet, as get --all does.
set -o errexit -o nounset -o pipefail
cd "$(dirname "$0")/.."
rounds=${1:-5}
files=100
sends=75000
pod=198.51.100.7
peer=198.51.100.200

if [[ -z ${BENCH_NAMESPACE:-} ]]; then
  e2e/install.sh tcpdump wireshark-common time iproute2
  cargo build --release --locked --quiet
  BENCH_NAMESPACE=1 exec unshare --net --mount "$0" "$@"
fi

get=${CARGO_TARGET_DIR:-target}/release/packet-capture
dir=$(mktemp -d)
children=()
cleanup() {
  ((${#children[@]} == 0)) || kill "${children[@]}" 2>/dev/null || true
  rm -r "$dir"
}
trap cleanup EXIT
mkdir "$dir/captures"
export CAPTURE_DIR=$dir/captures RUN_DIR=$dir

within() { # WHAT COMMAND...: repeats the command until it succeeds
  local what=$1 deadline=$((SECONDS + 30))
  shift
  until "$@"; do
    ((SECONDS < deadline)) || { echo "not within 30 s: $what" >&2; return 1; }
    sleep 0.1
  done
}
in_pod() { nsenter --net="/proc/$pod_pid/ns/net" "$@"; }
has_own_namespace() { [[ $(readlink "/proc/$pod_pid/ns/net") != $(readlink /proc/self/ns/net) ]]; }

make_ring() {
  mount -t sysfs sysfs /sys # get reads the interfaces of this namespace from /sys, to find the end of a pair
  unshare --net sleep infinity &
  pod_pid=$!
  children+=("$pod_pid")
  within 'a namespace for the pod' has_own_namespace
  ip link add veth0 type veth peer name eth0 netns "$pod_pid"
  ip link set veth0 up
  in_pod ip address add "$pod/24" dev eth0
  in_pod ip link set eth0 up
  # No machine has this address, so no answer disturbs the measurement.
  in_pod ip neighbour add "$peer" lladdr 02:00:00:00:00:01 dev eth0
  tcpdump -Z root -U -B 16384 -i any -C 1 -W "$files" -w "$CAPTURE_DIR/captres-web.pcap" host "$pod" 2>"$dir/said" &
  local tcpdump=$!
  children+=("$tcpdump")
  within 'tcpdump' grep -q 'listening on' "$dir/said"
  # shellcheck disable=SC2016 # for the inner shell
  in_pod bash -c 'data=$(head -c 1372 /dev/zero | tr "\0" .); exec 3>"/dev/udp/$1/9"; for ((n = 0; n < $2; n++)); do printf %s "$data" >&3; done' \
    _ "$peer" "$sends"
  within 'the last file' test -s "$CAPTURE_DIR/captres-web.pcap$((files - 1))"
  kill "$tcpdump"
  wait "$tcpdump" || true
  printf '{"version": 2, "captures": [{"namespace": "default", "pod": "web", "uid": "1", "sequence": 1, "state": "capturing", "history": [
    {"since": "2026-01-01T00:00:00Z", "addresses": ["%s"], "files": %s}]}]}' "$pod" "$files" >"$CAPTURE_DIR/.state.json"
}

measure() { # NAME COMMAND...: prints one line of the table
  local name=$1 packets
  shift
  packets=$("$@" 2>/dev/null | tcpdump --count -r - 2>/dev/null | cut -d ' ' -f 1)
  for ((round = 0; round < rounds; round++)); do
    /usr/bin/time -a -o "$dir/times" -f '%e %U %S %M' "$@" 2>/dev/null | cat >/dev/null
  done
  sort -n "$dir/times" | head -n 1 | {
    read -r elapsed user system kb
    printf '%-20s %9s %9s %9s %9s %9s\n' "$name" "$packets" "$elapsed" "$user" "$system" "$kb"
  }
  rm "$dir/times"
}

make_ring
# Without a warning, get shows each packet once. With a warning it would show all copies, and the measurement would be wrong.
said=$("$get" get web 2>&1 >/dev/null)
[[ $said == *'"warnings":[]'* ]] || { echo "get says: $said" >&2; exit 1; }
bytes=$(cat "$CAPTURE_DIR"/captres-web.pcap* | wc -c)
echo "$(nproc) x $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1), Linux $(uname -r), $(findmnt -no FSTYPE -T "$dir")"
echo "$(mergecap --version | head -n 1), $("$get" --version), best of $rounds rounds"
echo "$(find "$CAPTURE_DIR" -name 'captres-web.pcap*' | wc -l) files, $((bytes / 1000000)) MB, load $(cut -d ' ' -f 1-3 /proc/loadavg)"
printf '%-20s %9s %9s %9s %9s %9s\n' '' packets 'time (s)' 'user (s)' 'sys (s)' 'peak (kB)'
measure 'get' "$get" get web
measure 'get --all' "$get" get web --all
measure 'mergecap -F pcap' mergecap -F pcap -w - "$CAPTURE_DIR"/captres-web.pcap*
measure 'mergecap' mergecap -w - "$CAPTURE_DIR"/captres-web.pcap*
