//! Links libpcap: the system's, or a static one from `LIBPCAP_DIR`, such as one that is built to be fuzzed.

fn main() {
    println!("cargo::rerun-if-env-changed=LIBPCAP_DIR");
    match std::env::var("LIBPCAP_DIR") {
        Ok(dir) => println!("cargo::rustc-link-search=native={dir}\ncargo::rustc-link-lib=static=pcap"),
        Err(_) => println!("cargo::rustc-link-lib=pcap"),
    }
}
