//! The filter of a capture: which filter text of a user may reach tcpdump. No I/O.
//!
//! The text goes into `(host A or host B) and (EXPR)`, which is one argument after `--`. A filter that is let through cannot do any
//! of these four things. Each follows from how this parser is built, not from how libpcap happens to read the text:
//!
//! - *Leave our bracket.* Brackets of the filter are closed in the order they were opened, never one more, and a bracket is a bracket for
//!   libpcap too: the only tokens of its scanner that swallow one, `\name` and `$name`, are not let through. In its grammar
//!   each `(` has its `)` within one production, so what it reads is `(…) and (…)`: one conjunction, whose left side is ours.
//! - *Move the offsets.* Only the words `vlan mpls pppoed pppoes geneve vxlan` do, and they are not in `WORDS`.
//! - *Make libpcap look up a name.* libpcap asks DNS and the files of /etc only for a token of its kind ID, EID or AID. Of those, one gets
//!   through: an ID of two numbers right behind `portrange`, which it reads as two numbers.
//! - *See another pod's packet.* That follows from the first two. `fuzz/` looks for what may be wrong with this, or with libpcap.
//!
//! It holds as long as both split the text alike, so this splits no finer and no coarser than libpcap's scanner (1.10, scanner.l):
//! longest match, where a word begins with a letter or a digit, goes on with `-`, `_` and `.` too, and does not end with `-` or
//! `_`. A colon joins two words only in an IPv6 or hardware address, and those have two colons at least. Operators need no
//! care: any order of them is an expression or a syntax error. What passes here can still be one; tcpdump has the last word.

use std::net::Ipv6Addr;

use crate::core::refusal::FilterFault;

/// The longest filter, in bytes: libpcap's time to compile grows much faster than the text, to minutes at 18 KB.
const BYTES_MAX: usize = 512;

/// The most numbers and addresses in a filter. `portrange 1||2||3…` has 130 in 512 bytes, and takes 4 s to compile; of all texts
/// that are let through, the worst known takes half a second (`fuzz/README.md`).
const VALUES_MAX: usize = 48;

/// The most characters of a word that are repeated to the user.
const FAULT_CHARS_MAX: usize = 64;

/// The words of pcap-filter(7) that are let through. All of them are keywords of libpcap 1.10, the version in the image: to a
/// libpcap that does not know one of them it would be a name.
const WORDS: &str = "
    ip ip6 arp rarp tcp udp sctp icmp icmp6 igmp pim vrrp carp ah esp ether
    src dst host net mask port portrange proto broadcast multicast
    and or not less greater len length
    tcpflags tcp-fin tcp-syn tcp-rst tcp-push tcp-ack tcp-urg tcp-ece tcp-cwr
    icmptype icmpcode icmp-echo icmp-echoreply icmp-unreach icmp-sourcequench icmp-redirect icmp-routeradvert
    icmp-routersolicit icmp-timxceed icmp-paramprob icmp-tstamp icmp-tstampreply icmp-ireq icmp-ireqreply icmp-maskreq
    icmp-maskreply
    icmp6type icmp6code icmp6-destinationunreach icmp6-packettoobig icmp6-timeexceeded icmp6-parameterproblem icmp6-echo
    icmp6-echoreply icmp6-multicastlistenerquery icmp6-multicastlistenerreportv1 icmp6-multicastlistenerdone
    icmp6-multicastlistenerreportv2 icmp6-routersolicit icmp6-routeradvert icmp6-neighborsolicit icmp6-neighboradvert
    icmp6-redirect";

/// Words that change the offset at which libpcap looks for everything after them.
const SHIFTING: &str = "vlan mpls pppoed pppoes geneve vxlan";

/// Words that the kernel cannot apply, so that every packet of the node would be copied to tcpdump.
const COSTLY: &str = "protochain link byte";

/// Words of the language that match nothing in a capture on all interfaces, or that only other systems know.
const POINTLESS: &str =
    "gateway ppp slip fddi tr wlan llc radio iso stp ipx decnet atalk type subtype dir direction ifname on
    reason action rset ruleset rnr rulenum srnr subrulenum";

/// Words that ask which of the node's interfaces a packet passed, and in which direction. A packet that the pod sends comes *in* on one
/// interface of the node and goes *out* on the next one, so each of these words matches copies of both directions.
const OF_THE_NODE: [(&str, &str); 3] = [
    (
        "inbound",
        "means the node's interfaces, not the pod: to capture what the pod receives, write `dst host ADDRESS` with the pod's address",
    ),
    (
        "outbound",
        "means the node's interfaces, not the pod: to capture what the pod sends, write `src host ADDRESS` with the pod's address",
    ),
    (
        "ifindex",
        "means the node's interfaces, not the pod, and is not allowed; `get` shows each packet once without it",
    ),
];

