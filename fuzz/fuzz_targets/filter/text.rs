//! From an input's bytes to a filter: as they stand, as words in any order, as sentences of the language, or as bad sentences.

/// Past this length, sentences come to their end: filters have 512 bytes at the most.
const LONG: usize = 440;

const WORDS: [&str; 94] = [
    "ip",
    "ip6",
    "arp",
    "rarp",
    "tcp",
    "udp",
    "sctp",
    "icmp",
    "icmp6",
    "igmp",
    "ah",
    "esp",
    "ether",
    "src",
    "dst",
    "host",
    "net",
    "mask",
    "port",
    "portrange",
    "proto",
    "broadcast",
    "multicast",
    "and",
    "or",
    "not",
    "less",
    "greater",
    "len",
    "length",
    "tcpflags",
    "tcp-syn",
    "icmptype",
    "icmp-echo",
    "icmp6type",
    "icmp6-echo",
    "0",
    "1",
    "13",
    "53",
    "65535",
    "4294967295",
    "0x1fff",
    "8000-9000",
    "1-2",
    "10",
    "10.0",
    "10.0.0.1",
    "10.0.0.2",
    "10.0.0.0",
    "255.0.0.0",
    "fd00::1",
    "fd00::",
    "::",
    "1:2:3:4:5:6:7:8",
    "(",
    ")",
    "[",
    "]",
    "(",
    ")",
    "[",
    "]",
    "+",
    "-",
    "*",
    "/",
    "%",
    "&",
    "|",
    "^",
    "<",
    ">",
    "=",
    "!",
    ":",
    "<=",
    ">=",
    "==",
    "!=",
    "<<",
    ">>",
    "&&",
    "||",
    "vlan",
    "mpls",
    "geneve",
    "protochain",
    "link",
    "byte",
    "http",
    "\\tcp",
    "00:11:22:33:44:55",
    "$5",
];
const PROTOCOLS: [&str; 16] = [
    "ip", "ip6", "tcp", "udp", "icmp", "icmp6", "arp", "sctp", "rarp", "igmp", "pim", "vrrp", "carp", "ah", "esp",
    "tcp",
];
const DIRECTIONS: [&str; 8] = ["", "src ", "dst ", "src or dst ", "src and dst ", "dst or src ", "dst and src ", ""];
const ADDRESSES: [&str; 12] = [
    "10.0.0.1",
    "10.0.0.2",
    "10.0.0",
    "0.0.0.0",
    "255.255.255.255",
    "fd00::1",
    "fd00::2",
    "::",
    "::1",
    "10.1",
    "1:2:3:4:5:6:7:8",
    "10",
];
const NETS: [&str; 12] = [
    "10.0.0.0/8",
    "10/8",
    "10.0/16",
    "0.0.0.0/0",
    "10.0.0.1/32",
    "fd00::/8",
    "::/0",
    "10",
    "10.0",
    "1.2.3",
    "10.0.0.0 mask 255.0.0.0",
    "fd00::1/127",
];
const FIELDS: [&str; 10] = [
    "tcpflags",
    "icmptype",
    "icmp6type",
    "tcp-syn",
    "tcp-ack",
    "icmp-echo",
    "icmp6-echo",
    "icmpcode",
    "tcp-fin",
    "icmp6code",
];
const NUMBERS: [&str; 16] =
    ["0", "1", "2", "4", "6", "13", "17", "31", "32", "58", "80", "255", "0x1fff", "65535", "0x80000000", "4294967295"];

const SPLICES: [&str; 24] = [
    "", "", " ", ")", "(", "]", "[", ") or (", ")or(", "] or [", " or ", "||", "-", ":", "0", "x", ".", "_", "\\", "$",
    " vlan ", " and ", "::", "!",
];

/// The text of an input.
pub fn of(input: &[u8]) -> String {
    let Some((&kind, bytes)) = input.split_first() else { return String::new() };
    match kind % 4 {
        0 => String::from_utf8_lossy(bytes).into_owned(),
        1 => bytes.iter().map(|&b| spaced(WORDS[usize::from(b & 127) % WORDS.len()], b < 128)).collect(),
        2 => Sentence::of(bytes),
        _ => {
            // Words put into a sentence where they do not belong.
            let (splices, bytes) = bytes.split_at(bytes.len().min(6));
            let mut text = Sentence::of(bytes);
            for splice in splices.chunks_exact(2) {
                let word = SPLICES[usize::from(splice[1]) % SPLICES.len()];
                text.insert_str(usize::from(splice[0]) * (text.len() + 1) / 256, word);
            }
            text
        }
    }
}

