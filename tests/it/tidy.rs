//! Rules of the tree, held by reading its sources: layers, pure modules, who may see a secret, who may start a thread.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Code that runs, by its path below the root: without comments and without tests.
struct Source {
    path: String,
    whole: String,
    code: String,
}

#[test]
fn modules_import_only_what_stands_above_them_in_the_map() {
    let map = modules_of_the_map();
    let position = |module: &str| map.iter().position(|listed| listed == module);
    for source in sources("src") {
        let module = module_of(&source.path);
        let Some(own) = position(module) else {
            assert!(["lib", "main"].contains(&module), "{} is not in the map of lib.rs", source.path);
            continue;
        };
        // The crate by its other name.
        let root = if source.path == format!("src/{module}.rs") { "super::" } else { "super::super::" };
        for imported in imports(&source.code.replace(root, "crate::")) {
            let other = position(&imported).unwrap_or_else(|| panic!("{}: no module {imported}", source.path));
            assert!(other <= own, "{}: `{module}` stands above `{imported}` and must not import it", source.path);
        }
    }
}

#[test]
fn files_of_a_module_import_each_other_in_no_circle() {
    let mut circles = Vec::new();
    for module in modules_of_the_map() {
        let arrows = arrows_within(&module);
        let way = arrows.keys().find_map(|start| way_back(start, &arrows));
        let is_excused = CIRCLES.iter().any(|(excused, _reason)| *excused == module);
        assert!(way.is_some() || !is_excused, "`{module}` has no circle any more, and needs no reason for one");
        circles.extend(way.filter(|_| !is_excused).map(|way| format!("{module}: {}", way.join(" -> "))));
    }
    assert!(circles.is_empty(), "{circles:#?}");
}

/// Modules whose files may import each other in a circle, and why.
const CIRCLES: [(&str, &str); 1] =
    [("config", "the schema's rows say where in the settings a value goes, and the settings are read by it")];

#[test]
fn circles_are_found() {
    let arrow = |(from, to): (&str, &str)| (from.to_owned(), vec![to.to_owned()]);
    let arrows: BTreeMap<_, _> = [("a", "b"), ("b", "c"), ("c", "b")].map(arrow).into();
    assert_eq!(way_back("a", &arrows), None);
    assert_eq!(way_back("b", &arrows), Some(vec!["b".to_owned(), "c".to_owned(), "b".to_owned()]));
}

#[test]
fn every_file_stands_in_the_map() {
    let map = read("src/lib.rs");
    let section = map.split_once("//! # Every file").expect("the section").1;
    let rows = section.lines().filter_map(|line| line.strip_prefix("//! | [`"));
    let named = rows.flat_map(|row| {
        let (module, rest) = row.split_once('`').expect("a module");
        let files = rest.split('|').nth(2).expect("files").split('`').skip(1).step_by(2);
        let below = files.map(|file| format!("src/{module}/{file}.rs")).collect::<Vec<_>>();
        [vec![format!("src/{module}.rs")], below].concat()
    });
    let named: Vec<_> = named.collect();
    let is_listed = |path: &String| !path.ends_with("/tests.rs") && !["src/lib.rs", "src/main.rs"].contains(&&**path);
    let files: Vec<_> = sources("src").into_iter().map(|source| source.path).filter(is_listed).collect();
    let unlisted: Vec<_> = files.iter().filter(|file| !named.contains(file)).collect();
    let gone: Vec<_> = named.iter().filter(|file| !files.contains(file)).collect();
    assert!(unlisted.is_empty() && gone.is_empty(), "not in the map of src/lib.rs: {unlisted:?}; no longer: {gone:?}");
}

