use super::*;

/// A block as it stands in a file: its type, its fields, and its options.
#[derive(Debug)]
struct Read<'a> {
    kind: u32,
    body: &'a [u8],
}

fn u16_at(bytes: &[u8], at: usize) -> usize {
    usize::from(bytes[at]) | usize::from(bytes[at + 1]) << 8
}

fn u32_at(bytes: &[u8], at: usize) -> usize {
    u16_at(bytes, at) | u16_at(bytes, at + 2) << 16
}

/// A reader that shares no code with the writer. It panics where a file is not what the format says.
fn blocks(mut file: &[u8]) -> Vec<Read<'_>> {
    let mut blocks = Vec::new();
    while !file.is_empty() {
        let length = u32_at(file, 4);
        assert_eq!(length % 4, 0);
        assert_eq!(u32_at(file, length - 4), length, "the two lengths of a block");
        blocks.push(Read { kind: u32::try_from(u32_at(file, 0)).unwrap(), body: &file[8..length - 4] });
        file = &file[length..];
    }
    blocks
}

/// The options or records in some bytes, and what comes after their end.
fn tagged(mut bytes: &[u8]) -> (Vec<(usize, &[u8])>, &[u8]) {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let (tag, length) = (u16_at(bytes, 0), u16_at(bytes, 2));
        if tag == 0 {
            assert_eq!(length, 0);
            return (found, &bytes[4..]);
        }
        let padded = length.div_ceil(4) * 4;
        assert!(bytes[4 + length..4 + padded].iter().all(|&byte| byte == 0), "padding");
        found.push((tag, &bytes[4..4 + length]));
        bytes = &bytes[4 + padded..];
    }
    assert!(found.is_empty(), "options without an end");
    (found, bytes)
}

fn options<'a>(block: &Read<'a>, fields: usize) -> Vec<(usize, &'a [u8])> {
    let (options, rest) = tagged(&block.body[fields..]);
    assert!(rest.is_empty());
    options
}

fn interface(resolution: Resolution) -> Interface {
    Interface {
        name: "shop/web-0".into(),
        description: "node kind-worker".into(),
        filter: "tcp port 80".into(),
        link_type: 276,
        snaplen: 262_144,
        resolution,
        comments: vec!["é".into()],
    }
}

fn packet(time_ns: u64, bytes: &[u8]) -> Packet {
    Packet { time_ns, length: 1500, bytes: bytes.to_vec() }
}

#[test]
fn a_section_begins_with_what_it_says_of_itself() {
    let section = Section {
        hardware: "x86_64".into(),
        os: String::new(),
        application: "kubectl packet-capture".into(),
        comments: vec!["one".into(), String::new(), "two".into()],
    };
    let file = Writer::new(Vec::new(), &section).unwrap().into_inner();
    let blocks = blocks(&file);
    assert_eq!((blocks.len(), blocks[0].kind), (1, 0x0A0D_0D0A));
    assert_eq!(blocks[0].body[..16], [&[0x4D, 0x3C, 0x2B, 0x1A, 1, 0, 0, 0][..], &[0xFF; 8]].concat());
    let expected = [(1, &b"one"[..]), (1, b"two"), (2, b"x86_64"), (4, b"kubectl packet-capture")];
    assert_eq!(options(&blocks[0], 16), expected);
    let bare = Writer::new(Vec::new(), &Section::default()).unwrap().into_inner();
    assert_eq!(bare.len(), 28, "no options, and no end of options");
}

#[test]
fn interfaces_come_at_any_time_each_with_its_unit_of_time() {
    let mut writer = Writer::new(Vec::new(), &Section::default()).unwrap();
    let micros = writer.interface(&interface(Resolution::Micros)).unwrap();
    let time_ns = 1_700_000_000_123_456_789;
    writer.packet(micros, &packet(time_ns, b"abcde"), &PacketNotes::default()).unwrap();
    let nanos = writer.interface(&interface(Resolution::Nanos)).unwrap();
    let notes = PacketNotes { direction: Some(Direction::Outbound), comments: vec!["late".into()] };
    writer.packet(nanos, &packet(time_ns, b""), &notes).unwrap();
    let inbound = PacketNotes { direction: Some(Direction::Inbound), ..PacketNotes::default() };
    writer.packet(micros, &packet(u64::MAX, b"1234"), &inbound).unwrap();
    let file = writer.into_inner();
    let blocks = blocks(&file);
    assert_eq!(blocks.iter().map(|block| block.kind).collect::<Vec<_>>(), [0x0A0D_0D0A, 1, 6, 1, 6, 6]);

    assert_eq!(blocks[1].body[..8], [20, 1, 0, 0, 0, 0, 4, 0]);
    let description = |unit: &'static [u8]| {
        [(2, &b"shop/web-0"[..]), (3, b"node kind-worker"), (9, unit), (11, b"\0tcp port 80"), (1, "é".as_bytes())]
    };
    assert_eq!(options(&blocks[1], 8), description(&[6]));
    assert_eq!(options(&blocks[3], 8), description(&[9]));

    for (block, interface, time, bytes, noted) in [
        (&blocks[2], 0, time_ns / 1000, &b"abcde"[..], vec![]),
        (&blocks[4], 1, time_ns, b"", vec![(2, &[2, 0, 0, 0][..]), (1, b"late")]),
        (&blocks[5], 0, u64::MAX / 1000, b"1234", vec![(2, &[1, 0, 0, 0][..])]),
    ] {
        let time = [time >> 32, time & 0xFFFF_FFFF].map(|half| usize::try_from(half).unwrap());
        let fields = [0, 4, 8, 12, 16].map(|at| u32_at(block.body, at));
        assert_eq!(fields, [interface, time[0], time[1], bytes.len(), 1500]);
        assert_eq!(&block.body[20..20 + bytes.len()], bytes);
        assert_eq!(options(block, 20 + bytes.len().div_ceil(4) * 4), noted);
    }
}

