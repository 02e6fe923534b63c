//! The real tcpdump, with the command lines of the project.

use std::{
    fs,
    os::unix::process::ExitStatusExt,
    path::PathBuf,
    process::{Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

const LINUX_SLL2: u32 = 276;

/// Bytes of a file with no packet in it.
const FILE_HEADER_BYTES: usize = 24;

/// tcpdump, with a file of packets that are no pod's.
pub struct Tcpdump {
    file: PathBuf,
}

impl Tcpdump {
    pub fn new(foreign: &[Vec<u8>]) -> Self {
        let mut pcap = Vec::new();
        for word in [0xa1b2_c3d4, 0x0004_0002, 0, 0, 262_144, LINUX_SLL2] {
            pcap.extend(u32::to_le_bytes(word));
        }
        for frame in foreign {
            let len = u32::try_from(frame.len()).expect("a short frame");
            for word in [0, 0, len, len] {
                pcap.extend(u32::to_le_bytes(word));
            }
            pcap.extend(frame);
        }
        let file = std::env::temp_dir().join("packet-capture-foreign.pcap");
        fs::write(&file, pcap).expect("a temporary file");
        let this = Self { file };
        let (all, _) = this.run(&["-r", this.file.to_str().expect("a plain path"), "-w", "-"], Duration::from_secs(5));
        assert_eq!(all.len(), FILE_HEADER_BYTES + foreign.iter().map(|frame| 16 + frame.len()).sum::<usize>());
        this
    }

    /// It compiles what libpcap does, and says why it does not.
    pub fn agrees(&self, text: &str, compiles: bool, within: Duration) {
        let (_, refused) = self.run(&["-y", "LINUX_SLL2", "-d", "--", text], within);
        assert_eq!(refused.is_none(), compiles, "{text}: {refused:?}");
    }

    /// It writes none of the foreign packets.
    pub fn finds_nothing(&self, text: &str, compiles: bool, within: Duration) {
        let file = self.file.to_str().expect("a plain path");
        let (found, refused) = self.run(&["-r", file, "-w", "-", "--", text], within);
        assert_eq!(refused.is_none(), compiles, "{text}: {refused:?}");
        assert!(found.len() == if compiles { FILE_HEADER_BYTES } else { 0 }, "{text}: {} bytes", found.len());
    }

    /// What it writes, and what it says if it exits with 1.
    fn run(&self, args: &[&str], within: Duration) -> (Vec<u8>, Option<String>) {
        let began = Instant::now();
        let mut child = Command::new("tcpdump")
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("tcpdump is installed");
        let mut stdout = child.stdout.take().expect("a pipe");
        let reader = thread::spawn(move || {
            let mut bytes = Vec::new();
            std::io::Read::read_to_end(&mut stdout, &mut bytes).map(|_| bytes)
        });
        while child.try_wait().expect("a child").is_none() {
            if began.elapsed() > within {
                child.kill().expect("a child");
                panic!("tcpdump took longer than {within:?}: {args:?}");
            }
            thread::sleep(Duration::from_millis(1));
        }
        let Output { status, stderr, .. } = child.wait_with_output().expect("a child");
        let stderr = String::from_utf8_lossy(&stderr).into_owned();
        let stdout = reader.join().expect("no panic").expect("a pipe");
        match status.code() {
            Some(0) => (stdout, None),
            Some(1) if !stderr.is_empty() => (stdout, Some(stderr)),
            code => panic!("tcpdump: exit {code:?}, signal {:?}, {stderr:?}: {args:?}", status.signal()),
        }
    }
}