#[test]
fn imports_are_found_however_they_are_written() {
    let code = "use crate::clock;\nuse crate::keys::{self, set};\nuse crate::{admin, proxy::{Limits, tls}, config};\n\
                fn f(x: crate::head::Head) -> pub(crate) u8 { crate::route::f() }";
    assert_eq!(imports(code), ["clock", "keys", "admin", "proxy", "config", "head", "route"]);
    assert_eq!(without_tests("a\n#[cfg(test)]\nmod tests;\nb\n#[cfg(test)]\nmod tests {\n    c\n}\n"), "a\nb\n");
    assert_eq!(without_comments("a // b\n  //! c\n/// d\n\"http://e\"\n"), "a \n  \n\n\"http://e\"\n");
}

#[test]
fn pure_modules_name_no_runtime_file_socket_environment_or_clock() {
    let barred =
        ["tokio", "hyper::", "std::fs", "fs::", "std::net::Tcp", "std::env", "env::", "Instant::now", "SystemTime"];
    let pure: Vec<_> = sources("src").into_iter().filter(|source| source.whole.starts_with("//! Pure.")).collect();
    for source in &pure {
        for name in barred {
            assert!(!names(&source.code, name), "{} says that it is pure and names {name}", source.path);
        }
    }
    for path in [
        "head",
        "answers",
        "caller",
        "request_path",
        "verdict",
        "policy",
        "keys/set",
        "keys/fingerprint",
        "caller/names",
        "telemetry/masked",
        "ledger/incident",
        "ledger/rhythm",
        "ledger/rotation",
        "ledger/rotation_grounds",
        "ledger/rotation_row",
        "ledger/set_keys",
        "ledger/standing",
        "ledger/progress",
        "ledger/old_key",
        "n8n/audit",
        "n8n/clearance",
        "n8n/documents",
        "n8n/finding",
        "n8n/finding_kind",
        "n8n/inventory",
        "n8n/editor",
    ] {
        assert!(pure.iter().any(|source| source.path == format!("src/{path}.rs")), "{path} is to be pure");
    }
}

#[test]
fn every_file_begins_by_saying_what_lives_in_it() {
    for source in all_sources() {
        let first = source.whole.lines().next().unwrap_or_default();
        assert!(first.starts_with("//! ") && first.len() > 20, "{}: {first}", source.path);
    }
}

#[test]
fn the_places_that_read_the_value_of_a_secret_are_these() {
    check_places(
        ".expose(",
        &[
            ("src/admin/access.rs", 3, "an admin token is measured, hashed and, when it is made, written"),
            ("src/check.rs", 2, "a value that is no key, or that announces nothing, is told"),
            ("src/cli/prompt.rs", 1, "a value that is no key is not put into n8n"),
            ("src/cli/check.rs", 1, "the next key is made ready for a probe"),
            ("src/cli/client.rs", 1, "the admin token is sent to the admin listener"),
            ("src/cli/token.rs", 1, "a new token is printed, this once"),
            ("src/keys/reloader.rs", 1, "a declared previous key is found in the history by its fingerprint"),
            (
                "src/keys/set.rs",
                3,
                "a key is filed under its public names and its fast hash, and made ready to be put in",
            ),
            ("src/keys/source.rs", 1, "a value that is no key is not taken for one"),
            ("src/keys/state.rs", 1, "the command line asks for the public names of a secret"),
            ("src/n8n/client.rs", 2, "the key of n8n's API is sent to n8n, and struck out of what n8n sends"),
            ("src/n8n/connect.rs", 1, "a key or a token is put into a credential record of n8n's"),
            ("src/notices/destination.rs", 2, "a receiver's URL is parted, and its messages are signed"),
            ("src/rotate/admin_api.rs", 1, "the admin key goes to the admin API"),
            ("src/rotate/key_file.rs", 1, "a key is written into its file"),
            ("src/rotate/redacted.rs", 1, "a key is compared with what OpenAI shows of it"),
        ],
    );
}

#[test]
fn the_places_that_read_a_key_ready_to_be_sent_are_these() {
    check_places(
        ".expose_header(",
        &[
            ("src/check/online.rs", 1, "a probe sends it"),
            ("src/exchange/headers.rs", 1, "it is put in, in place of what came"),
        ],
    );
}

