//! Where a pod is whose capture is not on this node: asked of the API server when a verb finds nothing, to say what to do.

use std::time::Duration;

use kube::{Api, Client, api::ListParams};
use tokio::time::timeout;

use crate::{
    core::{annotations::ANNOTATION, name::PodName},
    k8s::pod::Pod,
    text::format::with_causes,
};

/// How long the API server may take to answer; without its answer the message is shorter.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// What is known of a pod that has no capture on `node`, as the end of a sentence that says so.
pub async fn locate(client: Client, pod: &PodName, node: &str) -> String {
    let pods = Api::<Pod>::namespaced(client, &pod.namespace);
    // Pods may be listed, and not got one by one.
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
