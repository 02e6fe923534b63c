use super::*;

const SILENCE: Duration = Duration::from_secs(1);

/// A packet with this time; its bytes tell it from others of the same time.
fn packet(time_ns: u64, bytes: &[u8]) -> Packet {
    Packet { time_ns, length: 100, bytes: bytes.to_vec() }
}

/// What can go now, as times.
fn gone(merge: &mut Merge, now: Instant) -> Vec<u64> {
    std::iter::from_fn(|| merge.tick(now)).map(|merged| merged.packet.time_ns).collect()
}

/// Numbers that look random and are the same for the same seed (xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

#[test]
fn a_packet_goes_once_every_source_has_shown_its_next_one_or_has_ended() {
    let now = Instant::now();
    let mut merge = Merge::new(SILENCE);
    let [a, b, c] = [0; 3].map(|offset| merge.add(offset, now));
    merge.push(a, packet(3, b"")).unwrap();
    merge.push(b, packet(2, b"")).unwrap();
    assert_eq!(gone(&mut merge, now), [0; 0]);
    merge.end(c);
    assert_eq!(gone(&mut merge, now), [2]);
    merge.push(b, packet(4, b"")).unwrap();
    assert_eq!(gone(&mut merge, now), [3]);
    merge.end(a);
    assert!(!merge.has_ended());
    assert_eq!(gone(&mut merge, now), [4]);
    merge.end(b);
    assert!(merge.has_ended());
}

#[test]
fn a_silent_source_is_waited_for_until_its_bound_and_its_late_packets_go_and_are_counted() {
    let now = Instant::now();
    let mut merge = Merge::new(SILENCE);
    let (quiet, busy) = (merge.add(0, now), merge.add(0, now));
    assert_eq!(merge.wake_at(), None, "no packet waits");
    merge.push(busy, packet(10, b"")).unwrap();
    merge.push(busy, packet(20, b"")).unwrap();
    assert_eq!(merge.wake_at(), Some(now + SILENCE));
    assert_eq!(gone(&mut merge, now + SILENCE - Duration::from_nanos(1)), [0; 0]);
    assert_eq!(gone(&mut merge, now + SILENCE), [10, 20]);
    // Nothing waits for the quiet source a second time. The busy one is waited for, and holds back what the quiet one delivers.
    let later = now + SILENCE * 3 / 2;
    merge.push(quiet, packet(15, b"")).unwrap();
    merge.push(quiet, packet(19, b"")).unwrap();
    merge.push(quiet, packet(20, b"")).unwrap();
    assert_eq!(merge.wake_at(), Some(now + SILENCE * 2));
    assert_eq!(merge.tick(later), None);
    merge.end(busy);
    let late: Vec<bool> = std::iter::from_fn(|| merge.tick(later)).map(|merged| merged.is_late).collect();
    assert_eq!(late, [true, true, false]);
    assert_eq!((merge.late(quiet), merge.late(busy)), (2, 0));
    // A source that delivers again is waited for again.
    let third = merge.add(0, now);
    merge.push(third, packet(30, b"")).unwrap();
    assert_eq!(merge.wake_at(), Some(later + SILENCE));
    assert_eq!(gone(&mut merge, later), [0; 0]);
    assert_eq!(gone(&mut merge, later + SILENCE), [30]);
}

#[test]
fn a_clock_offset_moves_the_times_of_its_source_within_what_a_time_can_be() {
    let now = Instant::now();
    let mut merge = Merge::new(SILENCE);
    let (ahead, behind) = (merge.add(-50, now), merge.add(50, now));
    merge.push(ahead, packet(120, b"")).unwrap();
    merge.push(ahead, packet(10, b"")).unwrap();
    merge.push(behind, packet(10, b"")).unwrap();
    merge.push(behind, packet(u64::MAX - 1, b"")).unwrap();
    merge.end(ahead);
    merge.end(behind);
    assert_eq!(gone(&mut merge, now), [60, 70, 0, u64::MAX]);
    assert_eq!(merge.late(ahead), 1);
}

#[test]
fn memory_is_bounded_and_a_source_without_a_packet_may_always_deliver_one() {
    let now = Instant::now();
    let mut merge = Merge::with_bytes_max(SILENCE, 10 * (PACKET_COST_BYTES + 100));
    let (fast, slow) = (merge.add(0, now), merge.add(0, now));
    let long = packet(1, &[0; 100]);
    let taken = std::iter::repeat_with(|| merge.push(fast, long.clone())).take_while(Result::is_ok).count();
    assert_eq!(taken, 10);
    assert_eq!(merge.push(fast, long.clone()), Err(Full(long.clone())));
    // Packets without bytes are not free either.
    assert_eq!(merge.push(fast, packet(1, b"")), Err(Full(packet(1, b""))));
    merge.push(slow, packet(2, &[0; 100])).unwrap();
    assert_eq!(merge.push(slow, long.clone()), Err(Full(long.clone())));
    assert_eq!(gone(&mut merge, now), [1; 10]);
    merge.push(fast, long.clone()).unwrap();
    merge.push(slow, long).unwrap();
}

#[test]
fn whatever_the_pace_of_the_sources_the_order_is_that_of_a_stable_sort() {
    for seed in 1..=300_u64 {
        let mut random = Random(seed << 32 | 0x9E37_79B9);
        let now = Instant::now();
        let mut merge = Merge::with_bytes_max(SILENCE, 8 * PACKET_COST_BYTES);
        let mut left = Vec::new();
        let mut expected = Vec::new();
        for source in 0..1 + random.below(5) {
            let offset = random.below(7).cast_signed() - 3;
            let mut times: Vec<u64> = (0..random.below(40)).map(|_| 10 + random.below(30)).collect();
            times.sort_unstable();
            let id = merge.add(offset, now);
            let packets = times.iter().zip(0_u8..).map(|(&time, number)| packet(time, &[number, 0]));
            let packets: VecDeque<Packet> = packets.collect();
            expected.extend(packets.iter().map(|packet| {
                let time_ns = packet.time_ns.checked_add_signed(offset).unwrap();
                Merged { source: id, packet: Packet { time_ns, ..packet.clone() }, is_late: false }
            }));
            assert_eq!(id, SourceId(usize::try_from(source).unwrap()));
            left.push((id, packets));
        }
        // `expected` has the sources in turn, and the sort is stable.
        expected.sort_by_key(|merged| merged.packet.time_ns);
        let mut merged = Vec::new();
        // Each step something is delivered or taken out, or a source is full and others are not; none may hang.
        for _ in 0..10_000 {
            if left.is_empty() {
                break;
            }
            let chosen = usize::try_from(random.below(left.len() as u64)).unwrap();
            let (id, packets) = &mut left[chosen];
            match packets.pop_front() {
                None => {
                    merge.end(*id);
                    left.swap_remove(chosen);
                }
                Some(packet) => {
                    if let Err(Full(packet)) = merge.push(*id, packet) {
                        packets.push_front(packet);
                    }
                }
            }
            assert!(merge.bytes <= (8 + 5) * (PACKET_COST_BYTES + 2), "seed {seed}");
            if random.below(3) == 0 {
                merged.extend(std::iter::from_fn(|| merge.tick(now)));
            }
        }
        merged.extend(std::iter::from_fn(|| merge.tick(now)));
        assert!(merge.has_ended(), "seed {seed}");
        assert_eq!(merged, expected, "seed {seed}");
    }
}