/// A request does more only while an exchange is followed. An open page that is drawn from the ledger follows none, and costs a request
/// nothing.
#[test]
fn the_places_that_follow_exchanges_are_these() {
    check_places("tap.follow(", &[("src/admin/events.rs", 1, "GET /api/v1/events, for programs and the page Live")]);
}

#[test]
fn the_places_that_start_threads_and_tasks_are_these() {
    check_places(
        "spawn(",
        &[
            ("src/admin/listener.rs", 1, "each connection to the admin listener"),
            ("src/cli/open.rs", 1, "the browser, which is no thread and no task of keyward's"),
            ("src/demo/upstream.rs", 1, "each connection to what stands in for OpenAI in the demo"),
            ("src/keys/command.rs", 3, "a command that gives a key, and the threads that wait for it"),
            ("src/ledger/writer.rs", 1, "the ledger's own thread, which waits for a disk"),
            ("src/server/http2_streams.rs", 1, "each stream of an HTTP/2 connection"),
            ("src/server/lifecycle.rs", 4, "a worker's clock (another while it drains), inbox and memory"),
            ("src/server/listener.rs", 1, "each client of a worker"),
            ("src/tasks.rs", 1, "every thread with a runtime"),
            ("src/telemetry/writer.rs", 1, "the log's writer, which has none"),
            ("src/upstream/cancellation.rs", 2, "what hyper does on connections to upstream in HTTP/2"),
            ("src/upstream/http2.rs", 1, "each connection to upstream in HTTP/2"),
            ("src/upstream/http2_pool.rs", 1, "connections to upstream that are being made for several exchanges"),
        ],
    );
}

#[test]
fn the_places_that_write_to_standard_outputs_are_these() {
    check_places(
        "io::std",
        &[
            ("src/cli/exit.rs", 1, "answers of the command line"),
            ("src/cli/open.rs", 1, "whether a person reads the link at a terminal"),
            ("src/cli/prompt.rs", 8, "a person is asked for a key, which the terminal does not show, or for a yes"),
            ("src/cli/keys.rs", 2, "a key comes by standard input, and a person is asked for it"),
            ("src/cli/output.rs", 5, "answers of the commands, remarks beside them, and how wide the terminal is"),
            ("src/main.rs", 1, "a descriptor to copy, so that the table grows"),
            ("src/telemetry.rs", 2, "whether a person reads the log"),
            ("src/telemetry/columns.rs", 2, "how wide the terminal is that the log goes to"),
            ("src/telemetry/writer.rs", 2, "the log, and that it cannot be written"),
        ],
    );
}

#[test]
fn nothing_is_left_unfinished() {
    for source in sources("src") {
        for left in ["todo!", "unimplemented!", "dbg!", "print!(", "println!("] {
            let is_answer = left.starts_with("print") && source.path.starts_with("src/cli");
            assert!(is_answer || !source.code.contains(left), "{} has {left}", source.path);
        }
    }
}

#[test]
fn no_test_is_left_out_or_meant_to_panic() {
    // Put together, so that this file does not find itself.
    let barred = ["ignore", "should_panic"].map(|attribute| format!("#[{attribute}"));
    for source in all_sources() {
        for attribute in &barred {
            assert!(!source.whole.contains(attribute.as_str()), "{} has {attribute}", source.path);
        }
    }
}

/// The compiler's `missing_docs` would also want a sentence above each field and variant, where most names say it all.
#[test]
fn public_types_and_functions_say_what_they_are() {
    const KINDS: [&str; 7] = ["fn", "struct", "enum", "trait", "type", "const", "static"];
    for source in sources("src") {
        let lines: Vec<_> = without_tests(&source.whole).lines().map(str::to_owned).collect();
        for (number, line) in lines.iter().enumerate() {
            let mut words = line.split_whitespace();
            let is_public = words.next() == Some("pub") && words.any(|word| KINDS.contains(&word));
            let above = lines[..number].iter().rev().find(|above| !is_attribute(above));
            let has_docs = above.is_some_and(|above| above.trim_start().starts_with("///"));
            assert!(has_docs || !is_public, "{}, line {}: {line}", source.path, number + 1);
        }
    }
}

