//! A pod's JSON: the few fields that a capture depends on. No other file knows the JSON.
//!
//! The type is slim for two reasons. A full `Pod` costs 166 kB of heap, nearly all of it `managedFields`, and this type about 1 kB,
//! and 0.2 kB a container. And whoever may create a pod chooses its content: this type's size has a bound, and every object parses (`read`).

mod read;

use std::borrow::Cow;

use k8s_openapi::{
    NamespaceResourceScope,
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time},
    jiff::Timestamp,
};
use kube::runtime::watcher::Event;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::core::{
    annotations,
    desired::WatchEvent,
    limits::Limits,
    name::{self, PodName, PodUid},
    observed_pod::{self, ObservedPod, PodFields},
    recorder::{CONTAINERS_MAX, ContainerEnd, ContainerState, ContainerStatus, PodStatus, Readiness},
};

/// The part of a pod that is read from the API server.
#[derive(Clone, Debug, Default)]
pub struct Pod {
    metadata: ObjectMeta,
    node: String,
    host_network: bool,
    phase: String,
    ips: Vec<String>,
    host_ips: Vec<String>,
    /// The pod has more addresses than were kept.
    too_many_addresses: bool,
    status: PodStatus,
    /// The pod has more containers than were kept.
    too_many_containers: bool,
}

impl Pod {
    /// The node that the pod is scheduled to; empty if the pod is not scheduled yet.
    pub(super) fn node(&self) -> &str {
        &self.node
    }

    fn fields(&self) -> Option<PodFields> {
        let ObjectMeta { uid, name, namespace, creation_timestamp, annotations, .. } = self.metadata.clone();
        let namespace = namespace.unwrap_or_else(|| "default".into());
        let present = |text: &String| !text.is_empty();
        Some(PodFields {
            uid: PodUid(uid.filter(present)?),
            name: PodName { namespace, name: name.filter(present)? },
            created_s: creation_timestamp.map_or(0, |time| time.0.as_second()),
            annotations: annotations.unwrap_or_default(),
            host_network: self.host_network,
            phase: self.phase.clone(),
            ips: self.ips.clone(),
            host_ips: self.host_ips.clone(),
            too_many_addresses: self.too_many_addresses,
            status: self.status.clone(),
            too_many_containers: self.too_many_containers,
        })
    }

    /// Whether the pod has the annotation that asks for a capture, with a valid value or not.
    pub(super) fn asks(&self) -> bool {
        self.metadata.annotations.as_ref().is_some_and(|annotations| annotations.contains_key(annotations::ANNOTATION))
    }
}

/// What a pod asks for, and its addresses. `None` if the pod has no UID or no name, which no API server sends.
#[must_use]
pub fn observed(pod: &Pod, limits: &Limits) -> Option<ObservedPod> {
    Some(observed_pod::observed(pod.fields()?, limits))
}

/// What an event of kube's watch says, for `desired`. `None` if its pod has no UID or no name.
pub(crate) fn watch_event(event: &Event<Pod>, limits: &Limits) -> Option<WatchEvent> {
    match event {
        Event::Init => Some(WatchEvent::ListStarted),
        Event::InitApply(pod) => observed(pod, limits).map(WatchEvent::ListItem),
        Event::InitDone => Some(WatchEvent::ListDone),
        Event::Apply(pod) => observed(pod, limits).map(WatchEvent::Applied),
        Event::Delete(pod) => observed(pod, limits).map(WatchEvent::Deleted),
    }
}