/// Checks whether a filter may reach tcpdump.
///
/// # Errors
/// The first word that is not allowed, and the character at which it begins.
pub fn check(text: &str) -> Result<(), FilterFault> {
    let fault = |word: &str, at: usize, problem| {
        Err(FilterFault { word: word.chars().take(FAULT_CHARS_MAX).collect(), position: at + 1, problem })
    };
    if text.len() > BYTES_MAX {
        return fault("", 0, "is longer than 512 bytes");
    }
    // Everything before `at` is ASCII, so an offset in bytes is an offset in characters.
    let (mut at, mut before, mut open, mut values) = (0, "", Vec::new(), 0);
    loop {
        at += leading(&text[at..], |c| c == ' ');
        if at == text.len() {
            break;
        }
        let token = match token(&text[at..], before) {
            Ok("-") if before.is_empty() => return fault("-", at, "cannot be the first word of a filter"),
            Ok(token) => token,
            Err((word, problem)) => return fault(word, at, problem),
        };
        match token {
            "(" | "[" => open.push((token, at)),
            ")" | "]" => match open.pop() {
                None => return fault(token, at, "closes a bracket that was never opened"),
                Some((opened, _)) if (opened == "(") != (token == ")") => {
                    return fault(token, at, "closes a bracket of another kind than the one that is open");
                }
                Some(_) => (),
            },
            _ if token.starts_with(|c: char| c.is_ascii_digit()) || token.len() > 1 && token.contains(':') => {
                values += 1;
                if values > VALUES_MAX {
                    return fault(token, at, "is the 49th number or address: a filter may have at most 48");
                }
            }
            _ => (),
        }
        (at, before) = (at + token.len(), token);
    }
    match open.pop() {
        Some((bracket, at)) => fault(bracket, at, "is a bracket that is never closed"),
        None if before.is_empty() => fault("", 0, "is empty"),
        None => Ok(()),
    }
}

/// The first token of a text. `before` is the token before it.
///
/// # Errors
/// The word that is not allowed, and the problem with it.
fn token<'a>(text: &'a str, before: &str) -> Result<&'a str, (&'a str, &'static str)> {
    let first = &text[..text.chars().next().map_or(0, char::len_utf8)];
    let run = &text[..leading(text, |c| c.is_ascii_alphanumeric() || ".:-_".contains(c))];
    let begins_word = first.starts_with(|c: char| c.is_ascii_alphanumeric());
    let token = if (begins_word || first == ":") && run.matches(':').count() > 1 {
        let hexadecimal = run.bytes().all(|b| b.is_ascii_hexdigit() || b == b':');
        if !hexadecimal || run.parse::<Ipv6Addr>().is_err() {
            return Err((run, "is not an IPv6 address; hardware addresses do not work in a capture on all interfaces"));
        }
        run
    } else if begins_word {
        let word = run.split(':').next().unwrap_or(run).trim_end_matches(['-', '_']);
        word_problem(word, before).map_or(Ok(word), |problem| Err((word, problem)))?
    } else if first == "\\" {
        let escaped = &text[..leading(text, |c| !" !()".contains(c))];
        return Err((escaped, "is a name, and names are not looked up: give the number, such as `ip proto 6`"));
    } else if "()[]!<>=&|^+-*/%:".contains(first) {
        first
    } else if first.starts_with(|c: char| c.is_ascii_graphic()) {
        return Err((first, "is not a character that is allowed in a filter"));
    } else {
        return Err((first, "is not a printable ASCII character"));
    };
    match (before, token) {
        ("ether", "proto") => Ok(token),
        ("ether", _) => Err((token, "cannot follow `ether`: in a capture on all interfaces only `ether proto` works")),
        _ => Ok(token),
    }
}

