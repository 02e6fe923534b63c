#!/usr/bin/env bash
# Time and peak memory of `packet-capture get` on a ring of 100 files, next to Debian's mergecap on the same files. As root.
# usage: get.sh [ROUNDS]
#
# The real tcpdump writes the ring, in a network namespace of its own with a pod's pair of interfaces: some 75,000 UDP packets, each
# of which passes one interface. The best of some rounds is shown, all of them with the files in the page cache, into a pipe.
# mergecap's -F pcap writes the same format as get does; without, it writes pcapng. mergecap does not say what it could not read,
# does not read while tcpdump writes, and gives all copies of a packet, as get --all does.
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

within() { # WHAT COMMAND...: waits until it succeeds
  local what=$1 deadline=$((SECONDS + 30))
  shift
  until "$@"; do
    ((SECONDS < deadline)) || { echo "waited in vain: $what" >&2; return 1; }
    sleep 0.1
  done
}
in_pod() { nsenter --net="/proc/$pod_pid/ns/net" "$@"; }
is_apart() { [[ $(readlink "/proc/$pod_pid/ns/net") != $(readlink /proc/self/ns/net) ]]; }

make_ring() {
  mount -t sysfs sysfs /sys # where get looks which interface is one end of a pair: those of this namespace
  unshare --net sleep infinity &
  pod_pid=$!
  children+=("$pod_pid")
  within 'a namespace for the pod' is_apart
  ip link add veth0 type veth peer name eth0 netns "$pod_pid"
  ip link set veth0 up
  in_pod ip address add "$pod/24" dev eth0
  in_pod ip link set eth0 up
  # Nobody has this address, so nobody answers.
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

measure() { # NAME COMMAND...: a line of the table
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
# What is measured must be what is asked for: with a warning all copies of a packet would be shown.
said=$("$get" get web 2>&1 >/dev/null)
[[ $said =~ ^[0-9]+\ packets,\ [0-9]+\ bytes$ ]] || { echo "get says: $said" >&2; exit 1; }
bytes=$(cat "$CAPTURE_DIR"/captres-web.pcap* | wc -c)
echo "$(nproc) x $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1), Linux $(uname -r), $(findmnt -no FSTYPE -T "$dir")"
echo "$(mergecap --version | head -n 1), $("$get" --version), best of $rounds rounds"
echo "$(find "$CAPTURE_DIR" -name 'captres-web.pcap*' | wc -l) files, $((bytes / 1000000)) MB, load $(cut -d ' ' -f 1-3 /proc/loadavg)"
printf '%-20s %9s %9s %9s %9s %9s\n' '' packets 'time (s)' 'user (s)' 'sys (s)' 'peak (kB)'
measure 'get' "$get" get web
measure 'get --all' "$get" get web --all
measure 'mergecap -F pcap' mergecap -F pcap -w - "$CAPTURE_DIR"/captres-web.pcap*
measure 'mergecap' mergecap -w - "$CAPTURE_DIR"/captres-web.pcap*