impl<'de> Deserialize<'de> for Pod {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let read::Read { metadata, spec, status } = read::Read::deserialize(deserializer)?;
        let time = |text: String| Time::deserialize(Value::String(text)).ok();
        let too_many_addresses = status.pod_ips.too_many || status.host_ips.too_many;
        let phase = status.phase.0.unwrap_or_default();
        let (first, second) = (status.init_containers, status.containers);
        // A pod that has only just been created has no status yet.
        let most = (spec.init_containers.0 + spec.containers.0).max(first.kept.len() + second.kept.len());
        let too_many_containers = first.too_many || second.too_many || most > CONTAINERS_MAX;
        let containers = first.kept.into_iter().filter_map(|read| container(read, true));
        let pod_status = PodStatus {
            containers: containers
                .chain(second.kept.into_iter().filter_map(|read| container(read, false)))
                .take(CONTAINERS_MAX)
                .collect(),
            ready: status.conditions.ready.map(|ready| Readiness {
                is_ready: ready.status.0.as_deref() == Some("True"),
                since_s: seconds(ready.last_transition_time),
            }),
            is_ending: phase == "Succeeded" || metadata.deletion_timestamp.0.is_some(),
        };
        let ips = |all: read::Addresses, one: read::ShortText| all.texts.into_iter().chain(one.0).collect();
        Ok(Self {
            metadata: ObjectMeta {
                name: metadata.name.0,
                namespace: metadata.namespace.0,
                uid: metadata.uid.0,
                resource_version: metadata.resource_version.0,
                creation_timestamp: metadata.creation_timestamp.0.and_then(time),
                annotations: Some(metadata.annotations.0),
                ..ObjectMeta::default()
            },
            node: spec.node_name.0.unwrap_or_default(),
            host_network: spec.host_network.0,
            phase,
            ips: ips(status.pod_ips, status.pod_ip),
            host_ips: ips(status.host_ips, status.host_ip),
            too_many_addresses,
            status: pod_status,
            too_many_containers,
        })
    }
}

/// `None` for a container without a name that a container can have.
fn container(container: read::Container, is_init: bool) -> Option<ContainerStatus> {
    let read::Container { name, restart_count, state, last_state } = container;
    Some(ContainerStatus {
        name: name.0.filter(|name| name::is_dns_label(name))?,
        is_init,
        restarts: restart_count.0.unwrap_or_default().try_into().unwrap_or_default(),
        state: match (state.running.0, state.terminated.0) {
            (Some(running), _) => ContainerState::Running { started_s: seconds(running.started_at) },
            (None, Some(terminated)) => ContainerState::Terminated(end(terminated)),
            (None, None) => ContainerState::Waiting,
        },
        last_end: last_state.terminated.0.map(end),
    })
}

fn end(end: read::Terminated) -> ContainerEnd {
    let exit_code = end.exit_code.0.unwrap_or_default().try_into().unwrap_or(i32::MAX);
    ContainerEnd { exit_code, reason: end.reason.0, at_s: seconds(end.finished_at) }
}

/// A time, in seconds since 1970.
fn seconds(text: read::ShortText) -> Option<u64> {
    text.0?.parse::<Timestamp>().ok()?.as_second().try_into().ok()
}

