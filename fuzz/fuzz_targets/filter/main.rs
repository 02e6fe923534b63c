//! What [`check`] lets through keeps its promises in the hands of libpcap, and of the real tcpdump for a sample.
//!
//! - It compiles, or libpcap says why not: no crash (libFuzzer sees that), no hang (its `-timeout`).
//! - No name is looked up ([`lookups`]).
//! - `(host A or host B) and (EXPR)` accepts no packet that `host A or host B` does not: neither one of [`frames::foreign`]
//!   nor one that the input makes of any frame.
//!
//! An input is four bytes that choose a frame and what is changed in it, and then the text: see [`text::of`].

#![no_main]

mod frames;
mod lookups;
mod pcap;
mod tcpdump;
mod text;

use std::{sync::LazyLock, time::Duration};

use libfuzzer_sys::fuzz_target;
use packet_capture::core::filter::check;

/// The pod's addresses.
const HOSTS: &str = "host 10.0.0.1 or host fd00::1";

/// One text of so many is given to the real tcpdump too, which takes a thousand times as long.
const TCPDUMP_EVERY: u64 = 1000;

/// How long tcpdump may take to compile.
const COMPILE_MAX: Duration = Duration::from_secs(5);

struct World {
    hosts: pcap::Program,
    foreign: Vec<Vec<u8>>,
    all: Vec<Vec<u8>>,
    tcpdump: tcpdump::Tcpdump,
}

static WORLD: LazyLock<World> = LazyLock::new(|| {
    lookups::prove_that_they_are_seen();
    let hosts = pcap::Program::compile(HOSTS).expect("the hosts alone compile");
    let foreign = frames::foreign();
    let own = frames::own();
    for frame in &foreign {
        assert!(!hosts.accepts(frame), "not foreign: {frame:02x?}");
    }
    for frame in &own {
        assert!(hosts.accepts(frame), "not the pod's: {frame:02x?}");
    }
    let tcpdump = tcpdump::Tcpdump::new(&foreign);
    World { hosts, all: foreign.iter().cloned().chain(own).collect(), foreign, tcpdump }
});

fuzz_target!(|input: &[u8]| {
    let world = &*WORLD;
    let Some((&[which, more, at, value], rest)) = input.split_first_chunk::<4>() else { return };
    let text = text::of(rest);
    if check(&text).is_err() {
        return;
    }
    let began_us = pcap::processor_us();
    let alone = pcap::Program::compile(&text);
    let whole = format!("({HOSTS}) and ({text})");
    let program = pcap::Program::compile(&whole);
    pcap::note_time(pcap::processor_us() - began_us, &text);
    assert_eq!(lookups::seen(), 0, "a name was looked up: {text}");

    if let Ok(program) = &program {
        for frame in &world.foreign {
            assert!(!program.accepts(frame), "{text}: accepts the foreign frame {frame:02x?}");
        }
        let mut frame = world.all[(usize::from(more) * 256 + usize::from(which)) % world.all.len()].clone();
        let at = usize::from(at) % frame.len();
        frame[at] = value;
        assert!(
            !program.accepts(&frame) || world.hosts.accepts(&frame),
            "{text}: accepts the foreign frame {frame:02x?}"
        );
    }
    let hash =
        text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, b| (hash ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
    if (hash >> 20).is_multiple_of(TCPDUMP_EVERY) {
        world.tcpdump.agrees(&text, alone.is_ok(), COMPILE_MAX);
        world.tcpdump.finds_nothing(&whole, program.is_ok(), COMPILE_MAX);
    }
});
