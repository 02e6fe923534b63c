//! `status`: what the state file and the ring say, as a table and as JSON; and with a controller what it does.

use serde_json::{Value, json};

use crate::{
    readers::get::{entry, leave_state},
    support::{
        node::Node,
        packets::{BEGIN_S, numbered, write},
        pod::{pod, web},
        process::until,
    },
};

/// What is warned of where no controller runs.
const ALONE: &str = "warning: the controller is not alive: ";

/// What `status` shows, which must succeed; without a controller it says so.
fn shown(node: &Node, arguments: &[&str]) -> String {
    let (code, out, error) = node.run(&[&["status"], arguments].concat());
    assert!(code == 0 && error.lines().all(|line| line.starts_with(ALONE)), "{code} {error}");
    out
}

/// The same as lines of cells.
fn cells(table: &str) -> Vec<Vec<&str>> {
    table.lines().map(|line| line.split("  ").filter(|cell| !cell.is_empty()).map(str::trim).collect()).collect()
}

/// A node as a controller might have left it.
fn node_with_captures() -> Node {
    let node = Node::new().with("NODE_NAME", "node1");
    let mut running = entry();
    running["annotations"] = json!({"tcpdump.antrea.io": "5", "tcpdump.antrea.io/filter": "tcp port 443"});
    running["history"][0]["addresses"] = json!(["10.0.0.1", "fd00::1"]);
    running["history"][0]["filter"] = json!("tcp port 443");
    let refused = json!({
        "namespace": "prod", "pod": "database-with-a-long-name-0", "uid": "2", "sequence": 2, "state": "refused",
        "reason": "the pod uses the node's network; nothing is captured",
    });
    let finished = json!({
        "namespace": "prod", "pod": "batch", "uid": "3", "sequence": 3, "state": "finished", "captured": 12, "dropped": 3,
        "annotations": {"tcpdump.antrea.io": "1"}, "uncounted": 1,
    });
    leave_state(&node, &[refused, finished, running]);
    // First seen in 2001.
    let first = 1_000_000_000_u32.wrapping_sub(BEGIN_S);
    write(&node.capture("captres-web.pcap0"), &numbered(first..first + 20));
    write(&node.capture("captres-batch_prod.pcap"), &[]);
    node
}

#[test]
fn status_is_a_table_in_the_order_of_names() {
    let node = node_with_captures();
    let table = shown(&node, &[]);
    let days = table.lines().nth(1).unwrap().split("  ").find(|cell| cell.contains('d') && cell.ends_with('h'));
    let age = days.expect("an age in days").trim();
    let expected = "\
NAMESPACE  POD                          STATE      N  FILES  SIZE   OLDEST  COPIES   DROPPED  REASON
default    web                          capturing  5  1      1.3kB  AGE     -        -        -
prod       batch                        finished   1  1      24B    -       12+      3+       -
prod       database-with-a-long-name-0  refused    -  0      0B     -       0        0        the pod uses the node's network; nothing is captured
";
    // The age grows a cell wider once in a while.
    let plain = |text: &str| {
        text.split('\n').map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect::<Vec<_>>()
    };
    assert_eq!(plain(&table), plain(&expected.replace("AGE", age)));
    assert_eq!(cells(&table).iter().map(Vec::len).collect::<Vec<_>>(), [10; 4]);
    let column = |name: &str| table.lines().next().unwrap().find(name).unwrap();
    for line in table.lines().skip(1) {
        for name in ["POD", "STATE", "FILES", "REASON"] {
            let (before, cell) = line.split_at(column(name));
            assert!(before.ends_with("  ") && !cell.starts_with(' '), "{name}: {line}");
        }
    }
}

#[test]
fn status_o_wide_also_has_the_node_the_addresses_and_the_filter() {
    let node = node_with_captures();
    let table = shown(&node, &["-o", "wide"]);
    let cells = cells(&table);
    assert_eq!(
        cells[0].join(" "),
        "NAMESPACE POD NODE STATE N FILES SIZE OLDEST COPIES DROPPED ADDRESSES FILTER REASON"
    );
    assert_eq!(cells[1][..4], ["default", "web", "node1", "capturing"]);
    assert_eq!(cells[1][10..], ["10.0.0.1,fd00::1", "\"tcp port 443\"", "-"]);
    assert_eq!(cells[2][10..], ["-", "-", "-"]);
}