/// Whether a line is an attribute, or a part of one.
fn is_attribute(line: &str) -> bool {
    let line = line.trim();
    line.starts_with("#[") || line.starts_with("reason = ") || line == ")]"
}

#[test]
fn sources_speak_plain_english() {
    for source in all_sources().iter().filter(|source| source.path != "tests/it/tidy.rs") {
        // A code that programs match.
        let text = source.whole.to_lowercase().replace("nobody_calls", "").replace("nobodycalls", "");
        for barred in BARRED {
            assert!(!text.contains(barred), "{} has {barred:?}", source.path);
        }
    }
}

/// Words that no sentence and no name needs: say who it is.
pub(crate) const BARRED: [&str; 4] = ["whoever", "nobody", "somebody", "of which"];

#[test]
fn modules_lie_flat() {
    for source in all_sources() {
        assert!(!source.path.ends_with("/mod.rs"), "{}", source.path);
        let module = ["src/", "tests/it/", "tests/fuzz/", "benches/"]
            .iter()
            .find_map(|folder| source.path.strip_prefix(folder))
            .unwrap()
            .trim_end_matches("/tests.rs");
        assert!(module.split('/').count() <= 2, "{} lies too deep", source.path);
    }
}

#[test]
fn every_integration_test_is_listed_with_what_belongs_there() {
    let main = read("tests/it/main.rs");
    let files = sources("tests/it").into_iter().filter(|source| source.path.split('/').count() == 3);
    for source in files.filter(|source| !source.path.ends_with("/main.rs")) {
        let line = format!("mod {};", module_of(&source.path));
        let above = main.lines().zip(main.lines().skip(1)).find(|(_, listed)| **listed == line);
        assert!(
            above.is_some_and(|(above, _)| above.starts_with("/// ")),
            "{line} has no line above it, or is missing"
        );
    }
}

/// Whether a name stands in the code that begins so, and not only as the end of a longer one.
fn names(code: &str, name: &str) -> bool {
    let is_of_a_name = |character: char| character.is_alphanumeric() || character == '_';
    code.match_indices(name).any(|(at, _)| !code[..at].ends_with(is_of_a_name))
}

/// The needle stands in those files that often, and nowhere else. The reasons are for those who want to add one.
#[track_caller]
fn check_places(needle: &str, expected: &[(&str, usize, &str)]) {
    let expected: BTreeMap<_, _> = expected.iter().map(|(path, count, _reason)| ((*path).to_owned(), *count)).collect();
    let counted = sources("src").into_iter().map(|source| (source.path, source.code.matches(needle).count()));
    let found: BTreeMap<_, _> = counted.filter(|(_, count)| *count > 0).collect();
    assert_eq!(found, expected, "places of `{needle}`");
}

/// Which files of a module each of its files imports, the module's own file by the name of the module.
fn arrows_within(module: &str) -> BTreeMap<String, Vec<String>> {
    let (face, folder) = (format!("src/{module}.rs"), format!("src/{module}/"));
    let of_module = |source: &Source| source.path == face || source.path.starts_with(&folder);
    let sources: Vec<_> = sources("src").into_iter().filter(of_module).collect();
    let name_of = |source: &Source| match source.path.strip_prefix(&folder) {
        Some(file) => file.trim_end_matches(".rs").to_owned(),
        None => module.to_owned(),
    };
    let names: Vec<_> = sources.iter().map(name_of).collect();
    let arrows = sources.iter().map(|source| {
        let (name, own) = (name_of(source), format!("crate::{module}::"));
        // To the module's own file `self` is what `super` is to those below it.
        let code = source.code.replace(if name == module { "self::" } else { "super::" }, &own);
        let of_the_crate = code.replace("crate::", "elsewhere::").replace(&format!("elsewhere::{module}::"), "crate::");
        let imported = imports(&of_the_crate).into_iter();
        let files = imported.map(|import| if names.contains(&import) { import } else { module.to_owned() });
        let others = files.filter(|file| *file != name).collect();
        (name, others)
    });
    arrows.collect()
}

