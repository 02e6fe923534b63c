//! The wording of what is not done: what was wrong or is lacking, and what would do.

use crate::core::{
    annotations::ANNOTATION,
    refusal::{FilterFault, Refusal, Shortage},
};
use crate::text::format::{counted, quoted, time};

pub(super) fn lacking(shortage: &Shortage) -> String {
    match shortage {
        Shortage::NamespaceCaptures { namespace, captures, max } => format!(
            "{} in namespace {namespace} on this node already, and {max} may (MAX_CAPTURES_PER_NAMESPACE); it starts by itself as soon \
             as one of them ends or is paused",
            counted(*captures, "capture goes on", "captures go on")
        ),
        Shortage::NamespaceBudget { namespace, needs_mb, used_mb, share_mb } => {
            let next = if *needs_mb > u64::from(*share_mb) {
                format!("ask for {share_mb} files or fewer")
            } else {
                "it starts by itself as soon as there is room".to_owned()
            };
            format!(
                "{needs_mb} MB are asked for, and other captures of namespace {namespace} take {used_mb} MB on this node: {} MB of \
                 {share_mb} MB (NAMESPACE_BUDGET_MB); {next}",
                needs_mb.saturating_add(*used_mb)
            )
        }
        Shortage::Pods { namespace, max } => {
            let whose =
                namespace.as_ref().map_or("this node".to_owned(), |name| format!("namespace {name} on this node"));
            format!(
                "{max} pods of {whose} ask for a capture already, or have files that are kept, and the controller remembers no more; \
                 it starts by itself as soon as there is a place"
            )
        }
        Shortage::Captures { captures, max } => format!(
            "{} on this node already, and {max} may (MAX_CAPTURES); done as soon as one of them ends",
            counted(*captures, "capture goes on", "captures go on")
        ),
        Shortage::Budget { needs_mb, budget_mb, .. } if *needs_mb > u64::from(*budget_mb) => format!(
            "{needs_mb} MB are asked for, and all captures of this node may take {budget_mb} MB (NODE_BUDGET_MB): ask for {budget_mb} \
             files or fewer"
        ),
        Shortage::Budget { needs_mb, used_mb, budget_mb } => format!(
            "{needs_mb} MB are asked for, and other captures of this node take {used_mb} MB: {} MB of {budget_mb} MB \
             (NODE_BUDGET_MB); done as soon as there is room",
            needs_mb.saturating_add(*used_mb)
        ),
        Shortage::Disk { needs_mb, free_mb, low_watermark_mb } => format!(
            "{needs_mb} MB are needed, and of the {free_mb} MB that the node's disk has free {low_watermark_mb} MB must stay so \
             (MIN_FREE_MB, MIN_FREE_PERCENT); done as soon as there is room"
        ),
    }
}

/// The kernel does not take a filter.
pub(super) fn not_in_kernel(said: &str) -> String {
    format!(
        "the kernel does not take it ({}), and every packet of the node would be copied to tcpdump; write it shorter, or have an \
         operator raise net.core.optmem_max on the node",
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
            let max = max.map_or("some years".to_owned(), time);
            not("/duration", value, &format!("a time from 1s to {max}, such as \"30s\", \"5m\" or \"1h\""))
        }
        Refusal::Packets { value, max } => {
            not("/packets", value, &format!("a number of copies of packets from 1 to {max}, such as \"1000\""))
        }
        Refusal::Snaplen { value, min, max } => {
            let what = format!(
                "a number of bytes from {min} to {max}, such as \"128\": the headers of IPv6 and TCP with their options have up to {min}"
            );
            not("/snaplen", value, &what)
        }
        Refusal::Pause { value } => not("/pause", value, "\"true\"; remove it to go on"),
        Refusal::Filter(FilterFault { word, problem, .. }) if word.is_empty() => {
            format!("annotation {ANNOTATION}/filter cannot be used: it {problem}")
        }
        Refusal::Filter(FilterFault { word, position, problem }) => {
            format!("annotation {ANNOTATION}/filter cannot be used: {} at character {position} {problem}", quoted(word))
        }
        Refusal::FilterRejected { said } => {
            format!("annotation {ANNOTATION}/filter cannot be used: tcpdump says {}", quoted(said))
        }
        Refusal::FilterTooCostly { limit_s } => format!(
            "annotation {ANNOTATION}/filter cannot be used: tcpdump did not compile it within {limit_s} s; write it shorter"
        ),
        Refusal::FilterNotInKernel { said } => {
            format!("annotation {ANNOTATION}/filter cannot be used: {}", not_in_kernel(said))
        }
        Refusal::UnknownKey { key } => {
            format!(
                "annotation {} is not known, and might have been meant to narrow the capture; remove it",
                quoted(key)
            )
        }
        Refusal::HostNetwork => {
            "the pod uses the node's network: its capture would show the whole node's packets; an operator \
                                 can allow that by namespace (HOST_NETWORK_NAMESPACES)"
                .to_owned()
        }
        Refusal::ForeignAddress { address, what } => {
            format!(
                "the pod's address {} is {what}: its capture would show other packets than the pod's",
                quoted(address)
            )
        }
        Refusal::TooManyAddresses { max } => {
            format!(
                "the pod's status has more than {max} addresses, so they cannot all be its own: its capture would show other packets than the pod's"
            )
        }
        Refusal::NameTooLong { bytes, max } => {
            format!("the pod's name and namespace make a file name of {bytes} bytes, and the file system takes {max}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_that_the_kernel_does_not_take_is_refused_with_the_reason_and_what_to_do() {
        let said =
            "Couldn't allocate kernel memory for filter: try increasing net.core.optmem_max with sysctl".to_owned();
        let text = refused(&Refusal::FilterNotInKernel { said });
        let begin = "annotation tcpdump.antrea.io/filter cannot be used: the kernel does not take it (";
        let end = "; write it shorter, or have an operator raise net.core.optmem_max on the node";
        assert!(text.starts_with(begin) && text.contains("every packet of the node") && text.ends_with(end), "{text}");
    }
}
