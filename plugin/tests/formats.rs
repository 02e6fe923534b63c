//! What is written is read back by other programs: tshark, capinfos, editcap, mergecap and tcpdump. `make test-root` installs them.

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use packet_capture_plugin::{
    pcap::{Packet, Reader, Resolution},
    pcapng::{Interface, InterfaceId, NameRecord, PacketNotes, Section, Statistics, Writer},
};

const LINUX_SLL2: u16 = 276;
const BEGIN_NS: u64 = 1_700_000_000_000_000_000;

/// Runs a program, which must succeed, and returns its standard output.
fn run(program: &str, arguments: &[&dyn AsRef<OsStr>]) -> String {
    let arguments = arguments.iter().map(|argument| argument.as_ref());
    let output = Command::new(program).args(arguments).env("TZ", "UTC").env("LC_ALL", "C").output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program}: {stderr}");
    String::from_utf8(output.stdout).unwrap()
}

/// A path of its own for one test's files, which begin with it.
fn path(test: &str, file: &str) -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(test);
    fs::create_dir_all(&dir).unwrap();
    dir.join(file)
}

/// A UDP packet from 10.0.0.1 to 10.0.0.2, as tcpdump keeps it of the interface with index 7.
fn udp(time_ns: u64) -> Packet {
    let sll2 = [8, 0, 0, 0, 0, 0, 0, 7, 0, 1, 0, 6, 2, 0, 0, 0, 0, 1, 0, 0];
    let ip = [0x45, 0, 0, 32, 0, 1, 0x40, 0, 64, 17, 0x26, 0xCA, 10, 0, 0, 1, 10, 0, 0, 2];
    let udp = [0x13, 0x88, 0x17, 0x70, 0, 12, 0, 0, b'p', b'i', b'n', b'g'];
    let bytes = [&sll2[..], &ip, &udp].concat();
    Packet { time_ns, length: u32::try_from(bytes.len()).unwrap(), bytes }
}

fn section() -> Section {
    Section {
        hardware: "x86_64".into(),
        os: "Linux".into(),
        application: "kubectl packet-capture".into(),
        comments: vec!["pod shop/web-0 on node kind-worker".into()],
    }
}

fn interface(name: &str, resolution: Resolution) -> Interface {
    Interface {
        name: name.into(),
        description: "node kind-worker".into(),
        filter: "udp port 6000".into(),
        link_type: LINUX_SLL2,
        snaplen: 262_144,
        resolution,
        comments: Vec::new(),
    }
}

/// A file with two interfaces, of which the second comes after a packet of the first, with names and statistics at the end.
fn written() -> Vec<u8> {
    let mut writer = Writer::new(Vec::new(), &section()).unwrap();
    let add = |writer: &mut Writer<Vec<u8>>, id: InterfaceId, after_ns: u64, comments: &[&str]| {
        let comments = comments.iter().map(|&comment| comment.to_owned()).collect();
        let notes = PacketNotes { direction: None, comments };
        writer.packet(id, &udp(BEGIN_NS + after_ns), &notes).unwrap();
    };
    let web = writer.interface(&interface("shop/web-0", Resolution::Micros)).unwrap();
    let record = |address: &str, name: &str| NameRecord { address: address.parse().unwrap(), names: vec![name.into()] };
    let records = [record("10.0.0.1", "web-0.shop"), record("10.0.0.2", "db.shop.svc"), record("fd00::1", "six.shop")];
    writer.names(&records, &["names of the cluster".into()]).unwrap();
    add(&mut writer, web, 1_000, &[]);
    let db = writer.interface(&interface("shop/db-0", Resolution::Nanos)).unwrap();
    add(&mut writer, db, 2_345, &["this packet is late"]);
    add(&mut writer, web, 3_000, &[]);
    for (id, dropped) in [(web, 7), (db, 0)] {
        let statistics = Statistics {
            time_ns: BEGIN_NS + 9_000,
            start_ns: Some(BEGIN_NS),
            end_ns: Some(BEGIN_NS + 9_000),
            received: Some(42),
            dropped: Some(dropped),
            comments: vec!["counted by tcpdump".into()],
        };
        writer.statistics(id, &statistics).unwrap();
    }
    writer.into_inner()
}

#[test]
#[ignore = "needs programs of Debian: make test-root"]
fn tshark_shows_interfaces_times_names_and_comments() {
    let file = path("tshark", "web.pcapng");
    fs::write(&file, written()).unwrap();
    let fields =
        ["frame.interface_name", "frame.time_epoch", "ip.src_host", "ip.dst_host", "udp.dstport", "frame.comment"];
    let mut arguments: Vec<&dyn AsRef<OsStr>> = vec![&"-N", &"n", &"-T", &"fields", &"-r", &file];
    fields.iter().for_each(|field| arguments.extend([&"-e" as &dyn AsRef<OsStr>, field]));
    let expected = "\
        shop/web-0\t1700000000.000001000\tweb-0.shop\tdb.shop.svc\t6000\t\n\
        shop/db-0\t1700000000.000002345\tweb-0.shop\tdb.shop.svc\t6000\tthis packet is late\n\
        shop/web-0\t1700000000.000003000\tweb-0.shop\tdb.shop.svc\t6000\t\n";
    assert_eq!(run("tshark", &arguments), expected);
}

