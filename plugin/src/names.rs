//! Names of addresses, from what kubectl lists: pods, Services and nodes. Pure.
//!
//! The names are as in the cluster's DNS, without the cluster's domain: `web-0.shop` is a pod, `web.shop.svc` a Service, and a node has its
//! name. Wireshark shows the first 63 characters of a name, so the part that tells most comes first.
//!
//! Addresses in a status are what others wrote there. So what is no address or no name of Kubernetes is passed over, and all is bounded.

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::IpAddr,
};

use serde::Deserialize;

use crate::pcapng::NameRecord;

/// The longest list that is read, in bytes. 5,000 pods with long statuses are less than 100 MB; the names of more are not worth their memory.
pub const LIST_BYTES_MAX: usize = 256 << 20;
/// The most addresses that get a name: the largest cluster that Kubernetes supports has 150,000 pods, most of them with one address.
pub const ADDRESSES_MAX: usize = 200_000;
/// The most names of one address: several nodes may have one external address, and no reader shows more.
pub const NAMES_PER_ADDRESS_MAX: usize = 8;
/// The longest name of an object in Kubernetes, in bytes.
const NAME_BYTES_MAX: usize = 253;

/// Names of addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// The addresses in ascending order, IPv4 before IPv6, each with its names in ascending order.
    pub records: Vec<NameRecord>,
    /// How many addresses have no name here for want of room ([`ADDRESSES_MAX`]).
    pub left_out: usize,
}

/// Why a list has no names.
#[derive(Debug)]
pub enum Error {
    /// The list has more than [`LIST_BYTES_MAX`] bytes; this many.
    TooLong(usize),
    /// The text is no list of objects.
    Json(serde_json::Error),
}

/// The names in what `kubectl get pods,services,nodes --output json` prints.
///
/// # Errors
/// If the text is too long, or no list of objects.
pub fn parse(list: &str) -> Result<Names, Error> {
    parse_at_most(list, ADDRESSES_MAX)
}

fn parse_at_most(list: &str, addresses_max: usize) -> Result<Names, Error> {
    if list.len() > LIST_BYTES_MAX {
        return Err(Error::TooLong(list.len()));
    }
    let list: List = serde_json::from_str(list).map_err(Error::Json)?;
    let mut names = BTreeMap::<IpAddr, BTreeSet<String>>::new();
    for object in &list.items {
        let Some(name) = object.dns_name() else { continue };
        for address in object.addresses().iter().filter_map(|address| known(address)) {
            names.entry(address).or_default().insert(name.clone());
        }
    }
    let left_out = names.len().saturating_sub(addresses_max);
    let records = names
        .into_iter()
        .take(addresses_max)
        .map(|(address, names)| NameRecord { address, names: names.into_iter().take(NAMES_PER_ADDRESS_MAX).collect() });
    Ok(Names { records: records.collect(), left_out })
}

/// An address that can be one object's. `None` also for what every host has, such as 127.0.0.1.
fn known(address: &str) -> Option<IpAddr> {
    let address = address.parse::<IpAddr>().ok()?.to_canonical();
    (!address.is_unspecified() && !address.is_loopback() && !address.is_multicast()).then_some(address)
}

/// Whether a text can be a name in Kubernetes. It also has no character then that a terminal acts upon.
fn is_name(name: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.');
    (1..=NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(is_allowed)
}

#[derive(Deserialize)]
struct List {
    items: Vec<Object>,
}

/// A pod, a Service, a node, or something else that has no names.
#[derive(Deserialize)]
struct Object {
    #[serde(default)]
    kind: String,
    #[serde(default)]
    metadata: Metadata,
    #[serde(default)]
    spec: Spec,
    #[serde(default)]
    status: Status,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Metadata {
    name: String,
    namespace: String,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Spec {
    host_network: bool,
    #[serde(rename = "clusterIP")]
    cluster_ip: Option<String>,
    #[serde(rename = "clusterIPs")]
    cluster_ips: Vec<String>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Status {
    phase: String,
    #[serde(rename = "podIP")]
    pod_ip: Option<String>,
    #[serde(rename = "podIPs")]
    pod_ips: Vec<PodIp>,
    addresses: Vec<NodeAddress>,
}

#[derive(Deserialize)]
struct PodIp {
    #[serde(default)]
    ip: String,
}

#[derive(Deserialize)]
struct NodeAddress {
    #[serde(default)]
    address: String,
}

impl Object {
    fn dns_name(&self) -> Option<String> {
        let Metadata { name, namespace } = &self.metadata;
        let is_namespaced = is_name(name) && is_name(namespace);
        match self.kind.as_str() {
            "Pod" => is_namespaced.then(|| format!("{name}.{namespace}")),
            "Service" => is_namespaced.then(|| format!("{name}.{namespace}.svc")),
            "Node" => is_name(name).then(|| name.clone()),
            _ => None,
        }
    }

    /// The object's own addresses, as they are written. A Service may have `None`, a node a host name.
    fn addresses(&self) -> Vec<&str> {
        // The addresses of a pod that has finished may be another pod's by now.
        let has_finished = matches!(self.status.phase.as_str(), "Succeeded" | "Failed");
        match self.kind.as_str() {
            "Pod" if self.spec.host_network || has_finished => Vec::new(),
            "Pod" => {
                self.status.pod_ips.iter().map(|pod| pod.ip.as_str()).chain(self.status.pod_ip.as_deref()).collect()
            }
            "Service" => {
                self.spec.cluster_ips.iter().map(String::as_str).chain(self.spec.cluster_ip.as_deref()).collect()
            }
            "Node" => self.status.addresses.iter().map(|node| node.address.as_str()).collect(),
            _ => Vec::new(),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::TooLong(bytes) => {
                write!(f, "the list of pods, Services and nodes has {bytes} bytes; at most {LIST_BYTES_MAX} are read")
            }
            Self::Json(error) => write!(f, "cannot read the list of pods, Services and nodes: {error}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::TooLong(_) => None,
            Self::Json(error) => Some(error),
        }
    }
}
