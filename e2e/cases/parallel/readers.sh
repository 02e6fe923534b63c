# shellcheck shell=bash disable=SC2154
# Readers without packets, readers that lose their client, and readers of a damaged file.

follows() { # POD: runs the plugin in the background, with output to $TMP/POD and $TMP/POD.said. The plugin ends when the reader of its output ends
  mkfifo "$TMP/$1.pipe"
  cat <"$TMP/$1.pipe" >"$TMP/$1" &
  readers+=($!)
  plugin follow "$1" >"$TMP/$1.pipe" 2>"$TMP/$1.said" &
}
is_empty_capture() { is "$(capinfos -T -r -M -t -E -c -s "$1" | cut -f 2-)" $'pcap\tlinux-sll2\t0\t24'; } # FILE
says() { grep --quiet --extended-regexp -- "^$2" "$TMP/$1.said" || fail "$(<"$TMP/$1.said")"; } # POD PATTERN: a line begins with the pattern
notes_are() { is "$(grep --count '^note: ' "$TMP/$1.said")" "$2"; }                               # POD COUNT

a_capture_that_does_not_run_gives_a_header_and_the_reason_at_once() {
  local readers=() pod
  pods refused paused
  optional refused filter='host example.com'
  optional paused pause=true
  annotate refused paused 5
  within 20 row_has refused refused 'tcpdump.antrea.io/filter'
  within 20 row_has paused paused 'the capture is paused by annotation'
  for pod in refused paused; do follows "$pod"; done
  for pod in refused paused; do within 10 is_empty_capture "$TMP/$pod"; done
  within 10 says refused "note: capture of $NS/refused: refused: annotation tcpdump.antrea.io/filter cannot be used: "
  within 10 says paused "note: capture of $NS/paused: paused: the capture is paused by annotation"
  for pod in refused paused; do
    copied "$pod" "$TMP/got"
    is_empty_capture "$TMP/got"
    says got "note: capture of $NS/$pod: $pod: "
    (cd "$TMP" && plugin get "$pod" -o "$pod.pcap" >/dev/null 2>"$pod.got.said")
    says "$pod.got" "note: capture of $NS/$pod: $pod: "
  done
  notes_are refused 1
  notes_are paused 1
  optional paused pause-
  within 20 says paused "note: capture of $NS/paused: capturing"
  within 20 shows "$TMP/paused" tcp
  optional refused filter-
  within 20 shows "$TMP/refused" tcp
  kill "${readers[@]}"
  for pod in refused paused; do within 60 nobody_reads follow "$pod"; done
}

get_and_follow_refuse_a_terminal_before_the_first_byte() {
  local verb code
  capture web 5
  for verb in get follow; do
    code=0
    timeout 30 script --quiet --return --command "kubectl -n kube-system exec -it $CONTROLLER -- packet-capture $verb $NS/web >$TMP/$verb 2>$TMP/$verb.err" \
      /dev/null </dev/null >/dev/null || code=$?
    is "$code" 2
    # The only line on the terminal is the error; there are no packets. `script` ends its input with a control character, which the terminal
    # in the container may echo before or after the error: as it is, or as ^ and a letter.
    tr --delete '\000-\010\r' <"$TMP/$verb" | sed 's/\^[@A-Z]//g' >"$TMP/$verb.shown"
    [[ $(<"$TMP/$verb.shown") == 'error: standard output is a terminal'* ]] || fail "$(cat -A "$TMP/$verb")" || return
    (($(grep --count . "$TMP/$verb.shown") == 1)) || fail "$(cat -A "$TMP/$verb")" || return
  done
  nobody_reads follow web
}

a_reader_ends_within_a_minute_after_its_client() {
  local clients=()
  capture web 5
  download web
  mkfifo "$TMP/held" "$TMP/unread"
  exec 7<>"$TMP/held" 8<>"$TMP/unread"
  # Nobody reads the output, so both readers block. The second reader has no standard input, so it cannot notice the end of its client.
  kubectl -n kube-system exec -i "$CONTROLLER" -- packet-capture follow "$NS/web" --all <&7 >&8 2>/dev/null &
  clients+=($!)
  kubectl -n kube-system exec "$CONTROLLER" -- packet-capture follow "$NS/web" --all </dev/null >&8 2>/dev/null &
  clients+=($!)
  within 20 two_followers web
  kill -KILL "${clients[@]}"
  within 60 nobody_reads follow web
  exec 7>&- 8>&-
}
two_followers() { is "$(readers_here follow "$1" | wc -l)" 2; } # POD

victim() { echo "/proc/$(controller_pid)/root/captures/$(files web | head -n 1)"; } # the path of web's file on its node

get_reports_damage_and_invents_no_packet() {
  local whole size
  capture web 5
  mark web 7001
  within 20 captured web 'tcp port 7001'
  optional web pause=true
  within 20 not_capturing web
  copied web "$TMP/whole"
  whole=$(capinfos -T -r -M -c "$TMP/whole" | cut -f 2)

  docker exec "$NODE" sh -c "head -c 4096 /dev/zero >>$(victim)"
  copied web "$TMP/nuls"
  is "$(capinfos -T -r -M -c "$TMP/nuls" | cut -f 2)" "$whole"
  says nuls 'warning: 1 file was cut off within a packet or damaged; .* 4096 bytes were not copied, '
  is "$(shark "$TMP/nuls" -Y 'frame.time_epoch < 1000000000' | wc -l)" 0

  # The header of the first packet says 200,000 bytes, which is more than the file has.
  size=$(docker exec "$NODE" stat -c %s "$(victim)")
  ((size < 200000))
  printf '\100\015\003\000\100\015\003\000' | docker exec -i "$NODE" dd of="$(victim)" bs=1 seek=32 conv=notrunc status=none
  verb get "$NS/web" >"$TMP/long" 2>"$TMP/long.said"
  is_empty_capture "$TMP/long"
  says long "warning: 1 file was cut off within a packet or damaged; .* $((size - 24)) bytes were not copied, from byte 24 of "
}
