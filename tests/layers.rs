//! The layer rule of `src/lib.rs`, held by the sources: which folder may import which, and what the pure folders may not name.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Each folder or file of `src`, and the others that it may import. What is not listed here may not exist.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("core", &[]),
    ("text", &["core"]),
    ("config", &["core"]),
    ("cli", &["core", "text"]),
    ("files", &["core"]),
    ("kernel", &["core"]),
    ("process", &["core", "kernel"]),
    ("k8s", &["core", "text"]),
    ("reading", &["core", "files", "kernel", "text"]),
    ("controller", &["config", "core", "files", "k8s", "kernel", "process", "text"]),
    ("main", &["cli", "config", "controller", "core", "files", "k8s", "kernel", "process", "reading", "text"]),
    ("lib", &[]),
    ("test_lock", &[]),
];

/// What decides, and what words a sentence, does no I/O, reads no clock, writes no log, and knows neither kube nor async code.
const PURE: &[&str] = &["core", "text"];

const IMPURE: &[(&str, &str)] = &[
    ("std::fs", "have the caller read the file, and take what it read"),
    ("std::io", "return a value; let the caller do the I/O"),
    ("std::process", "name an action; let `process` carry it out"),
    ("std::net::Tcp", "let `k8s` talk to the API server"),
    ("std::thread", "the controller has one thread"),
    ("Instant::now", "take `now` as a parameter"),
    ("SystemTime", "take the time as a parameter"),
    ("log::", "return a notice; let the caller log it"),
    ("tokio", "let `controller` wait"),
    ("futures", "let `k8s` wait"),
    ("kube::", "let `k8s` know the API server"),
    ("rustix", "let `process` or `files` make system calls"),
    ("println!", "return the text"),
];

/// A process ID is known to one file only.
const PID_IN: &str = "src/process/child.rs";

#[test]
fn every_file_keeps_to_its_layer() {
    let broken: Vec<String> = sources(Path::new("src")).iter().flat_map(|path| broken_rules(path)).collect();
    assert!(broken.is_empty(), "\n{}\n", broken.join("\n"));
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| match path.extension() {
            _ if path.is_dir() => sources(&path),
            Some(extension) if extension == "rs" => vec![path],
            _ => Vec::new(),
        })
        .collect()
}

fn broken_rules(path: &Path) -> Vec<String> {
    let layer = path.components().nth(1).unwrap().as_os_str().to_str().unwrap().trim_end_matches(".rs");
    let Some((_, may_import)) = MAY_IMPORT.iter().find(|(name, _)| *name == layer) else {
        return vec![format!("{}: no layer of this name: add it to tests/layers.rs and to src/lib.rs", path.display())];
    };
    let text = fs::read_to_string(path).unwrap();
    let mut broken = Vec::new();
    let mut say = |line: usize, rule: String| broken.push(format!("{}:{line}: {rule}", path.display()));
    for (line, root) in imports(&text) {
        if root != layer && root != "test_lock" && !may_import.contains(&root.as_str()) {
            say(line, format!("`{layer}` may not import `{root}`, only {may_import:?}"));
        }
    }
    let is_test = path.file_name().is_some_and(|name| name == "tests.rs");
    for (number, line) in code(&text).filter(|_| !is_test) {
        for (name, instead) in IMPURE.iter().filter(|(name, _)| PURE.contains(&layer) && names(line, name)) {
            say(number, format!("`{layer}` may not name `{name}`: {instead}"));
        }
        if path != Path::new(PID_IN) && names(line, "Pid::from_child") {
            say(number, format!("only {PID_IN} knows a child's process ID"));
        }
    }
    broken
}

/// The roots of all paths that begin with `crate::` (in `main.rs` with the crate's name), with the line of each.
fn imports(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (at, name) in ["crate::", "packet_capture::"].iter().flat_map(|name| text.match_indices(name)) {
        let line = text[..at].lines().count().max(1);
        if text[..at].rfind('\n').map_or(text, |start| &text[start + 1..]).trim_start().starts_with("//") {
            continue;
        }
        found.extend(roots(&text[at + name.len()..]).into_iter().map(|root| (line, root)));
    }
    found
}

/// What a path goes on with: one name, or those of a group.
fn roots(path: &str) -> Vec<String> {
    let word = |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let Some(group) = path.strip_prefix('{') else { return vec![word(path)] };
    let (mut depth, mut begins, mut roots) = (0, true, Vec::new());
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' => begins |= depth == 0,
            c if c.is_whitespace() => (),
            _ if begins => {
                begins = false;
                roots.push(word(&group[at..]));
            }
            _ => (),
        }
    }
    roots
}

/// The numbered lines of a file, without its comments and its test modules: from `#[cfg(test)]` to the end of what it stands before.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut in_test = false;
    let numbered = text.lines().enumerate().map(|(index, line)| (index + 1, line));
    numbered.filter(move |(_, line)| {
        let was_in_test = in_test;
        in_test = *line == "#[cfg(test)]" || in_test && *line != "}" && !line.starts_with("mod tests;");
        !was_in_test && !in_test && !line.trim_start().starts_with("//")
    })
}

/// Whether a line has this name, and not one that merely ends with it.
fn names(line: &str, name: &str) -> bool {
    let inside = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(name).any(|(at, _)| !line[..at].ends_with(inside))
}

#[test]
fn an_import_is_found_in_whatever_form() {
    let text = "use crate::a::X;\nuse crate::{\n    b::{Y, self},\n    c,\n};\nfn f() { crate::d::z() }\n// crate::e\n";
    let found: Vec<_> = imports(text).into_iter().collect();
    let expected = [(1, "a"), (2, "b"), (2, "c"), (6, "d")].map(|(line, root)| (line, root.to_owned()));
    assert_eq!(found, expected);
    let code: Vec<_> = code("a\n#[cfg(test)]\nmod tests {\n    b\n}\nc\n#[cfg(test)]\nmod tests;\n// d\ne\n")
        .map(|(_, line)| line)
        .collect();
    assert_eq!(code, ["a", "c", "e"]);
    assert!(names("    log::warn!()", "log::") && !names("    catalog::warn!()", "log::"));
}
