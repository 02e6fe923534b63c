//! Reads a pod's JSON as a stream: a few fields are kept, and all others are passed over without a byte of memory for them.
//!
//! Who may create a pod may fill it with megabytes. So time and memory are in proportion to the text, and what is kept has a bound.
//! A field of another shape than expected reads as absent, and of a key that stands twice the last one counts: one object that
//! fails to parse would fail a whole list, for ever. `serde_json` passes over a value without recursion, however deep it is.

use std::{collections::BTreeMap, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, Error, IgnoredAny, MapAccess, SeqAccess, Visitor},
};

use crate::core::annotations;

/// Addresses that are kept of a list. The API server takes one of each family.
pub(super) const ADDRESSES_MAX: usize = 8;

/// How much of an address is kept, in characters: more than the longest has (45), so that a longer text stays one that is none.
const ADDRESS_CHARS_MAX: usize = 64;

/// Annotations of ours that are kept: more than there are keys. Where a pod has more, one of those that are kept is unknown, and
/// it is the one that all of them would be refused for: they are looked at in this order.
const ANNOTATIONS_MAX: usize = 16;

/// How much of an annotation's value is kept, in bytes: more than any value that can be read has.
const VALUE_BYTES_MAX: usize = 1024;

/// What is kept of a pod's JSON.
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
    pub annotations: Annotations,
}

#[derive(Default)]
pub(super) struct Spec {
    pub node_name: Text,
    pub host_network: Flag,
}

#[derive(Default)]
pub(super) struct Status {
    pub phase: Text,
    pub pod_ip: AddressText,
    pub pod_ips: Addresses,
    pub host_ip: AddressText,
    pub host_ips: Addresses,
}

/// A text that is not empty.
#[derive(Default)]
pub(super) struct Text(pub Option<String>);

#[derive(Default)]
pub(super) struct Flag(pub bool);

/// The annotations of ours.
#[derive(Default)]
pub(super) struct Annotations(pub BTreeMap<String, String>);

/// An annotation's value; empty where it is no text.
#[derive(Default)]
struct Value(String);

/// The text of an address; absent if it is empty.
#[derive(Default)]
pub(super) struct AddressText(pub Option<String>);

/// An entry of a list of addresses.
#[derive(Default)]
struct Address {
    ip: AddressText,
}

/// The addresses of a list.
#[derive(Default)]
pub(super) struct Addresses {
    pub texts: Vec<String>,
    /// There are more.
    pub too_many: bool,
}

impl<'de> Deserialize<'de> for Read {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut read = Self::default();
        Seed(&mut read).deserialize(deserializer)?;
        Ok(read)
    }
}

/// A value that takes the shape that it expects, and passes over every other.
trait Shape: Default {
    fn text(&mut self, _text: &str) {}
    fn flag(&mut self, _flag: bool) {}
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
    fn visit_i64<E: Error>(self, _: i64) -> Result<(), E> {
        Ok(())
    }
    fn visit_u64<E: Error>(self, _: u64) -> Result<(), E> {
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

/// Reads the value of the key that was just read; what an earlier one of the same key said is void.
fn read<'de, A: MapAccess<'de>>(map: &mut A, value: &mut impl Shape) -> Result<(), A::Error> {
    *value = Default::default();
    map.next_value_seed(Seed(value))
}

/// A key, if it is one of these; another costs no memory.
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
    "annotations" => annotations,
});
object!(Spec { "nodeName" => node_name, "hostNetwork" => host_network });
object!(Status {
    "phase" => phase,
    "podIP" => pod_ip,
    "podIPs" => pod_ips,
    "hostIP" => host_ip,
    "hostIPs" => host_ips,
});
object!(Address { "ip" => ip });

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

impl Shape for AddressText {
    fn text(&mut self, text: &str) {
        self.0 = Some(text.chars().take(ADDRESS_CHARS_MAX).collect()).filter(|text: &String| !text.is_empty());
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

#[cfg(test)]
mod tests;
