//! A pod as the API server shows it: what the pod asks, and which addresses are its own. Pure.

use std::net::IpAddr;

use super::{
    annotations::{self, Annotations},
    limits::Limits,
    name::{PodName, PodUid, Stem},
    recorder::{CONTAINERS_MAX, PodStatus, StopOn},
    refusal::Refusal,
    request::{Parsed, Target},
};

/// The fields of a pod object that matter here, as the API server shows them.
#[derive(Clone, Debug)]
pub struct PodFields {
    /// The pod's UID.
    pub uid: PodUid,
    /// The pod's namespace and name.
    pub name: PodName,
    /// When the pod was created, in seconds since 1970.
    pub created_s: i64,
    /// The pod's annotations of ours.
    pub annotations: Annotations,
    /// `spec.hostNetwork`.
    pub host_network: bool,
    /// `status.phase`.
    pub phase: String,
    /// `status.podIPs` and `status.podIP`.
    pub ips: Vec<String>,
    /// `status.hostIPs` and `status.hostIP`.
    pub host_ips: Vec<String>,
    /// Whether the pod object has more addresses than `ips` and `host_ips` hold.
    pub too_many_addresses: bool,
    /// What a flight recorder compares.
    pub status: PodStatus,
    /// Whether the pod object has more containers than `status` holds.
    pub too_many_containers: bool,
}

/// A pod as last observed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObservedPod {
    /// The pod's UID.
    pub uid: PodUid,
    /// The pod's namespace and name.
    pub name: PodName,
    /// When the pod was created, in seconds since 1970: the older pod comes first if nothing else decides.
    pub created_s: i64,
    /// The pod's annotations of ours, word for word, except that values which are too long to be valid are cut.
    pub annotations: Annotations,
    /// What the annotations ask.
    pub parsed: Parsed,
    /// Where the pod can be captured, according to its own status alone.
    pub target: Target,
    /// The addresses that the pod reports as its own, whether it asks for a capture or not. Empty if the pod has finished or uses the
    /// node's network.
    pub claims: Vec<IpAddr>,
    /// What a flight recorder compares; empty for a pod that asks for no capture.
    pub status: PodStatus,
}

/// The most addresses that a pod can have: one of each family. A pod that reports more is refused, and the rest is not kept.
pub const ADDRESSES_MAX: usize = 2;

/// Reads what a pod asks, and where it can be captured.
#[must_use]
pub fn observed(fields: PodFields, limits: &Limits) -> ObservedPod {
    let (target, claims) = (target(&fields, limits), claims(&fields));
    let PodFields { uid, name, created_s, annotations, status, too_many_containers, .. } = fields;
    let parsed = match annotations::parse(&annotations, limits) {
        Parsed::Valid(request) if request.stop_on != StopOn::NOTHING && too_many_containers => {
            Parsed::Invalid(Refusal::TooManyContainers { max: CONTAINERS_MAX })
        }
        parsed => parsed,
    };
    let status = if parsed == Parsed::None { PodStatus::default() } else { status };
    ObservedPod { uid, name, created_s, annotations, parsed, target, claims, status }
}

fn host_ips(pod: &PodFields) -> Vec<IpAddr> {
    pod.host_ips.iter().filter_map(|ip| Some(ip.parse::<IpAddr>().ok()?.to_canonical())).collect()
}

fn has_finished(pod: &PodFields) -> bool {
    matches!(pod.phase.as_str(), "Succeeded" | "Failed")
}

/// The addresses that a pod claims. Valid addresses count even if another one is invalid: they may be the pod's, and must not be
/// captured for another pod.
fn claims(pod: &PodFields) -> Vec<IpAddr> {
    if pod.host_network || has_finished(pod) {
        return Vec::new();
    }
    let ips = pod.ips.iter().filter_map(|ip| Some(ip.parse::<IpAddr>().ok()?.to_canonical()));
    let mut claims = Vec::new();
    let hosts = host_ips(pod);
    for ip in ips.filter(|ip| whose(*ip).is_none() && !hosts.contains(ip)) {
        if claims.len() < ADDRESSES_MAX && !claims.contains(&ip) {
            claims.push(ip);
        }
    }
    claims
}

fn target(pod: &PodFields, limits: &Limits) -> Target {
    let stem = Stem::of(&pod.name);
    let host_network_allowed = limits.host_network_namespaces.contains(&pod.name.namespace);
    if has_finished(pod) {
        return Target::Finished;
    }
    if !stem.fits() {
        let (bytes, max) = stem.file_name_bytes();
        return Target::Forbidden(Refusal::NameTooLong { bytes, max });
    }
    if pod.host_network && !host_network_allowed {
        return Target::Forbidden(Refusal::HostNetwork);
    }
    if pod.too_many_addresses {
        return Target::Forbidden(Refusal::TooManyAddresses { max: ADDRESSES_MAX });
    }
    let host_ips = host_ips(pod);
    let mut ips = Vec::new();
    for address in &pod.ips {
        let foreign = |what| Target::Forbidden(Refusal::ForeignAddress { address: address.clone(), what });
        let Ok(ip) = address.parse::<IpAddr>() else { return foreign("not an IP address") };
        let ip = ip.to_canonical();
        match whose(ip) {
            Some(what) => return foreign(what),
            None if host_ips.contains(&ip) && !pod.host_network => return foreign("the node's own address"),
            None if ips.contains(&ip) => (),
            None if ips.len() >= ADDRESSES_MAX => {
                return Target::Forbidden(Refusal::TooManyAddresses { max: ADDRESSES_MAX });
            }
            None => ips.push(ip),
        }
    }
    ips.sort_unstable();
    if ips.is_empty() { Target::NoAddress } else { Target::At(ips) }
}

/// Why no pod can have this address for itself; `None` if a pod can.
fn whose(ip: IpAddr) -> Option<&'static str> {
    let link_local = match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    if ip.is_loopback() {
        Some("a loopback address")
    } else if ip.is_unspecified() {
        Some("the unspecified address")
    } else if ip.is_multicast() || ip == IpAddr::from([255; 4]) {
        Some("a multicast or broadcast address")
    } else if link_local {
        Some("a link-local address")
    } else {
        None
    }
}
