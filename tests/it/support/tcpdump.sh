#!/bin/sh
# In tcpdump's place. Takes note of how it was started, writes a file as tcpdump would, and then does what the file
# $FAKE/<name of its files>.mode says. It waits by reading standard input, which the controller keeps open and silent, so
# that it needs no process beside its own. Asked to compile (-d), it rejects a filter with igmp, never comes to an end with one
# with pim, and takes any other.
# Asked to attach one (-w to where no file can be), it warns as libpcap does of one with sctp, which the kernel does not take.
args=$*
count=1
unfiltered() {
  echo "Warning: Couldn't allocate kernel memory for filter: try increasing net.core.optmem_max with sysctl" >&2
}
# Each compilation is noted with the time since the machine began.
case $args in
  *'-d -- '*)
    read -r uptime _ < /proc/uptime
    printf '%s\t%s\n' "$uptime" "${args#*'-d -- '}" >> "$FAKE/compiled"
    ;;
esac
case $args in
  *'-d -- '*igmp*)
    echo "tcpdump: syntax error in the script's opinion" >&2
    exit 1
    ;;
  *'-d -- '*pim*) while :; do :; done ;;
  *'-d -- '*) exit 0 ;;
  *'-w /dev/null/'*)
    case $args in
      *sctp*) unfiltered ;;
    esac
    echo "tcpdump: /dev/null/none: Not a directory" >&2
    exit 1
    ;;
esac
while [ $# -gt 0 ]; do
  case $1 in
    -W) count=$2 ;;
    -w) base=$2 ;;
  esac
  shift
done
name=${base##*/}

found=0
for file in "$base" "$base"[0-9]*; do
  [ -e "$file" ] && found=$((found + 1))
done
note() { printf '%s\t%s\t%s\t%s\t%s\n' "$1" $$ "${name%.pcap}" $found "$args" >> "$FAKE/log"; }
say() { printf 'tcpdump: %s\n' "$1" >&2; }
counts() { printf '12 packets captured\n14 packets received by filter\n3 packets dropped by kernel\n' >&2; }
end() {
  note ended
  while [ -e "$FAKE/$name.hold" ]; do sleep 0.02; done
  printf 'last words of %s\n' $$ >> "$file"
  counts
  exit 0
}
# Returns after a signal whose trap does not end the script. Anything else would mean that standard input has ended.
idle() {
  while :; do
    read -r _
    [ $? -gt 128 ] || { note orphaned; exit 9; }
  done
}

mode=polite
[ -e "$FAKE/$name.mode" ] && read -r mode < "$FAKE/$name.mode"
trap end TERM
[ "$mode" = deaf ] && trap '' TERM

file=$base
[ "$count" -gt 1 ] && file=${base}0
[ "$count" -gt 10 ] && file=${base}00
[ "$count" -gt 100 ] && file=${base}000
printf 'what tcpdump %s wrote, longer than a header\n' $$ > "$file"
say "data link type LINUX_SLL2"
note started

case $mode in
  crash)
    say "eth9: No such device exists"
    counts
    exit 1
    ;;
  done) exit 0 ;;
  enough)
    printf '%s packets captured\n' 88 >&2
    exit 0
    ;;
  chatter)
    trap - TERM
    while :; do say "0123456789 0123456789 0123456789 0123456789 0123456789 0123456789 0123456789"; done
    ;;
  unfiltered)
    unfiltered
    idle
    ;;
  frozen)
    kill -STOP $$
    idle
    ;;
  *) idle ;;
esac