fn spaced(word: &str, space: bool) -> String {
    format!("{word}{}", if space { " " } else { "" })
}

/// A sentence in the making; each choice takes a byte, and zeros follow the last.
struct Sentence<I> {
    bytes: I,
    text: String,
}

impl Sentence<()> {
    fn of(bytes: &[u8]) -> String {
        let mut sentence = Sentence { bytes: bytes.iter().copied(), text: String::new() };
        sentence.expression(0);
        sentence.text
    }
}

impl<I: Iterator<Item = u8>> Sentence<I> {
    fn byte(&mut self) -> usize {
        self.bytes.next().unwrap_or(0).into()
    }

    fn one_of(&mut self, words: &[&str]) {
        let word = words[self.byte() % words.len()];
        self.text.push_str(word);
    }

    /// Whether another level may begin.
    fn goes_on(&self, depth: usize) -> bool {
        depth < 12 && self.text.len() < LONG
    }

    fn expression(&mut self, depth: usize) {
        self.term(depth);
        while self.goes_on(depth) && self.byte() % 3 != 0 {
            self.one_of(&[" and ", " or ", " && ", "||", " and not ", " or not ", "or!"]);
            self.term(depth);
        }
    }

    fn term(&mut self, depth: usize) {
        match self.byte() % 16 {
            0 | 1 => self.one_of(&PROTOCOLS),
            2 | 3 if self.goes_on(depth) => {
                self.one_of(&["(", "not (", "!("]);
                self.expression(depth + 1);
                self.text.push(')');
            }
            4 => self.qualified("host ", &ADDRESSES),
            5 => self.qualified("net ", &NETS),
            6 => self.qualified("port ", &NUMBERS),
            7 => {
                let (from, to) = (self.byte() * 257, self.byte() * 257);
                self.qualified("portrange ", &[&format!("{from}-{to}"), "53", "65535-0"]);
            }
            8 => {
                self.one_of(&["ip ", "ip6 ", "ether ", "", "tcp ", "icmp "]);
                self.text.push_str("proto ");
                self.one_of(&NUMBERS);
            }
            9 => {
                self.one_of(&["less ", "greater "]);
                self.one_of(&NUMBERS);
            }
            10 => {
                self.one_of(&["ip ", "ip6 ", "", "udp "]);
                self.one_of(&["broadcast", "multicast"]);
            }
            11 => self.one_of(&NUMBERS),
            _ => {
                self.sum(depth + 1);
                self.one_of(&[" = ", " != ", " > ", "<", " >= ", " <= ", "=="]);
                self.sum(depth + 1);
            }
        }
    }

    /// `tcp src port 80 or 443`.
    fn qualified(&mut self, kind: &str, values: &[&str]) {
        if self.byte() % 2 == 1 {
            self.one_of(&PROTOCOLS);
            self.text.push(' ');
        }
        self.one_of(&DIRECTIONS);
        self.text.push_str(kind);
        self.one_of(values);
        while self.text.len() < LONG && self.byte() % 4 == 3 {
            self.one_of(&[" or ", " and ", " or not "]);
            self.one_of(values);
        }
    }

    fn sum(&mut self, depth: usize) {
        match self.byte() % 8 {
            0 => self.one_of(&NUMBERS),
            1 => self.one_of(&["len", "length"]),
            2 if self.goes_on(depth) => {
                self.one_of(&["(", "-(", "- "]);
                let opened = self.text.ends_with('(');
                self.sum(depth + 1);
                self.text.push_str(if opened { ")" } else { "" });
            }
            3 | 4 if self.goes_on(depth) => {
                self.sum(depth + 1);
                self.one_of(&[" + ", " - ", "*", "/", "%", "&", "|", "^", "<<", ">>"]);
                self.sum(depth + 1);
            }
            5 => self.one_of(&FIELDS),
            _ => {
                self.one_of(&PROTOCOLS);
                self.text.push('[');
                if self.goes_on(depth) {
                    self.sum(depth + 1);
                } else {
                    self.text.push('0');
                }
                self.one_of(&["]", ":1]", ":2]", ":4]"]);
            }
        }
    }
}
