//! The few functions of libpcap that compile a filter and run it.

use std::{
    ffi::{CStr, CString, c_char, c_int, c_long, c_uint, c_void},
    sync::atomic::{AtomicU64, Ordering},
};

/// DLT_LINUX_SLL2: what `-i any` captures.
const LINUX_SLL2: c_int = 276;

/// tcpdump's own.
const SNAPLEN: c_int = 262_144;

#[repr(C)]
struct BpfProgram {
    len: c_uint,
    insns: *mut c_void,
}

#[repr(C)]
struct PacketHeader {
    time: [c_long; 2],
    captured: u32,
    len: u32,
}

unsafe extern "C" {
    fn pcap_open_dead(linktype: c_int, snaplen: c_int) -> *mut c_void;
    fn pcap_close(pcap: *mut c_void);
    fn pcap_geterr(pcap: *mut c_void) -> *const c_char;
    fn pcap_compile(pcap: *mut c_void, to: *mut BpfProgram, text: *const c_char, optimize: c_int, mask: u32) -> c_int;
    fn pcap_freecode(program: *mut BpfProgram);
    fn clock() -> c_long;
    fn pcap_offline_filter(program: *const BpfProgram, header: *const PacketHeader, packet: *const u8) -> c_int;
}

/// A compiled filter.
pub struct Program(BpfProgram);

// SAFETY: nothing writes to a program once it is compiled.
unsafe impl Send for Program {}
// SAFETY: as above.
unsafe impl Sync for Program {}

impl Program {
    /// Compiles as tcpdump does for `-i any`: optimized, and without a netmask.
    pub fn compile(text: &str) -> Result<Self, String> {
        let text = CString::new(text).expect("a filter without NUL");
        let mut program = BpfProgram { len: 0, insns: std::ptr::null_mut() };
        // SAFETY: the handle is opened and closed here, and the error is copied before it is closed.
        unsafe {
            let pcap = pcap_open_dead(LINUX_SLL2, SNAPLEN);
            assert!(!pcap.is_null());
            let failed = pcap_compile(pcap, &mut program, text.as_ptr(), 1, 0) != 0;
            let said = failed.then(|| CStr::from_ptr(pcap_geterr(pcap)).to_string_lossy().into_owned());
            pcap_close(pcap);
            match said {
                None => Ok(Self(program)),
                Some(said) if said.is_empty() => panic!("libpcap refuses without a word: {text:?}"),
                Some(said) => Err(said),
            }
        }
    }

    /// Whether a packet gets through.
    pub fn accepts(&self, packet: &[u8]) -> bool {
        let len = packet.len().try_into().expect("a short packet");
        let header = PacketHeader { time: [0; 2], captured: len, len };
        // SAFETY: the program is whole, and the header tells the packet's length.
        unsafe { pcap_offline_filter(&self.0, &header, packet.as_ptr()) != 0 }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // SAFETY: it is freed once.
        unsafe { pcap_freecode(&mut self.0) }
    }
}

/// What this process has had of the processor, in microseconds.
pub fn processor_us() -> u64 {
    // SAFETY: it takes nothing and gives a number.
    unsafe { clock() }.try_into().unwrap_or(0)
}

/// Says when a text, alone and with the hosts, took longer to compile than all before it, from 50 ms on.
pub fn note_time(took_us: u64, text: &str) {
    static LONGEST_US: AtomicU64 = AtomicU64::new(50_000);
    if LONGEST_US.fetch_max(took_us, Ordering::Relaxed) < took_us {
        eprintln!("compiled twice in {} ms: {text}", took_us / 1000);
    }
}