#[test]
fn names_of_both_families_are_records_and_many_become_several_blocks() {
    let record = |address: &str, names: &[&str]| NameRecord {
        address: address.parse().unwrap(),
        names: names.iter().map(|&name| name.to_owned()).collect(),
    };
    let mut writer = Writer::new(Vec::new(), &Section::default()).unwrap();
    assert_eq!(writer.names(&[], &[]).unwrap_err().kind(), io::ErrorKind::InvalidInput, "no interface");
    writer.interface(&interface(Resolution::Micros)).unwrap();
    let records = [
        record("10.0.0.1", &["web-0.shop", "", "a\0b", "kind-worker"]),
        record("10.0.0.2", &[""]),
        record("fd00::1", &["web.shop.svc"]),
        record("10.0.0.3", &[&"x".repeat(65_530), "y", &"x".repeat(65_531)]),
    ];
    writer.names(&records, &["from the cluster".into()]).unwrap();
    writer.names(&[], &["no block".into()]).unwrap();
    let address = [0xFD, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    let file = std::mem::take(&mut writer.out);
    {
        let blocks = blocks(&file);
        let (read, rest) = tagged(blocks[2].body);
        assert_eq!((blocks.len(), blocks[2].kind, read.len()), (3, 4, 3));
        assert_eq!(read[0], (1, &b"\x0a\0\0\x01web-0.shop\0kind-worker\0"[..]));
        assert_eq!(read[1], (2, [&address[..], b"web.shop.svc\0"].concat().as_slice()));
        assert_eq!(read[2].1.len(), 65_535);
        assert_eq!(tagged(rest), (vec![(1, &b"from the cluster"[..])], &b""[..]));
    }
    let long = record("10.0.0.3", &[&"x".repeat(60_000)]);
    writer.names(&vec![long; 100], &[]).unwrap();
    let blocks = blocks(&writer.out);
    assert_eq!(blocks.iter().map(|block| tagged(block.body).0.len()).sum::<usize>(), 100);
    assert!(blocks.len() == 12 && blocks.iter().all(|block| block.body.len() < 600_000), "{}", blocks.len());
}

#[test]
fn statistics_have_what_is_known_in_the_unit_of_their_interface() {
    let mut writer = Writer::new(Vec::new(), &Section::default()).unwrap();
    let id = writer.interface(&interface(Resolution::Micros)).unwrap();
    let statistics = Statistics {
        time_ns: 3_000,
        start_ns: Some((1 << 32) * 1000),
        end_ns: Some(2_999),
        received: Some(u64::MAX),
        dropped: Some(7),
        comments: vec!["seen".into()],
    };
    writer.statistics(id, &statistics).unwrap();
    writer.statistics(id, &Statistics::default()).unwrap();
    let file = writer.into_inner();
    let blocks = blocks(&file);
    assert_eq!((blocks[2].kind, &blocks[2].body[..12]), (5, &[0, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0][..]));
    let expected = [
        (2, &[1, 0, 0, 0, 0, 0, 0, 0][..]),
        (3, &[0, 0, 0, 0, 2, 0, 0, 0]),
        (4, &[0xFF; 8]),
        (5, &[7, 0, 0, 0, 0, 0, 0, 0]),
        (1, b"seen"),
    ];
    assert_eq!(options(&blocks[2], 12), expected);
    assert_eq!(blocks[3].body, [0; 12]);
}

#[test]
fn long_texts_are_cut_between_characters_and_a_block_is_bounded() {
    let long = "é".repeat(40_000);
    let filtered = Interface { filter: long.clone(), ..interface(Resolution::Micros) };
    let mut writer = Writer::new(Vec::new(), &Section { comments: vec![long; 300], ..Section::default() }).unwrap();
    writer.interface(&filtered).unwrap();
    let file = writer.into_inner();
    let blocks = blocks(&file);
    let comments = options(&blocks[0], 16);
    assert!(comments.iter().all(|(tag, text)| *tag == 1 && *text == "é".repeat(32_767).as_bytes()));
    assert!(comments.len() == 15 && blocks[0].body.len() < (1 << 20) - 12, "{}", comments.len());
    let short = Section { comments: vec!["x".into(); 200_000], ..Section::default() };
    let file = Writer::new(Vec::new(), &short).unwrap().into_inner();
    assert!(((1 << 20) - 64..1 << 20).contains(&file.len()), "{}", file.len());
    let filter = options(&blocks[1], 8)[3];
    assert_eq!(filter, (11, ["\0", &"é".repeat(32_767)].concat().as_bytes()));
}

#[test]
fn another_writers_interface_is_refused_and_nothing_is_written() {
    let mut other = Writer::new(Vec::new(), &Section::default()).unwrap();
    let id = other.interface(&interface(Resolution::Micros)).unwrap();
    let mut writer = Writer::new(Vec::new(), &Section::default()).unwrap();
    for refused in
        [writer.packet(id, &packet(1, b"a"), &PacketNotes::default()), writer.statistics(id, &Statistics::default())]
    {
        assert_eq!(refused.unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }
    assert_eq!(blocks(&writer.into_inner()).len(), 1);
}