#[test]
fn status_o_json_is_one_line_for_each_capture() {
    let node = node_with_captures();
    let text = shown(&node, &["-o", "json"]);
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(text.ends_with("}\n") && text.starts_with(r#"{"namespace":"default","pod":"web","#), "{text}");
    let names: Vec<&str> = lines.iter().map(|line| line["pod"].as_str().unwrap()).collect();
    assert_eq!(names, ["web", "batch", "database-with-a-long-name-0"]);
    let web = &lines[0];
    assert_eq!((&web["state"], &web["node"], &web["files"]), (&json!("capturing"), &json!("node1"), &json!(1)));
    assert_eq!((&web["bytes"], &web["oldest"]), (&json!(24 + 20 * 68), &json!("2001-09-09T01:46:40Z")));
    assert_eq!(web["history"][0]["filter"], "tcp port 443");
    assert_eq!((&lines[1]["captured"], lines[1].get("oldest")), (&json!(12), None));
}

#[test]
fn status_n_shows_one_namespace_and_without_captures_only_the_columns_names() {
    let node = node_with_captures();
    let names = |arguments: &[&str]| -> Vec<String> {
        let table = shown(&node, arguments);
        cells(&table).iter().map(|cells| cells[1].to_owned()).collect()
    };
    assert_eq!(names(&["-n", "default"]), ["POD", "web"]);
    assert_eq!(names(&["-n", "prod"]), ["POD", "batch", "database-with-a-long-name-0"]);
    assert_eq!(names(&["-n", "none"]), ["POD"]);
    assert_eq!(shown(&node, &["-n", "none", "-o", "json"]), "");
    assert_eq!(shown(&Node::new(), &[]).lines().count(), 1);
    let (code, out, error) = node.run(&["status", "-n", "../x"]);
    assert!(
        code == 2 && out.is_empty() && error.starts_with("error: \"../x\" is not a valid namespace name\n"),
        "{error}"
    );
}

#[test]
fn status_lets_hostile_text_neither_steer_a_terminal_nor_make_a_column() {
    let node = Node::new();
    let hostile = "\u{1b}[2J  a\tb\r\nc\u{9b}31m   d\u{7f}\u{85}\u{2028}e\u{0}\u{202e}f";
    let mut entry = entry();
    entry["reason"] = json!(hostile);
    entry["annotations"] = json!({"tcpdump.antrea.io": hostile});
    entry["history"][0]["filter"] = json!(hostile);
    leave_state(&node, &[entry]);
    for arguments in [&[][..], &["-o", "wide"]] {
        let table = shown(&node, arguments);
        assert!(table.chars().all(|c| c.is_ascii_graphic() || c == ' ' || c == '\n'), "{table:?}");
        assert_eq!(table.lines().count(), 2);
        let columns = cells(&table);
        assert_eq!(columns[0].len(), columns[1].len(), "{table}");
        assert_eq!(columns[1].last(), Some(&"?[2J a b c?31m d? e??f"));
    }
    let json: Value = serde_json::from_str(&shown(&node, &["-o", "json"])).unwrap();
    assert_eq!(json["reason"], hostile);
}

/// Waits until a pod has a state, and returns the reason; nothing is warned of.
fn until_state(node: &Node, pod: &str, state: &str) -> String {
    until(&format!("{pod} {state}"), || {
        let (code, out, error) = node.run(&["status"]);
        assert!(code == 0 && error.is_empty(), "{error}");
        let cells = cells(&out).into_iter().find(|cells| cells[1] == pod)?;
        (cells[2] == state).then(|| cells.last().unwrap_or(&"").to_string())
    })
}

/// Waits until a pod has a state and a reason for it, and returns the reason. A capture that was only just opened has none.
fn until_reason(node: &Node, pod: &str, state: &str) -> String {
    until("the reason", || Some(until_state(node, pod, state)).filter(|reason| reason != "-"))
}

#[test]
fn status_shows_each_state_with_its_reason_while_the_controller_runs() {
    let node = Node::new();
    let _controller = node.start_ready();
    node.api.put(&web());
    assert_eq!(until_state(&node, "web", "capturing"), "-");
    node.api.put(&web().with("pause", "true"));
    until_reason(&node, "web", "paused");
    node.api.put(&pod("none").asks("none"));
    let reason = until_reason(&node, "none", "refused");
    assert!(reason.contains("tcpdump.antrea.io=\"none\""), "{reason}");
    node.api.put(&pod("early").asks("5").at(&[]));
    until_reason(&node, "early", "waiting");
    node.tcpdump_is("bad", "crash");
    node.api.put(&pod("bad").asks("5"));
    let reason = until_reason(&node, "bad", "failed");
    assert!(reason.contains("eth9: No such device exists"), "{reason}");
    node.api.put(&pod("batch").asks("5"));
    until_state(&node, "batch", "capturing");
    node.api.put(&pod("batch").asks("5").in_phase("Succeeded"));
    until_reason(&node, "batch", "finished");
    // What is not there any more is not shown.
    node.api.put(&pod("batch"));
    until("the end of batch", || (!shown(&node, &[]).contains("batch")).then_some(()));
}
