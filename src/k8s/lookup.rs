//! Asks the API server on which node a pod runs, so that a verb that finds no capture on this node can say what to do.

use std::time::Duration;

use kube::{Api, Client, api::ListParams};
use tokio::time::timeout;

use crate::{
    core::{annotations::ANNOTATION, name::PodName},
    k8s::pod::Pod,
    text::format::with_causes,
};

/// How long the API server may take to answer. Without an answer the message is shorter.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// What the API server knows of a pod without a capture on `node`, as the second half of the message "no capture of … on this node; …".
pub async fn locate(client: Client, pod: &PodName, node: &str) -> String {
    let pods = Api::<Pod>::namespaced(client, &pod.namespace);
    // The ClusterRole allows `list` and not `get`.
    let params = ListParams::default().fields(&format!("metadata.name={}", pod.name));
    match timeout(ANSWER_TIMEOUT, pods.list(&params)).await {
        Ok(Ok(found)) => describe(found.items.first(), pod, node),
        Ok(Err(error)) => format!("cannot find out which node the pod runs on: {}", with_causes(&error)),
        Err(_) => "cannot find out which node the pod runs on: the API server does not answer".to_owned(),
    }
}

fn describe(found: Option<&Pod>, name: &PodName, node: &str) -> String {
    let Some(pod) = found else { return "there is no such pod".to_owned() };
    match pod.node() {
        "" => "it is not scheduled yet".to_owned(),
        other if other != node => format!("it runs on {other}"),
        _ if pod.asks() => {
            format!("its capture has not begun; see `kubectl -n {} describe pod {}`", name.namespace, name.name)
        }
        _ => format!("it asks for none; hint: kubectl -n {} annotate pod {} {ANNOTATION}=5", name.namespace, name.name),
    }
}
