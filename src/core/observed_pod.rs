//! One look at a pod: what it asks for, and which addresses are its own. Pure.

use std::net::IpAddr;

use super::{
    annotations::{self, Annotations},
    limits::Limits,
    name::{PodName, PodUid, Stem},
    refusal::Refusal,
    request::{Parsed, Target},
};

/// What the API server says of a pod, as it stands there.
#[derive(Clone, Debug)]
pub struct PodFields {
    /// Its UID.
    pub uid: PodUid,
    /// Its namespace and name.
    pub name: PodName,
    /// When it was created, in seconds since 1970.
    pub created_s: i64,
    /// Its annotations of ours.
    pub annotations: Annotations,
    /// `spec.hostNetwork`.
    pub host_network: bool,
    /// `status.phase`.
    pub phase: String,
    /// `status.podIPs` and `status.podIP`.
    pub ips: Vec<String>,
    /// `status.hostIPs` and `status.hostIP`.
    pub host_ips: Vec<String>,
    /// There are more addresses than those.
    pub too_many_addresses: bool,
}

/// What one look at a pod tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObservedPod {
    /// Its UID.
    pub uid: PodUid,
    /// Its namespace and name.
    pub name: PodName,
    /// When it was created, in seconds since 1970: decides who came first where nothing else does.
    pub created_s: i64,
    /// Its annotations of ours as they stand there, but for what is too much to be readable.
    pub annotations: Annotations,
    /// What they ask.
    pub parsed: Parsed,
    /// Where it is, as far as its own status tells.
    pub target: Target,
    /// The addresses that it reports as its own, whether it asks for a capture or not; none if it has finished or uses the node's
    /// network.
    pub claims: Vec<IpAddr>,
}

/// The most addresses that a pod has: one of each family. What reports more is not believed, and not kept.
pub const ADDRESSES_MAX: usize = 2;

/// What a pod asks for, and where it is.
#[must_use]
pub fn observed(fields: PodFields, limits: &Limits) -> ObservedPod {
    let (target, claims) = (target(&fields, limits), claims(&fields));
    let PodFields { uid, name, created_s, annotations, .. } = fields;
    let parsed = annotations::parse(&annotations, limits);
    ObservedPod { uid, name, created_s, annotations, parsed, target, claims }
}

fn host_ips(pod: &PodFields) -> Vec<IpAddr> {
    pod.host_ips.iter().filter_map(|ip| Some(ip.parse::<IpAddr>().ok()?.to_canonical())).collect()
}

fn has_finished(pod: &PodFields) -> bool {
    matches!(pod.phase.as_str(), "Succeeded" | "Failed")
}

/// One bad address does not spoil the others: they may well be the pod's, and are not to be captured for another.
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

/// What an address is that no pod can have for itself.
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
        Some("an address of many hosts")
    } else if link_local {
        Some("a link-local address")
    } else {
        None
    }
}