/// The way from a file back to itself, where there is one.
fn way_back(start: &str, arrows: &BTreeMap<String, Vec<String>>) -> Option<Vec<String>> {
    let mut ways = vec![vec![start.to_owned()]];
    let mut seen = Vec::new();
    while let Some(way) = ways.pop() {
        for next in way.last().and_then(|last| arrows.get(last)).into_iter().flatten() {
            let longer = [way.clone(), vec![next.clone()]].concat();
            if next == start {
                return Some(longer);
            }
            if !seen.contains(next) {
                seen.push(next.clone());
                ways.push(longer);
            }
        }
    }
    None
}

/// The modules of the crate, in the order in which lib.rs lists them.
fn modules_of_the_map() -> Vec<String> {
    let map = read("src/lib.rs");
    let listed = map.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'));
    let modules: Vec<_> = listed.map(str::to_owned).collect();
    assert!(modules.len() > 10, "{modules:?}");
    modules
}

/// `net` of `src/net/client_tls.rs`.
fn module_of(path: &str) -> &str {
    let below = path.trim_start_matches("src/").trim_start_matches("tests/it/");
    below.split('/').next().unwrap_or_default().trim_end_matches(".rs")
}

/// Every module of the crate that the code names, wherever it does.
fn imports(code: &str) -> Vec<String> {
    let found = code.match_indices("crate::").map(|(at, path)| &code[at + path.len()..]);
    found.flat_map(|rest| rest.strip_prefix('{').map_or_else(|| vec![first_name(rest)], names_in_braces)).collect()
}

/// The first name of each path in a list of imports, whose lists inside are skipped.
fn names_in_braces(list: &str) -> Vec<String> {
    let (mut depth, mut names, mut is_new) = (1, Vec::new(), true);
    for (at, character) in list.char_indices() {
        match character {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 1 => is_new = true,
            _ if depth == 1 && is_new && character.is_alphanumeric() => {
                names.push(first_name(&list[at..]));
                is_new = false;
            }
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    names
}

fn first_name(path: &str) -> String {
    path.chars().take_while(|character| character.is_alphanumeric() || *character == '_').collect()
}

fn all_sources() -> Vec<Source> {
    ["src", "tests", "benches"].into_iter().flat_map(sources).collect()
}

fn sources(folder: &str) -> Vec<Source> {
    let mut sources: Vec<_> = files_below(&root().join(folder)).into_iter().map(|path| Source::read(&path)).collect();
    sources.sort_by(|one, other| one.path.cmp(&other.path));
    sources
}

impl Source {
    fn read(path: &Path) -> Self {
        let path = path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
        let whole = read(&path);
        let is_test = path.ends_with("/tests.rs");
        let code = if is_test { String::new() } else { without_comments(&without_tests(&whole)) };
        Self { path, whole, code }
    }
}

/// Tests stand at the end of a file, or in one of their own.
fn without_tests(text: &str) -> String {
    let text = text.replace("#[cfg(test)]\nmod tests;\n", "");
    text.split_once("#[cfg(test)]\nmod tests {").map_or(text.as_str(), |(code, _)| code).to_owned()
}

/// A `//` behind a colon belongs to an address.
fn without_comments(text: &str) -> String {
    let code = |line: &str| {
        let starts = line.match_indices("//").map(|(at, _)| at).find(|at| !line[..*at].ends_with(':'));
        format!("{}\n", &line[..starts.unwrap_or(line.len())])
    };
    text.lines().map(code).collect()
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let paths = entries.map(|entry| entry.unwrap().path());
    let files = paths.flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] });
    files.filter(|path| path.extension().is_some_and(|end| end == "rs")).collect()
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
