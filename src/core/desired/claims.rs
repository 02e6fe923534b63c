//! Which pod has an address: the live pods that claim the address, in the order of their claims, and the node itself. Pure.
//!
//! A pod's status can be written by whoever may patch it, so an address in a status is a claim. The first pod that claims an address
//! has it, and a later pod does not, so that a pod that copies another pod's address neither reads the other's packets nor stops the
//! other's capture. Where the order of two claims is not known, no pod has the address. In normal life two live pods claim the same
//! address only in the moment in which the address passes from one pod to the other.

use std::{
    collections::{BTreeSet, HashMap},
    net::IpAddr,
};

use crate::core::{name::Stem, refusal::Refusal, request::Target};

/// When an address was claimed: the number of the list or change that said so. All pods of a list claim at the same time.
pub type Order = u64;

/// Which pod claims which address.
#[derive(Debug, Default)]
pub struct Claims {
    by_ip: HashMap<IpAddr, BTreeSet<(Order, Stem)>>,
    by_pod: HashMap<Stem, Vec<(IpAddr, Order)>>,
}

impl Claims {
    /// A pod claims these addresses from now on, and no others. `order` is the order of a claim that is new. Returns the other pods that
    /// may gain or lose an address by that.
    pub fn set(&mut self, pod: &Stem, ips: &[IpAddr], order: impl Fn(IpAddr) -> Order) -> BTreeSet<Stem> {
        let before = self.by_pod.remove(pod).unwrap_or_default();
        let mut concerned = BTreeSet::new();
        for (ip, order) in before.iter().filter(|(ip, _)| !ips.contains(ip)) {
            concerned.extend(self.foremost(*ip));
            if let Some(all) = self.by_ip.get_mut(ip) {
                all.remove(&(*order, pod.clone()));
                if all.is_empty() {
                    self.by_ip.remove(ip);
                }
            }
            concerned.extend(self.foremost(*ip));
        }
        let known = |ip| before.iter().find(|(known, _)| *known == ip).map(|(_, order)| *order);
        let now: Vec<(IpAddr, Order)> = ips.iter().map(|ip| (*ip, known(*ip).unwrap_or_else(|| order(*ip)))).collect();
        for (ip, order) in now.iter().filter(|(ip, _)| known(*ip).is_none()) {
            concerned.extend(self.foremost(*ip));
            self.by_ip.entry(*ip).or_default().insert((*order, pod.clone()));
        }
        if !now.is_empty() {
            self.by_pod.insert(pod.clone(), now);
        }
        concerned.remove(pod);
        concerned
    }

    /// Since when a pod claims an address.
    pub fn since(&self, pod: &Stem, ip: IpAddr) -> Option<Order> {
        self.by_pod.get(pod)?.iter().find(|(known, _)| *known == ip).map(|(_, order)| *order)
    }

    /// Where a pod can be captured that reports `reported_target`: nowhere, if the pod does not have one of these addresses.
    pub fn target(&self, pod: &Stem, reported_target: &Target, node: &BTreeSet<IpAddr>) -> Target {
        let Target::At(ips) = reported_target else { return reported_target.clone() };
        let foreign = ips.iter().find_map(|ip| Some((ip, self.whose(pod, *ip, node)?)));
        match foreign {
            None => reported_target.clone(),
            Some((ip, what)) => Target::Forbidden(Refusal::ForeignAddress { address: ip.to_string(), what }),
        }
    }

    /// What an address is instead, if the pod does not have it.
    fn whose(&self, pod: &Stem, ip: IpAddr, node: &BTreeSet<IpAddr>) -> Option<&'static str> {
        match (self.since(pod, ip), node.contains(&ip)) {
            // A pod that uses the node's network reports the node's addresses, and claims none.
            (None, true) => return None,
            (Some(_), true) => return Some("the node's own address"),
            (Some(_) | None, false) => (),
        }
        let mut owners = self.by_ip.get(&ip).into_iter().flatten();
        match (owners.next(), owners.next()) {
            (None, _) => None,
            (Some((first, _)), Some((second, _))) if first == second => {
                Some("reported by another live pod of the node, too, and it is not known which of them had it first")
            }
            (Some((_, first)), _) if first == pod => None,
            (Some(_), _) => Some("that of another live pod of the node, which reported it first"),
        }
    }

    /// The pods that a change of the first claim can concern: the first two, since a tie is a tie however many pods are in it.
    fn foremost(&self, ip: IpAddr) -> impl Iterator<Item = Stem> + use<'_> {
        self.by_ip.get(&ip).into_iter().flatten().take(2).map(|(_, pod)| pod.clone())
    }
}

#[cfg(test)]
mod tests;
