//! Reads a pod's JSON as a stream. A few fields are kept; all others are skipped and cost no memory.
//!
//! Whoever may create a pod may fill it with megabytes. So reading takes time in proportion to the text, and the kept part has a bound.
//! A field of an unexpected shape reads as absent, and the last of two equal keys counts: one object that fails to parse would fail
//! every list. `serde_json` skips a value without recursion, however deep it is.

use std::{collections::BTreeMap, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, Error, IgnoredAny, MapAccess, SeqAccess, Visitor},
};

use crate::core::{annotations, recorder::CONTAINERS_MAX};

/// Addresses that are kept of a list. The API server accepts one of each family.
pub(super) const ADDRESSES_MAX: usize = 8;

/// How much of a short text is kept, in characters: more than the longest address (45), time (35) or name of a container (63) has, so a cut
/// text is none of these.
const SHORT_CHARS_MAX: usize = 64;

/// Annotations of ours that are kept: more than there are keys. If a pod has more, at least one of the kept annotations is unknown. The
/// first unknown one is kept and is what the pod is refused for, because annotations are checked in the same order.
const ANNOTATIONS_MAX: usize = 16;

/// How much of an annotation's value is kept, in bytes: more than any valid value has.
const VALUE_BYTES_MAX: usize = 1024;

/// The kept part of a pod's JSON.
#[derive(Default)]
pub(super) struct Read {
    pub metadata: Metadata,
    pub spec: Spec,
    pub status: Status,
}

#[derive(Default)]
pub(super) struct Metadata {
    pub name: Text,
    pub namespace: Text,
    pub uid: Text,
    pub resource_version: Text,
    pub creation_timestamp: Text,
    pub deletion_timestamp: ShortText,
    pub annotations: Annotations,
}

#[derive(Default)]
pub(super) struct Spec {
    pub node_name: Text,
    pub host_network: Flag,
    pub init_containers: Count,
    pub containers: Count,
}

#[derive(Default)]
pub(super) struct Status {
    pub phase: Text,
    pub pod_ip: ShortText,
    pub pod_ips: Addresses,
    pub host_ip: ShortText,
    pub host_ips: Addresses,
    pub conditions: Conditions,
    pub init_containers: Containers,
    pub containers: Containers,
}

/// The condition `Ready`, of all conditions.
#[derive(Default)]
pub(super) struct Conditions {
    pub ready: Option<Condition>,
}

#[derive(Default)]
pub(super) struct Condition {
    kind: ShortText,
    pub status: ShortText,
    pub last_transition_time: ShortText,
}

/// The containers of a list.
#[derive(Default)]
pub(super) struct Containers {
    pub kept: Vec<Container>,
    /// The list has more containers than were kept.
    pub too_many: bool,
}

#[derive(Default)]
pub(super) struct Container {
    pub name: ShortText,
    pub restart_count: Number,
    pub state: ContainerState,
    pub last_state: ContainerState,
}

#[derive(Default)]
pub(super) struct ContainerState {
    pub running: Present<Running>,
    pub terminated: Present<Terminated>,
}

#[derive(Default)]
pub(super) struct Running {
    pub started_at: ShortText,
}

#[derive(Default)]
pub(super) struct Terminated {
    pub exit_code: Number,
    pub reason: ShortText,
    pub finished_at: ShortText,
}

/// An object, if there is one.
#[derive(Default)]
pub(super) struct Present<T>(pub Option<T>);

/// How many elements a list has.
#[derive(Default)]
pub(super) struct Count(pub usize);

/// A whole number.
#[derive(Default)]
pub(super) struct Number(pub Option<i64>);

/// A text that is not empty.
#[derive(Default)]
pub(super) struct Text(pub Option<String>);

#[derive(Default)]
pub(super) struct Flag(pub bool);

/// The annotations of ours.
#[derive(Default)]
pub(super) struct Annotations(pub BTreeMap<String, String>);