impl kube::Resource for Pod {
    type DynamicType = ();
    type Scope = NamespaceResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        "Pod".into()
    }
    fn group((): &()) -> Cow<'_, str> {
        "".into()
    }
    fn version((): &()) -> Cow<'_, str> {
        "v1".into()
    }
    fn plural((): &()) -> Cow<'_, str> {
        "pods".into()
    }
    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }
    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use std::net::IpAddr;

    use super::*;
    use crate::core::{annotations::ANNOTATION, observed_pod::ADDRESSES_MAX, refusal::Refusal, request::Target};

    fn limits() -> Limits {
        Limits { host_network_namespaces: ["trusted".to_owned()].into(), ..Limits::default() }
    }

    fn look(json: Value) -> ObservedPod {
        let mut pod = json!({"metadata": {"name": "web", "namespace": "default", "uid": "u1"}});
        merge(&mut pod, json);
        observed(&serde_json::from_value(pod).unwrap(), &limits()).unwrap()
    }

    fn merge(into: &mut Value, from: Value) {
        match (into, from) {
            (Value::Object(into), Value::Object(from)) => {
                from.into_iter().for_each(|(key, value)| merge(into.entry(key).or_insert(Value::Null), value));
            }
            (into, from) => *into = from,
        }
    }

    #[test]
    fn a_pods_target_follows_from_its_status() {
        let target = |status| look(json!({ "status": status })).target;
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        assert_eq!(target(json!({})), Target::NoAddress);
        assert_eq!(target(json!({"podIP": "10.0.0.1"})), Target::At(vec![ip("10.0.0.1")]));
        let dual = json!({"podIP": "fd00::1", "podIPs": [{"ip": "fd00::1"}, {"ip": "10.0.0.1"}]});
        assert_eq!(target(dual), Target::At(vec![ip("10.0.0.1"), ip("fd00::1")]));
        for phase in ["Succeeded", "Failed"] {
            assert_eq!(target(json!({"podIP": "10.0.0.1", "phase": phase})), Target::Finished);
        }
        assert_eq!(target(json!({"podIP": "10.0.0.1", "phase": "Pending"})), Target::At(vec![ip("10.0.0.1")]));
    }

    #[test]
    fn a_pod_address_that_is_not_the_pods_own_is_refused() {
        let bad = [
            "127.0.0.1",
            "::1",
            "0.0.0.0",
            "::",
            "224.0.0.1",
            "ff02::1",
            "169.254.1.1",
            "fe80::1",
            "192.0.2.9",
            "x",
            "255.255.255.255",
            "::ffff:127.0.0.1",
        ];
        for address in bad {
            let status = json!({"podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}, {"ip": address}], "hostIPs": [{"ip": "192.0.2.9"}]});
            let target = look(json!({ "status": status })).target;
            assert!(
                matches!(&target, Target::Forbidden(Refusal::ForeignAddress { address: a, .. }) if a == address),
                "{address}: {target:?}"
            );
        }
    }

    #[test]
    fn a_live_pod_claims_at_most_two_addresses_whether_it_may_be_captured_or_not() {
        let claims = |json| look(json).claims.iter().map(ToString::to_string).collect::<Vec<_>>();
        let at = |ips: &[&str]| json!({"podIPs": ips.iter().map(|ip| json!({ "ip": ip })).collect::<Vec<_>>()});
        assert_eq!(claims(json!({"status": at(&["::ffff:10.0.0.1", "10.0.0.1", "fd00::1"])})), ["10.0.0.1", "fd00::1"]);
        assert_eq!(claims(json!({"status": at(&["x", "127.0.0.1", "10.0.0.1"])})), ["10.0.0.1"]);
        let long = "a".repeat(250);
        assert_eq!(claims(json!({"metadata": {"name": long}, "status": at(&["10.0.0.1"])})), ["10.0.0.1"]);
        assert_eq!(claims(json!({"spec": {"hostNetwork": true}, "status": at(&["10.0.0.1"])})), [""; 0]);
        assert_eq!(claims(json!({"status": {"phase": "Failed", "podIP": "10.0.0.1"}})), [""; 0]);
        let many: Vec<String> = (0..200).map(|n| format!("10.0.0.{n}")).collect();
        let many = json!({"status": at(&many.iter().map(String::as_str).collect::<Vec<_>>())});
        assert_eq!(claims(many.clone()).len(), ADDRESSES_MAX);
        assert_eq!(look(many).target, Target::Forbidden(Refusal::TooManyAddresses { max: ADDRESSES_MAX }));
    }

    #[test]
    fn a_host_network_pod_is_refused_outside_the_allowed_namespaces() {
        let pod = |namespace| json!({"metadata": {"namespace": namespace}, "spec": {"hostNetwork": true}, "status": {"podIP": "192.0.2.9", "hostIP": "192.0.2.9"}});
        assert_eq!(look(pod("default")).target, Target::Forbidden(Refusal::HostNetwork));
        assert_eq!(look(pod("trusted")).target, Target::At(vec!["192.0.2.9".parse().unwrap()]));
    }

    #[test]
    fn a_pod_object_of_any_shape_parses() {
        for json in [
            json!({}),
            json!({"metadata": {"name": 5, "uid": [], "annotations": "x"}, "spec": {"hostNetwork": "yes"}, "status": {"podIPs": {"ip": 3}}}),
            json!({"metadata": {"annotations": {ANNOTATION: 5}, "creationTimestamp": "not a time"}}),
            json!({"metadata": {"annotations": null}, "status": {"podIPs": null, "podIP": null}}),
            json!({"metadata": null, "spec": null, "status": null}),
            json!({"metadata": [], "spec": "x", "status": 3}),
        ] {
            let pod = serde_json::from_value::<Pod>(json.clone());
            assert!(pod.is_ok(), "{json}: {pod:?}");
            assert_eq!(observed(&pod.unwrap(), &limits()), None);
        }
    }
}
