//! Whose an address is: the live pods that report it, in the order in which they did, and the node itself. Pure.
//!
//! A pod's status can be written by whoever may patch it, so an address in it is a claim. The first pod that reports an address
//! keeps it, and a later one gets nothing of it, so that who copies another pod's address neither reads its packets nor stops its
//! capture. Where it is not known who was the first, nobody has it. In normal life two live pods report the same address only in
//! the moment in which it passes from one to the other.

use std::{
    collections::{BTreeSet, HashMap},
    net::IpAddr,
};

use crate::core::{name::Stem, refusal::Refusal, request::Target};

/// When an address was reported: the number of the word that told it. What one list tells came at the same time.
pub type Order = u64;

/// Who reports which address.
#[derive(Debug, Default)]
pub struct Claims {
    by_ip: HashMap<IpAddr, BTreeSet<(Order, Stem)>>,
    by_pod: HashMap<Stem, Vec<(IpAddr, Order)>>,
}

impl Claims {
    /// A pod reports these addresses now, and no others. Returns the pods for which that may change something, itself aside.
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

    /// Since when a pod has reported an address.
    pub fn since(&self, pod: &Stem, ip: IpAddr) -> Option<Order> {
        self.by_pod.get(pod)?.iter().find(|(known, _)| *known == ip).map(|(_, order)| *order)
    }

    /// Where a pod is that reports to be there: nowhere, if one of the addresses is not its own.
    pub fn target(&self, pod: &Stem, reported_target: &Target, node: &BTreeSet<IpAddr>) -> Target {
        let Target::At(ips) = reported_target else { return reported_target.clone() };
        let foreign = ips.iter().find_map(|ip| Some((ip, self.whose(pod, *ip, node)?)));
        match foreign {
            None => reported_target.clone(),
            Some((ip, what)) => Target::Forbidden(Refusal::ForeignAddress { address: ip.to_string(), what }),
        }
    }

    /// Whose an address is, if not this pod's.
    fn whose(&self, pod: &Stem, ip: IpAddr, node: &BTreeSet<IpAddr>) -> Option<&'static str> {
        match (self.since(pod, ip), node.contains(&ip)) {
            // One that uses the node's network reports the node's addresses, and claims none.
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

    /// Those that a change of who is first can concern: two that came at the same time can be many more.
    fn foremost(&self, ip: IpAddr) -> impl Iterator<Item = Stem> + use<'_> {
        self.by_ip.get(&ip).into_iter().flatten().take(2).map(|(_, pod)| pod.clone())
    }
}

#[cfg(test)]
mod tests;
