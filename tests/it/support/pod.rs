//! A pod as the API server shows it, with the JSON that a capture depends on, and some that a capture must not depend on.

use serde_json::{Value, json};

use crate::support::http::BULK;

const ANNOTATION: &str = "tcpdump.antrea.io";

/// A pod's JSON.
#[derive(Clone)]
pub struct Pod(pub Value);

/// The address of a pod: no two live pods of a node have the same. `web` is at 10.0.0.1.
pub fn address(name: &str) -> String {
    if name == "web" {
        return "10.0.0.1".to_owned();
    }
    // FNV-1a: of the names of one test, no two have the same in 23 bits.
    let hash = name.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    let [_, a, b, c] = hash.to_be_bytes();
    format!("10.{}.{b}.{c}", a | 128)
}

/// A running pod of namespace `default`, at its own address, without an annotation of ours.
pub fn pod(name: &str) -> Pod {
    let ip = address(name);
    Pod(json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name, "namespace": "default", "uid": format!("uid-of-{name}"), "creationTimestamp": "2026-01-02T03:04:05Z",
            "annotations": {"example.com/other": "5"}, "labels": {"app": name}, "managedFields": [{"manager": "kubectl"}],
        },
        "spec": {"nodeName": "this", "containers": [{"name": "c", "image": "i"}]},
        "status": {"phase": "Running", "hostIP": "192.0.2.1", "podIP": ip, "podIPs": [{"ip": ip}]},
    }))
}

/// The pod of most tests: `web`, with a ring of 5 files.
pub fn web() -> Pod {
    pod("web").asks("5")
}

impl Pod {
    pub fn asks(self, value: &str) -> Self {
        self.annotated(ANNOTATION, value)
    }

    /// Sets an optional annotation.
    pub fn with(self, key: &str, value: &str) -> Self {
        self.annotated(&format!("{ANNOTATION}/{key}"), value)
    }

    pub fn asks_nothing(mut self) -> Self {
        self.annotations().remove(ANNOTATION);
        self
    }

    pub fn annotated(mut self, key: &str, value: &str) -> Self {
        self.annotations().insert(key.to_owned(), json!(value));
        self
    }

    pub fn at(self, ips: &[&str]) -> Self {
        let all: Vec<Value> = ips.iter().map(|ip| json!({ "ip": ip })).collect();
        self.set("/status/podIP", json!(ips.first())).set("/status/podIPs", json!(all))
    }

    pub fn uid(self, uid: &str) -> Self {
        self.set("/metadata/uid", json!(uid))
    }

    pub fn in_namespace(self, namespace: &str) -> Self {
        let pod = self.set("/metadata/namespace", json!(namespace));
        let ip = address(&pod.key());
        pod.at(&[&ip])
    }

    pub fn labelled(self, value: &str) -> Self {
        self.set("/metadata/labels/app", json!(value))
    }

    pub fn in_phase(self, phase: &str) -> Self {
        self.set("/status/phase", json!(phase))
    }

    /// Makes the pod as large as its owner can make it, by the bulk in this field.
    pub fn with_bulk(self, path: &str) -> Self {
        // Without quotes the placeholder is the text of a JSON string.
        self.add(path, json!(BULK.trim_matches('"')))
    }

    /// Adds a field to an object.
    pub fn add(mut self, path: &str, value: Value) -> Self {
        let (object, field) = path.rsplit_once('/').expect(path);
        self.0.pointer_mut(object).expect(path)[field] = value;
        self
    }

    pub fn set(mut self, path: &str, value: Value) -> Self {
        *self.0.pointer_mut(path).expect(path) = value;
        self
    }

    /// Namespace and name.
    pub fn key(&self) -> String {
        let part = |path| self.0.pointer(path).and_then(Value::as_str).unwrap_or_default();
        format!("{}/{}", part("/metadata/namespace"), part("/metadata/name"))
    }

    fn annotations(&mut self) -> &mut serde_json::Map<String, Value> {
        self.0.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut).expect("annotations")
    }
}