/// The problem with a word, or `None`. `before` is the token before it.
fn word_problem(word: &str, before: &str) -> Option<&'static str> {
    let one_of = |words: &str, word: &str| words.split_ascii_whitespace().any(|known| known == word);
    let hexadecimal = word.strip_prefix("0x").or_else(|| word.strip_prefix("0X"));
    if one_of(WORDS, word) {
        None
    } else if let Some((_, problem)) = OF_THE_NODE.iter().find(|(known, _)| *known == word) {
        Some(problem)
    } else if one_of(SHIFTING, word) {
        Some("is not allowed: it moves the offsets of everything after it")
    } else if one_of(COSTLY, word) {
        Some("is not allowed: the kernel cannot apply it, so every packet of the node would be copied to tcpdump")
    } else if one_of(POINTLESS, word) {
        Some("is not allowed: it matches nothing in a capture on all interfaces")
    } else if one_of(WORDS, &word.to_ascii_lowercase()) {
        Some("must be written in lower case")
    } else if !word.starts_with(|c: char| c.is_ascii_digit()) {
        Some("is a name, and names are not looked up: give the number or the address")
    } else if let Some(digits) = hexadecimal {
        let is_number = digits.bytes().all(|b| b.is_ascii_hexdigit()) && u32::from_str_radix(digits, 16).is_ok();
        (!is_number).then_some("is not a hexadecimal number of 32 bits")
    } else if word.bytes().all(|b| b.is_ascii_digit()) {
        number(word, u32::MAX).is_none().then_some("is not a number of 32 bits without leading zeros")
    } else if let Some((from, to)) = word.split_once('-') {
        if number(from, 65535).is_none() || number(to, 65535).is_none() {
            Some("is neither a number nor a range of ports; a minus sign needs a space before it")
        } else {
            (before != "portrange").then_some("is a range of ports, which must come directly after `portrange`")
        }
    } else {
        let is_address =
            (2..=4).contains(&word.split('.').count()) && word.split('.').all(|n| number(n, 255).is_some());
        (!is_address).then_some("is neither a number nor an address, and names are not looked up")
    }
}

/// A decimal number from 0 to `max`. It has no leading zero, because libpcap reads such a number as octal.
fn number(digits: &str, max: u32) -> Option<u32> {
    let plain = digits.bytes().all(|b| b.is_ascii_digit()) && (digits == "0" || !digits.starts_with('0'));
    digits.parse().ok().filter(|n| plain && *n <= max)
}