/// An annotation's value. Empty if it is not a text.
#[derive(Default)]
struct Value(String);

/// A text that is not empty, cut if it is long.
#[derive(Default)]
pub(super) struct ShortText(pub Option<String>);

/// An entry of a list of addresses.
#[derive(Default)]
struct Address {
    ip: ShortText,
}

/// The addresses of a list.
#[derive(Default)]
pub(super) struct Addresses {
    pub texts: Vec<String>,
    /// The list has more addresses than were kept.
    pub too_many: bool,
}

impl<'de> Deserialize<'de> for Read {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut read = Self::default();
        Seed(&mut read).deserialize(deserializer)?;
        Ok(read)
    }
}

/// A value that accepts the shape that it expects, and skips every other shape.
trait Shape: Default {
    fn text(&mut self, _text: &str) {}
    fn flag(&mut self, _flag: bool) {}
    fn number(&mut self, _number: i64) {}
    fn object<'de, A: MapAccess<'de>>(&mut self, mut map: A) -> Result<(), A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(())
    }
    fn array<'de, A: SeqAccess<'de>>(&mut self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }
}

struct Seed<'a, T>(&'a mut T);

impl<'de, T: Shape> DeserializeSeed<'de> for Seed<'_, T> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, T: Shape> Visitor<'de> for Seed<'_, T> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }
    fn visit_bool<E: Error>(self, flag: bool) -> Result<(), E> {
        self.0.flag(flag);
        Ok(())
    }
    fn visit_i64<E: Error>(self, number: i64) -> Result<(), E> {
        self.0.number(number);
        Ok(())
    }
    fn visit_u64<E: Error>(self, number: u64) -> Result<(), E> {
        self.0.number(number.try_into().unwrap_or(i64::MAX));
        Ok(())
    }
    fn visit_f64<E: Error>(self, _: f64) -> Result<(), E> {
        Ok(())
    }
    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }
    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        self.0.text(text);
        Ok(())
    }
    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error> {
        self.0.object(map)
    }
    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<(), A::Error> {
        self.0.array(seq)
    }
}

/// Reads the value of the key that was just read. It replaces the value of an earlier equal key.
fn read<'de, A: MapAccess<'de>>(map: &mut A, value: &mut impl Shape) -> Result<(), A::Error> {
    *value = Default::default();
    map.next_value_seed(Seed(value))
}

/// A key, if it is one of these. Any other key costs no memory.
struct Key(&'static [&'static str]);

impl<'de> DeserializeSeed<'de> for Key {
    type Value = Option<&'static str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Key {
    type Value = Option<&'static str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }
    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(self.0.iter().find(|key| **key == text).copied())
    }
}

/// A key of ours among a pod's annotations.
struct OurKey;

impl<'de> DeserializeSeed<'de> for OurKey {
    type Value = Option<String>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for OurKey {
    type Value = Option<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }
    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(annotations::is_ours(text).then(|| text.to_owned()))
    }
}

/// Declares which keys of an object are read, and into what.
macro_rules! object {
    ($object:ty { $($key:literal => $field:ident),+ $(,)? }) => {
        impl Shape for $object {
            fn object<'de, A: MapAccess<'de>>(&mut self, mut map: A) -> Result<(), A::Error> {
                while let Some(key) = map.next_key_seed(Key(&[$($key),+]))? {
                    match key {
                        $(Some($key) => read(&mut map, &mut self.$field)?,)+
                        Some(_) | None => drop(map.next_value::<IgnoredAny>()?),
                    }
                }
                Ok(())
            }
        }
    };
}

