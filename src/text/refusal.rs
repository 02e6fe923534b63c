//! The wording of refusals and shortages: what is wrong or missing, and what to do.

use crate::core::{
    annotations::ANNOTATION,
    refusal::{FilterFault, Refusal, Shortage},
};
use crate::text::format::{quoted, time};

pub(super) fn lacking(shortage: &Shortage) -> String {
    match shortage {
        Shortage::NamespaceCaptures { namespace, captures, max } => format!(
            "namespace {namespace} already runs {captures} of at most {max} captures on this node (MAX_CAPTURES_PER_NAMESPACE); the capture \
             starts when one of them ends or is paused"
        ),
        Shortage::NamespaceBudget { namespace, needs_mb, used_mb, share_mb } => {
            let next = if *needs_mb > u64::from(*share_mb) {
                format!("use at most {share_mb} files")
            } else {
                "the request takes effect when there is room".to_owned()
            };
            format!(
                "the capture needs {needs_mb} MB, and other captures of namespace {namespace} use {used_mb} MB on this node: together {} MB of \
                 at most {share_mb} MB (NAMESPACE_BUDGET_MB); {next}",
                needs_mb.saturating_add(*used_mb)
            )
        }
        Shortage::Pods { namespace, max } => {
            let whose =
                namespace.as_ref().map_or("this node".to_owned(), |name| format!("namespace {name} on this node"));
            format!(
                "{max} pods of {whose} already ask for a capture or have kept files, and the controller remembers at most {max}; the \
                 capture starts when a place becomes free"
            )
        }
        Shortage::Captures { captures, max } => format!(
            "this node already runs {captures} of at most {max} captures (MAX_CAPTURES); the capture starts when one of them ends or is paused"
        ),
        Shortage::Budget { needs_mb, budget_mb, .. } if *needs_mb > u64::from(*budget_mb) => format!(
            "the capture needs {needs_mb} MB, and all captures of this node together may use {budget_mb} MB (NODE_BUDGET_MB); use at most \
             {budget_mb} files"
        ),
        Shortage::Budget { needs_mb, used_mb, budget_mb } => format!(
            "the capture needs {needs_mb} MB, and other captures of this node use {used_mb} MB: together {} MB of at most {budget_mb} MB \
             (NODE_BUDGET_MB); the request takes effect when there is room",
            needs_mb.saturating_add(*used_mb)
        ),
        Shortage::Disk { needs_mb, free_mb, low_watermark_mb } => format!(
            "the capture needs {needs_mb} MB and {low_watermark_mb} MB must stay free (MIN_FREE_MB, MIN_FREE_PERCENT), but the node's disk has \
             {free_mb} MB free; the request takes effect when there is room"
        ),
    }
}

/// The kernel does not accept a filter. `said` is what libpcap said.
pub(super) fn not_in_kernel(said: &str) -> String {
    format!(
        "the kernel does not accept the filter ({}), so every packet of the node would be copied to tcpdump; shorten the filter, or ask \
         an operator to raise net.core.optmem_max on the node",
        quoted(said)
    )
}

pub(super) fn refused(refusal: &Refusal) -> String {
    let not =
        |key: &str, value: &str, what: &str| format!("annotation {ANNOTATION}{key}={} is not {what}", quoted(value));
    match refusal {
        Refusal::FileCount { value, max } => {
            let what =
                format!("a number of files from 1 to {max}, written in digits without a leading zero, such as \"5\"");
            not("", value, &what)
        }
        Refusal::Duration { value, max } => {
            let range = max.map_or("of at least 1s".to_owned(), |max| format!("from 1s to {}", time(max)));
            not("/duration", value, &format!("a time {range}, such as \"30s\", \"5m\" or \"1h\""))
        }
        Refusal::Packets { value, max } => {
            not("/packets", value, &format!("a number of copies of packets from 1 to {max}, such as \"1000\""))
        }
        Refusal::Snaplen { value, min, max } => {
            let what = format!(
                "a number of bytes from {min} to {max}, such as \"128\": the headers of IPv6 and TCP with their options take up to {min} bytes"
            );
            not("/snaplen", value, &what)
        }
        Refusal::StopOn { value } => not("/stop-on", value, "\"restart\", \"unready\" or \"restart,unready\""),
        Refusal::TooManyContainers { max } => {
            format!("annotation {ANNOTATION}/stop-on cannot be used: the pod has more than {max} containers; remove the annotation")
        }
        Refusal::Pause { value } => not("/pause", value, "\"true\"; to capture, remove the annotation"),
        Refusal::Filter(FilterFault { word, problem, .. }) if word.is_empty() => {
            format!("annotation {ANNOTATION}/filter cannot be used: the filter {problem}")
        }
        Refusal::Filter(FilterFault { word, position, problem }) => {
            format!("annotation {ANNOTATION}/filter cannot be used: {} at character {position} {problem}", quoted(word))
        }
        Refusal::FilterRejected { said } => {
            format!("annotation {ANNOTATION}/filter cannot be used: tcpdump says {}", quoted(said))
        }
        Refusal::FilterTooCostly { limit_s } => format!(
            "annotation {ANNOTATION}/filter cannot be used: tcpdump did not compile the filter within {limit_s} s; shorten the filter"
        ),
        Refusal::FilterNotInKernel { said } => {
            format!("annotation {ANNOTATION}/filter cannot be used: {}", not_in_kernel(said))
        }
        Refusal::UnknownKey { key } => {
            format!(
                "annotation {} is unknown and may be a misspelt one that narrows the capture; correct or remove it",
                quoted(key)
            )
        }
        Refusal::HostNetwork => {
            "the pod uses the node's network, so the capture would show all packets of the node; an operator can allow that for a \
             namespace (HOST_NETWORK_NAMESPACES)"
                .to_owned()
        }
        Refusal::ForeignAddress { address, what } => {
            format!(
                "the pod's address {} is {what}, so the capture would show packets that are not the pod's",
                quoted(address)
            )
        }
        Refusal::TooManyAddresses { max } => {
            format!(
                "the pod's status has more than {max} addresses, so not all of them are its own, and the capture would show packets that are not the pod's"
            )
        }
        Refusal::NameTooLong { bytes, max } => {
            format!("the pod's name and namespace would give a file name of {bytes} bytes, but the file system allows {max}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_that_the_kernel_does_not_accept_is_refused_with_the_reason_and_what_to_do() {
        let said =
            "Couldn't allocate kernel memory for filter: try increasing net.core.optmem_max with sysctl".to_owned();
        let text = refused(&Refusal::FilterNotInKernel { said });
        let begin = "annotation tcpdump.antrea.io/filter cannot be used: the kernel does not accept the filter (";
        let end = "; shorten the filter, or ask an operator to raise net.core.optmem_max on the node";
        assert!(text.starts_with(begin) && text.contains("every packet of the node") && text.ends_with(end), "{text}");
    }
}
