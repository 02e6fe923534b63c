//! The rules of a selection, without files and without waiting.

use super::*;

const POD: [u8; 4] = [10, 0, 0, 1];
const PEER: [u8; 4] = [10, 0, 9, 9];
/// The pod's end of a pair, another pod's, and the network card.
const OWN: u32 = 11;
const OTHER: u32 = 12;
const CARD: u32 = 1;

fn kind(interface: u32) -> Kind {
    if interface == CARD { Kind::Shared } else { Kind::Pair }
}

/// A UDP packet from or to the pod, as `-i any` records it, a second after the one with the number before.
fn packet(number: u32, interface: u32, outgoing: bool, from: [u8; 4], to: [u8; 4]) -> Vec<u8> {
    let mut packet = vec![0; 48];
    packet[..2].copy_from_slice(&[0x08, 0x00]);
    packet[4..8].copy_from_slice(&interface.to_be_bytes());
    packet[10] = if outgoing { 4 } else { 0 };
    (packet[20], packet[29]) = (0x45, 17);
    packet[32..36].copy_from_slice(&from);
    packet[36..40].copy_from_slice(&to);
    [[number, 0, 48, 48].map(u32::to_ne_bytes).concat(), packet].concat()
}

fn sent(number: u32) -> Vec<u8> {
    packet(number, OWN, false, POD, PEER)
}

fn sent_on(number: u32) -> Vec<u8> {
    packet(number, CARD, true, POD, PEER)
}

/// A packet for the pod on the card, where it comes in.
fn coming(number: u32) -> Vec<u8> {
    packet(number, CARD, false, PEER, POD)
}

fn arp(number: u32) -> Vec<u8> {
    let mut arp = sent(number);
    arp[17] = 6;
    arp
}

/// A selection with a clock of its own, and what it has shown so far.
struct Test {
    selection: Selection,
    now: Instant,
    shown: Vec<u32>,
    warnings: Vec<Warning>,
}

impl Test {
    fn new(extent: Extent) -> Self {
        let mut selection = Selection::once(extent, kind);
        selection.add_addresses([POD.into()]);
        Self { selection, now: Instant::now(), shown: vec![], warnings: vec![] }
    }

    /// A selection that has surveyed these records, and is offered them then.
    fn of(extent: Extent, records: &[Vec<u8>]) -> Self {
        let mut test = Self::new(extent);
        for bytes in records {
            test.selection.survey(record(bytes));
        }
        test.warnings.extend(test.selection.conclude());
        test.offer(records);
        test
    }

    fn offer(&mut self, records: &[Vec<u8>]) {
        for bytes in records {
            let emit = self.selection.offer(record(bytes), self.now);
            let offered = emit.offered.then(|| number(record(bytes)));
            self.take(emit);
            self.shown.extend(offered);
        }
    }

    fn recheck_after(&mut self, time: Duration, is_last: bool) {
        self.now += time;
        let emit = self.selection.recheck(self.now, is_last);
        self.take(emit);
    }

    fn take(&mut self, emit: Emit) {
        self.shown.extend(emit.released().map(number));
        self.warnings.extend(emit.warning);
    }

    fn has(&self, shown: impl IntoIterator<Item = u32>, warnings: &[Warning]) {
        assert_eq!((&self.shown, &self.warnings[..]), (&shown.into_iter().collect(), warnings));
    }
}

fn record(bytes: &[u8]) -> Record<'_> {
    let Next::Record(record) = pcap::next(bytes) else { panic!("no record") };
    record
}

fn number(record: Record) -> u32 {
    u32::try_from(record.time_us() / 1_000_000).unwrap()
}

#[test]
fn a_selection_shows_the_copies_of_the_pods_own_interface() {
    let records = [sent(1), sent_on(2), arp(3), coming(4), packet(5, OWN, true, PEER, POD)];
    let test = Test::of(Extent::Kept, &records);
    test.has([1, 3, 5], &[]);
    assert_eq!(test.selection.seen_elsewhere(false), None);
    let mut all = Test { selection: Selection::all(), ..Test::new(Extent::Kept) };
    all.offer(&records);
    all.has(1..6, &[]);
}

#[test]
fn a_selection_shows_all_copies_where_no_interface_can_be_the_pods() {
    // Far copies only; a packet of an address that the pod is not known to have; and none at all, which warns of nothing.
    Test::of(Extent::Kept, &[sent_on(1), coming(2)]).has([1, 2], &[Warning::InterfaceUnknown]);
    Test::of(Extent::Growing, &[sent_on(1), coming(2)]).has([1, 2], &[Warning::InterfaceUnknown]);
    Test::of(Extent::Kept, &[packet(1, OWN, false, PEER, PEER)]).has([1], &[Warning::InterfaceUnknown]);
    Test::of(Extent::Kept, &[]).has([], &[]);
    let bypassing = [sent(1), coming(2), coming(3), sent(4)];
    Test::of(Extent::Kept, &bypassing).has(1..5, &[Warning::InterfaceBypassed { packets: 2 }]);
    // Of a capture that grows, so few packets prove nothing.
    Test::of(Extent::Growing, &bypassing).has([1, 4], &[]);
}