object!(Read { "metadata" => metadata, "spec" => spec, "status" => status });
object!(Metadata {
    "name" => name,
    "namespace" => namespace,
    "uid" => uid,
    "resourceVersion" => resource_version,
    "creationTimestamp" => creation_timestamp,
    "deletionTimestamp" => deletion_timestamp,
    "annotations" => annotations,
});
object!(Spec {
    "nodeName" => node_name,
    "hostNetwork" => host_network,
    "initContainers" => init_containers,
    "containers" => containers,
});
object!(Status {
    "phase" => phase,
    "podIP" => pod_ip,
    "podIPs" => pod_ips,
    "hostIP" => host_ip,
    "hostIPs" => host_ips,
    "conditions" => conditions,
    "initContainerStatuses" => init_containers,
    "containerStatuses" => containers,
});
object!(Address { "ip" => ip });
object!(Condition { "type" => kind, "status" => status, "lastTransitionTime" => last_transition_time });
object!(Container { "name" => name, "restartCount" => restart_count, "state" => state, "lastState" => last_state });
object!(ContainerState { "running" => running, "terminated" => terminated });
object!(Running { "startedAt" => started_at });
object!(Terminated { "exitCode" => exit_code, "reason" => reason, "finishedAt" => finished_at });

impl<T: Shape> Shape for Present<T> {
    fn object<'de, A: MapAccess<'de>>(&mut self, map: A) -> Result<(), A::Error> {
        self.0.insert(T::default()).object(map)
    }
}

impl Shape for Count {
    fn array<'de, A: SeqAccess<'de>>(&mut self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {
            self.0 += 1;
        }
        Ok(())
    }
}

impl Shape for Number {
    fn number(&mut self, number: i64) {
        self.0 = Some(number);
    }
}

impl Shape for Text {
    fn text(&mut self, text: &str) {
        self.0 = Some(text.to_owned()).filter(|text| !text.is_empty());
    }
}

impl Shape for Flag {
    fn flag(&mut self, flag: bool) {
        self.0 = flag;
    }
}

impl Shape for ShortText {
    fn text(&mut self, text: &str) {
        self.0 = Some(text.chars().take(SHORT_CHARS_MAX).collect()).filter(|text: &String| !text.is_empty());
    }
}

impl Shape for Value {
    fn text(&mut self, text: &str) {
        text[..text.floor_char_boundary(VALUE_BYTES_MAX)].clone_into(&mut self.0);
    }
}

impl Shape for Annotations {
    fn object<'de, A: MapAccess<'de>>(&mut self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key_seed(OurKey)? {
            let Some(key) = key else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            let mut value = Value::default();
            read(&mut map, &mut value)?;
            self.0.insert(key, value.0);
            if self.0.len() > ANNOTATIONS_MAX {
                self.0.pop_last();
            }
        }
        Ok(())
    }
}

impl Shape for Addresses {
    fn array<'de, A: SeqAccess<'de>>(&mut self, mut seq: A) -> Result<(), A::Error> {
        let mut address = Address::default();
        while seq.next_element_seed(Seed(&mut address))?.is_some() {
            let Some(ip) = std::mem::take(&mut address).ip.0 else { continue };
            if self.texts.len() < ADDRESSES_MAX {
                self.texts.push(ip);
            } else {
                self.too_many = true;
            }
        }
        Ok(())
    }
}

impl Shape for Conditions {
    fn array<'de, A: SeqAccess<'de>>(&mut self, mut seq: A) -> Result<(), A::Error> {
        let mut condition = Condition::default();
        while seq.next_element_seed(Seed(&mut condition))?.is_some() {
            let condition = std::mem::take(&mut condition);
            if condition.kind.0.as_deref() == Some("Ready") {
                self.ready = Some(condition);
            }
        }
        Ok(())
    }
}

impl Shape for Containers {
    fn array<'de, A: SeqAccess<'de>>(&mut self, mut seq: A) -> Result<(), A::Error> {
        let mut container = Container::default();
        while seq.next_element_seed(Seed(&mut container))?.is_some() {
            let container = std::mem::take(&mut container);
            if self.kept.len() < CONTAINERS_MAX {
                self.kept.push(container);
            } else {
                self.too_many = true;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
