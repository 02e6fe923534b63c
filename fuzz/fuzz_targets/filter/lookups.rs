//! The C library's functions that look up a name, put in front of it: whoever calls one with a name is counted, and gets nothing.

use std::{
    ffi::{CStr, c_char, c_int, c_void},
    net::IpAddr,
    ptr,
    sync::atomic::{AtomicUsize, Ordering},
};

use crate::pcap::Program;

static SEEN: AtomicUsize = AtomicUsize::new(0);

/// How many lookups there were.
pub fn seen() -> usize {
    SEEN.load(Ordering::Relaxed)
}

/// Shows that each kind of lookup that libpcap knows is counted.
pub fn prove_that_they_are_seen() {
    for text in ["host nowhere", "port nothing", "portrange a-b", "net nowhere", "ip proto \\nothing"] {
        drop(Program::compile(text));
        assert!(SEEN.swap(0, Ordering::Relaxed) > 0, "{text}: not seen");
    }
}

const EAI_NONAME: c_int = -2;

unsafe extern "C" {
    fn dlsym(handle: *mut c_void, name: *const c_char) -> *mut c_void;
}

/// # Safety
/// As the C library's: a text or null.
#[unsafe(no_mangle)]
unsafe extern "C" fn getaddrinfo(
    node: *const c_char,
    service: *const c_char,
    hints: *const c_void,
    result: *mut *mut c_void,
) -> c_int {
    type Getaddrinfo = unsafe extern "C" fn(*const c_char, *const c_char, *const c_void, *mut *mut c_void) -> c_int;
    // SAFETY: the caller gives a text or null; RTLD_NEXT (-1) is the C library's own function of this name.
    unsafe {
        // libpcap has addresses read by this function too; they need no lookup.
        let is_address =
            !node.is_null() && CStr::from_ptr(node).to_str().is_ok_and(|node| node.parse::<IpAddr>().is_ok());
        if is_address && service.is_null() {
            let own = dlsym(ptr::without_provenance_mut(usize::MAX), c"getaddrinfo".as_ptr());
            assert!(!own.is_null());
            return std::mem::transmute::<*mut c_void, Getaddrinfo>(own)(node, service, hints, result);
        }
    }
    SEEN.fetch_add(1, Ordering::Relaxed);
    EAI_NONAME
}

/// Functions that give null for what is not found.
macro_rules! finds_nothing {
    ($($name:ident)*) => {$(
        #[unsafe(no_mangle)]
        extern "C" fn $name() -> *mut c_void {
            SEEN.fetch_add(1, Ordering::Relaxed);
            ptr::null_mut()
        }
    )*};
}
finds_nothing!(gethostbyname gethostbyname2 getnetbyname getservbyname getprotobyname getservent getprotoent getnetent);

/// Functions that give an error for what is not found.
macro_rules! fails {
    ($($name:ident)*) => {$(
        #[unsafe(no_mangle)]
        extern "C" fn $name() -> c_int {
            SEEN.fetch_add(1, Ordering::Relaxed);
            -1
        }
    )*};
}
fails!(gethostbyname_r gethostbyname2_r getservbyname_r getprotobyname_r getnetbyname_r ether_hostton);