#[test]
#[ignore = "needs programs of Debian: make test-root"]
fn capinfos_shows_what_the_section_and_its_interfaces_say_of_themselves() {
    let file = path("capinfos", "web.pcapng");
    fs::write(&file, written()).unwrap();
    let shown = run("capinfos", &[&file]);
    for line in [
        "File type:           Wireshark/... - pcapng",
        "Number of packets:   3",
        "Capture hardware:    x86_64",
        "Capture oper-sys:    Linux",
        "Capture application: kubectl packet-capture",
        "Capture comment:     pod shop/web-0 on node kind-worker",
        "Number of interfaces in file: 2",
        "Name = shop/web-0",
        "Name = shop/db-0",
        "Description = node kind-worker",
        "Filter string = udp port 6000",
        "Capture length = 262144",
        "Time precision = microseconds (6)",
        "Time precision = nanoseconds (9)",
        "Number of packets = 2",
        "Number of stat entries = 1",
    ] {
        assert!(shown.lines().any(|shown| shown.trim() == line), "{line} is not in:\n{shown}");
    }
}

#[test]
#[ignore = "needs programs of Debian: make test-root"]
fn tcpdump_reads_interfaces_of_one_snaplen_and_refuses_two() {
    let file = path("tcpdump", "web.pcapng");
    fs::write(&file, written()).unwrap();
    let shown = run("tcpdump", &[&"-n", &"-tt", &"--nano", &"-r", &file]);
    assert_eq!(shown.lines().count(), 3, "{shown}");
    assert!(shown.contains("1700000000.000002345 "), "{shown}");
    assert!(shown.contains("IP 10.0.0.1.5000 > 10.0.0.2.6000: UDP, length 4"), "{shown}");

    let mut writer = Writer::new(Vec::new(), &section()).unwrap();
    let short = writer.interface(&Interface { snaplen: 100, ..interface("shop/web-0", Resolution::Micros) }).unwrap();
    writer.packet(short, &udp(BEGIN_NS), &PacketNotes::default()).unwrap();
    writer.interface(&interface("shop/db-0", Resolution::Micros)).unwrap();
    writer.packet(short, &udp(BEGIN_NS), &PacketNotes::default()).unwrap();
    fs::write(&file, writer.into_inner()).unwrap();
    let refused = Command::new("tcpdump").args(["-n", "-r"]).arg(&file).output().unwrap();
    let stderr = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && stderr.contains("snapshot length"), "{stderr}");
}

#[test]
#[ignore = "needs programs of Debian: make test-root"]
fn what_editcap_makes_of_a_file_is_read_with_the_same_packets() {
    let file = path("editcap", "web.pcapng");
    fs::write(&file, written()).unwrap();
    for (format, resolution, odd_ns) in [("pcap", Resolution::Micros, 2_000), ("nsecpcap", Resolution::Nanos, 2_345)] {
        let classic = path("editcap", format);
        run("editcap", &[&"-F", &format, &file, &classic]);
        let reader = Reader::new(fs::File::open(&classic).unwrap()).unwrap();
        assert_eq!((reader.header().resolution, reader.header().link_type), (resolution, LINUX_SLL2));
        let packets: Vec<Packet> = reader.map(Result::unwrap).collect();
        assert_eq!(packets, [1_000, odd_ns, 3_000].map(|after_ns| udp(BEGIN_NS + after_ns)), "{format}");
    }
}

#[test]
#[ignore = "needs programs of Debian: make test-root"]
fn mergecap_merges_two_files_and_keeps_names_of_interfaces() {
    let (one, merged) = (path("mergecap", "one.pcapng"), path("mergecap", "merged.pcapng"));
    fs::write(&one, written()).unwrap();
    run("mergecap", &[&"-w", &merged, &one, &one]);
    let shown = run("capinfos", &[&merged]);
    assert!(shown.contains("Number of packets:   6") && shown.contains("Name = shop/db-0"), "{shown}");
}

#[test]
#[ignore = "needs programs of Debian: make test-root"]
fn a_file_with_the_longest_texts_and_many_names_is_still_read() {
    let long = "é".repeat(70_000);
    let mut writer = Writer::new(Vec::new(), &Section { comments: vec![long.clone(); 300], ..section() }).unwrap();
    let record = |number: u32| NameRecord {
        address: std::net::Ipv4Addr::from_bits(0x0A00_0000 + number).into(),
        names: vec![format!("pod-{number}.shop")],
    };
    let interface = Interface { filter: long.clone(), ..interface("shop/web-0", Resolution::Nanos) };
    let id = writer.interface(&interface).unwrap();
    writer.names(&(0..65_536).map(record).collect::<Vec<_>>(), &[long]).unwrap();
    writer.packet(id, &udp(BEGIN_NS), &PacketNotes::default()).unwrap();
    let file = path("long", "web.pcapng");
    fs::write(&file, writer.into_inner()).unwrap();
    assert_eq!(run("tshark", &[&"-N", &"n", &"-T", &"fields", &"-e", &"ip.src_host", &"-r", &file]), "pod-1.shop\n");
    assert_eq!(run("tcpdump", &[&"-n", &"-r", &file]).lines().count(), 1);
}