/// The number of bytes before the first character that is not one of `these`.
fn leading(text: &str, these: impl Fn(char) -> bool) -> usize {
    text.find(|c| !these(c)).unwrap_or(text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_that_engineers_type_are_allowed() {
        let texts = "tcp port 443; udp and port 53; icmp or icmp6; net 10.0.0.0/8; net 10; net 192.168.1; \
             net 10.0.0.0 mask 255.0.0.0; tcp[tcpflags] & (tcp-syn|tcp-fin) != 0; tcp[13] - 1 = 1; \
             tcp[13]-1=1; tcp[13:2]&0xff==2; portrange 8000-9000; tcp and dst portrange 1-1024; not port 22; \
             !port 22&&!arp||udp; greater 1000; ip6 proto 58; src host 10.0.0.1 and dst port 80; \
             ether proto 0x0806; host 10.0.0.1; host fd00::1 or net fd00:1::/32 or host ::; \
             src or dst port 80; tcp[2:2] > 1024; ip[6:2] & 0x1fff != 0; not (arp or port 53); len > 100; \
             len-(20)>=tcp[tcpflags:1]<<2; icmp[icmptype] == icmp-echo; \
             icmp6[icmp6type] = icmp6-neighborsolicit; tcp and not port 22; port 80 or 443; broadcast; \
             multicast; ip broadcast; less 64; arp; sctp; tcp src port 80; ip multicast; udp";
        for text in texts.split("; ") {
            assert_eq!(check(text), Ok(()), "{text}");
        }
        assert_eq!(check(&format!("  {:510}", "udp")), Ok(()));
    }

    #[test]
    fn the_first_bad_word_of_a_filter_is_named_with_its_position() {
        for (text, position, word, problem) in [
            ("", 1, "", "is empty"),
            ("   ", 1, "", "is empty"),
            ("port 80) or (port 443", 8, ")", "closes a bracket that"),
            ("(tcp[0)]", 7, ")", "closes a bracket of another kind"),
            ("udp and (tcp", 9, "(", "is a bracket that is never closed"),
            ("udp\nor tcp", 4, "\n", "is not a printable"),
            ("udp\tor tcp", 4, "\t", "is not a printable"),
            ("udp\0", 4, "\0", "is not a printable"),
            ("udp or ü", 8, "ü", "is not a printable"),
            ("udp; tcp", 4, ";", "is not a character"),
            ("$(id)", 1, "$", "is not a character"),
            ("$5", 1, "$", "is not a character"),
            ("'udp'", 1, "'", "is not a character"),
            ("udp # tcp", 5, "#", "is not a character"),
            ("udp or _tcp", 8, "_", "is not a character"),
            ("len-_", 5, "_", "is not a character"),
            ("udp or .5", 8, ".", "is not a character"),
            ("tcp{0}", 4, "{", "is not a character"),
            ("-w /tmp/x", 1, "-", "cannot be the first word of a filter"),
            (" -1 + len > 5", 2, "-", "cannot be the first word of a filter"),
            ("host example.com", 6, "example.com", "is a name"),
            ("port http", 6, "http", "is a name"),
            ("tcp[0]=1or1=1", 8, "1or1", "is neither a number nor an address"),
            ("tcpor udp", 1, "tcpor", "is a name"),
            ("tcp-syn-1 = 1", 1, "tcp-syn-1", "is a name"),
            ("ip proto \\tcp and udp", 10, "\\tcp", "is a name"),
            ("\\a[(0)", 1, "\\a[", "is a name"),
            ("TCP port 80", 1, "TCP", "must be written in lower case"),
            ("vlan and port 80", 1, "vlan", "is not allowed: it moves the offsets"),
            ("tcp or(mpls)", 8, "mpls", "is not allowed: it moves the offsets"),
            ("vxlan 5", 1, "vxlan", "is not allowed: it moves the offsets"),
            ("ip protochain 6", 4, "protochain", "is not allowed: the kernel cannot apply it"),
            ("gateway 10.0.0.1", 1, "gateway", "is not allowed: it matches nothing"),
            ("ifname eth0", 1, "ifname", "is not allowed: it matches nothing"),
            (
                "inbound and icmp",
                1,
                "inbound",
                "means the node's interfaces, not the pod: to capture what the pod receives, write `dst host",
            ),
            (
                "udp or not(outbound)",
                12,
                "outbound",
                "means the node's interfaces, not the pod: to capture what the pod sends, write `src host",
            ),
            ("ifindex 5", 1, "ifindex", "means the node's interfaces"),
            ("ether host 00:11:22:33:44:55", 7, "host", "cannot follow `ether`"),
            ("ether[0] = 1", 6, "[", "cannot follow `ether`"),
            ("host 00:11:22:33:44:55", 6, "00:11:22:33:44:55", "is not an IPv6 address"),
            ("host fd00::1::2", 6, "fd00::1::2", "is not an IPv6 address"),
            ("host ::ffff:10.0.0.1", 6, "::ffff:10.0.0.1", "is not an IPv6 address"),
            ("len-fd00::1", 1, "len-fd00::1", "is not an IPv6 address"),
            ("tcp[0:a] = 1", 7, "a", "is a name"),
            ("host 001122334455", 6, "001122334455", "is not a number of 32 bits"),
            ("port 080", 6, "080", "is not a number of 32 bits"),
            ("len > 4294967296", 7, "4294967296", "is not a number of 32 bits"),
            ("len > 0x123456789", 7, "0x123456789", "is not a hexadecimal number"),
            ("len > 0x", 7, "0x", "is not a hexadecimal number"),
            ("host 10.0.0.256", 6, "10.0.0.256", "is neither a number nor an address"),
            ("host 10.0.0.1.", 6, "10.0.0.1.", "is neither a number nor an address"),
            ("host 1234.5678.9012", 6, "1234.5678.9012", "is neither a number nor an address"),
            ("host 1.2.3.4.5.6", 6, "1.2.3.4.5.6", "is neither a number nor an address"),
            ("host 1-2", 6, "1-2", "is a range of ports"),
            ("portrange 1-2 or 3-4", 18, "3-4", "is a range of ports"),
            ("portrange (1-2)", 12, "1-2", "is a range of ports"),
            ("portrange 1-65536", 11, "1-65536", "is neither a number nor a range"),
            ("portrange 1--2", 11, "1--2", "is neither a number nor a range"),
            ("host 0-1-2-3-4-5", 6, "0-1-2-3-4-5", "is neither a number nor a range"),
        ] {
            let fault = check(text).expect_err(text);
            assert_eq!((fault.position, fault.word.as_str()), (position, word), "{text:?}: {}", fault.problem);
            assert!(fault.problem.starts_with(problem), "{text:?}: {}", fault.problem);
        }
    }

    #[test]
    fn a_filter_has_48_numbers_and_addresses_at_the_most() {
        let hosts = |n| vec!["::1"; n].join("||");
        assert_eq!(check(&format!("tcp[0:1] = 1 or host {}", hosts(45))), Ok(()));
        let fault = check(&format!("tcp[0:1] = 1 or host {}", hosts(46))).expect_err("49 of them");
        assert_eq!((fault.word.as_str(), fault.position), ("::1", 22 + 45 * 5));
        assert!(fault.problem.starts_with("is the 49th number or address"));
    }

    #[test]
    fn the_word_that_is_repeated_to_the_user_is_short() {
        assert_eq!(check(&"a".repeat(500)).expect_err("a name").word, "a".repeat(64));
        let fault = check(&"a".repeat(513)).expect_err("too long");
        assert_eq!((fault.word.as_str(), fault.problem), ("", "is longer than 512 bytes"));
    }
}