#[test]
fn a_growing_selection_holds_records_back_until_it_knows_the_interface() {
    let mut test = Test::of(Extent::Growing, &[]);
    test.offer(&[arp(1), sent_on(2)]);
    test.recheck_after(UNDECIDED_MAX, false);
    test.has([], &[]);
    test.offer(&[sent(3), sent_on(4), sent(5)]);
    test.recheck_after(UNDECIDED_MAX * 2, false);
    test.has([1, 3, 5], &[]);
}

#[test]
fn a_growing_selection_holds_records_back_for_a_bounded_time() {
    let mut test = Test::of(Extent::Growing, &[]);
    test.offer(&[sent_on(1)]);
    test.recheck_after(UNDECIDED_MAX + Duration::from_millis(1), false);
    test.has([1], &[Warning::InterfaceUnknown]);
    test.offer(&[sent(2), sent_on(3)]);
    test.has([1, 2, 3], &[Warning::InterfaceUnknown]);
    // The capture's end is the end of waiting, too.
    let mut test = Test::of(Extent::Growing, &[]);
    test.offer(&[sent_on(1)]);
    test.recheck_after(Duration::ZERO, true);
    test.has([1], &[Warning::InterfaceUnknown]);
}

#[test]
fn packets_without_an_address_are_released_and_the_next_ones_still_shown_once() {
    let mut test = Test::of(Extent::Growing, &[]);
    test.offer(&[arp(1)]);
    test.recheck_after(UNDECIDED_MAX + Duration::from_millis(1), false);
    test.has([1], &[]);
    test.offer(&[sent(2), sent_on(3)]);
    test.has([1, 2], &[]);
}

#[test]
fn a_growing_selection_that_waits_no_longer_shows_the_interface_it_knows_by_then() {
    // When the interface came up, most packets had bypassed it; since then none has.
    let mut test = Test::of(Extent::Growing, &[]);
    test.offer(&(1..81).map(coming).collect::<Vec<_>>());
    test.offer(&(81..401).map(|number| packet(number, OWN, true, PEER, POD)).collect::<Vec<_>>());
    test.has([], &[]);
    test.recheck_after(UNDECIDED_MAX + Duration::from_millis(1), false);
    test.has(81..401, &[]);
    test.offer(&[sent(401), sent_on(402)]);
    test.has((81..401).chain([401]), &[]);
}

#[test]
fn a_growing_selection_holds_a_bounded_number_of_bytes_back() {
    let mut test = Test::of(Extent::Growing, &[]);
    let count = u32::try_from(HELD_BYTES_MAX / (64 + HELD_EACH_BYTES)).unwrap();
    test.offer(&(1..=count).map(sent_on).collect::<Vec<_>>());
    test.has([], &[]);
    test.offer(&[sent_on(count + 1)]);
    test.has(1..count + 2, &[Warning::InterfaceUnknown]);
}

#[test]
fn a_growing_selection_shows_all_copies_once_packets_bypass_the_interface() {
    let mut test = Test::of(Extent::Growing, &[sent(1)]);
    // The first and the last may have a copy beyond the ends, so two more than the least.
    test.offer(&(2..70).map(coming).collect::<Vec<_>>());
    test.recheck_after(Duration::ZERO, false);
    let Some(Warning::InterfaceBypassed { packets: BYPASSED_MIN.. }) = test.warnings.pop() else { panic!() };
    test.offer(&[coming(70)]);
    test.has([1, 70], &[]);
    // At its end only their number is told.
    let mut test = Test::of(Extent::Growing, &[sent(1)]);
    test.offer(&(2..70).map(coming).collect::<Vec<_>>());
    test.recheck_after(Duration::ZERO, true);
    test.has([1], &[]);
    assert!(matches!(test.selection.seen_elsewhere(true), Some(Warning::SeenElsewhere { packets: BYPASSED_MIN.. })));
}

#[test]
fn packets_seen_elsewhere_are_counted_and_a_few_say_nothing_where_files_were_lost() {
    let dropped = |number| packet(number, OTHER, true, PEER, POD);
    let own = (1..9).map(|number| packet(number, OWN, true, PEER, POD));
    let records: Vec<_> = [sent(0)].into_iter().chain(own).chain((9..12).map(sent_on)).chain([sent(12)]).collect();
    let test = Test::of(Extent::Kept, &records);
    assert_eq!(test.selection.seen_elsewhere(false), None);
    let mut more = Test::of(Extent::Kept, &records);
    more.offer(&(13..30).map(dropped).collect::<Vec<_>>());
    let Some(Warning::SeenElsewhere { packets }) = more.selection.seen_elsewhere(false) else { panic!() };
    assert!((8..=17).contains(&packets), "{packets}");
    assert_eq!(more.selection.seen_elsewhere(true), None);
}

#[test]
fn a_pod_that_changes_its_address_and_its_interface_is_still_shown() {
    let mut test = Test::of(Extent::Growing, &[sent(1)]);
    test.selection.add_addresses([[10, 0, 0, 7].into()]);
    test.offer(&[packet(2, OTHER, false, [10, 0, 0, 7], PEER), packet(3, CARD, true, [10, 0, 0, 7], PEER)]);
    test.has([1, 2], &[]);
}
