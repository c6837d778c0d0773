//! README and `docs/`: links lead to files and headings that exist, commands are ones that the program takes, configurations
//! work, and tables say what the program has.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::fs;
use std::path::{Path, PathBuf};

use clap::error::ErrorKind;
use keyward::admin::routes::ROUTES;
use keyward::config::{Config, Environment, Overrides};
use keyward::early_refusal::EarlyRefusal;
use keyward::metrics::METRICS;
use keyward::outcome::OutcomeKind;
use keyward::problems::kind::ProblemKind;
use keyward::verdict::VerdictKind;
use keyward::verdict::explain::{DiagnosisKind, Severity};
use keyward::verdict::meaning::meaning;
use keyward::{cli, welcome};
use serde_json::Value;

use crate::tidy::BARRED;

/// A page of Markdown, taken apart.
struct Page {
    /// Its path below the root.
    path: String,
    /// What is not in a code block, line by line.
    prose: Vec<String>,
    blocks: Vec<Block>,
}

struct Block {
    /// The word behind its fence; none for a block that is indented.
    language: String,
    text: String,
}

// === Words ===

#[test]
fn the_readme_is_one_screen() {
    let words = read("README.md").split_whitespace().count();
    assert!((600..=800).contains(&words), "{words} words");
}

#[test]
fn pages_speak_plain_english() {
    for page in pages() {
        for (number, line) in page.prose.iter().enumerate() {
            let line = line.to_lowercase();
            for barred in BARRED {
                assert!(!line.contains(barred), "{}, line {number} of the prose: {barred:?}", page.path);
            }
        }
    }
}

// === Links ===

#[test]
fn every_link_leads_to_a_file_and_a_heading() {
    let pages = pages();
    for page in &pages {
        for link in links(page) {
            let (path, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let folder = Path::new(&page.path).parent().unwrap();
            let target = if path.is_empty() { PathBuf::from(&page.path) } else { resolved(&folder.join(path)) };
            assert!(root().join(&target).exists(), "{}: there is no {}", page.path, target.display());
            if anchor.is_empty() {
                continue;
            }
            let target = pages.iter().find(|other| Path::new(&other.path) == target);
            let target = target.unwrap_or_else(|| panic!("{}: {link} is not on a page that is looked at", page.path));
            assert!(headings(target).contains(anchor), "{}: {link} leads to no heading", page.path);
        }
    }
}

#[test]
fn every_page_is_reached_from_the_readme() {
    let pages = pages();
    let readme = pages.iter().find(|page| page.path == "README.md").expect("the README");
    let linked: BTreeSet<_> =
        links(readme).into_iter().map(|link| link.split('#').next().unwrap().to_owned()).collect();
    for page in pages.iter().filter(|page| page.path.starts_with("docs/")) {
        assert!(linked.contains(&page.path), "{} is not linked", page.path);
    }
}

#[test]
fn files_that_pages_name_exist() {
    for page in pages().iter().filter(|page| page.path != "CHANGELOG.md") {
        let is_ours = |word: &&str| {
            ["tests/", "src/", "benches/", "config/", "docs/", ".ci/", ".github/"]
                .iter()
                .any(|own| word.starts_with(own))
        };
        let in_blocks =
            page.blocks.iter().filter(|block| block.is_of_commands()).flat_map(|block| block.text.split_whitespace());
        let spans: Vec<_> = page.prose.iter().flat_map(|line| code_spans(line)).collect();
        let in_spans = spans.iter().filter_map(|span| span.split_whitespace().next());
        for named in in_spans.chain(in_blocks).filter(is_ours) {
            assert!(root().join(named).exists(), "{} names {named}", page.path);
        }
    }
}

// === Code blocks ===

#[test]
fn every_block_says_what_it_is() {
    for page in pages() {
        for block in &page.blocks {
            let known = ["", "sh", "toml", "json", "yaml", "text"];
            assert!(known.contains(&block.language.as_str()), "{}: {:?}", page.path, block.language);
        }
    }
}

#[test]
fn every_command_is_one_that_keyward_takes() {
    let mut count = 0;
    for page in pages() {
        for line in page.blocks.iter().filter(|block| block.is_of_commands()).flat_map(|block| block.text.lines()) {
            for words in commands(line) {
                count += 1;
                if let Some(error) = refused(&words, &[ErrorKind::DisplayHelp, ErrorKind::DisplayVersion]) {
                    panic!("{}: {line}\n{error}", page.path);
                }
            }
        }
        // In a sentence, a command may stand for all of its forms.
        let named = page.prose.iter().flat_map(|line| code_spans(line)).filter(|span| span.starts_with("keyward "));
        for span in named.filter(|span| !span.contains('…')) {
            let allowed = [
                ErrorKind::DisplayHelp,
                ErrorKind::DisplayVersion,
                ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand,
                ErrorKind::MissingRequiredArgument,
                ErrorKind::MissingSubcommand,
                // A word in capitals, which stands for one of several.
                ErrorKind::InvalidValue,
            ];
            if let Some(error) = refused(&shell_words(&span), &allowed) {
                panic!("{}: {span}\n{error}", page.path);
            }
        }
    }
    assert!(count > 30, "{count} commands");
}

#[test]
fn every_bench_that_a_command_runs_exists() {
    let manifest = read("Cargo.toml");
    for page in pages() {
        for block in &page.blocks {
            for (_, behind) in
                block.text.match_indices("--bench ").map(|(at, found)| block.text.split_at(at + found.len()))
            {
                let name = behind.split_whitespace().next().unwrap_or_default();
                assert!(manifest.contains(&format!("[[bench]]\nname = \"{name}\"")), "{}: {name}", page.path);
            }
        }
    }
}

#[test]
fn every_configuration_works() {
    let mut count = 0;
    for (page, text) in blocks_of("toml") {
        count += 1;
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("keyward.toml");
        fs::write(&file, &text).expect("a file");
        if let Err(problems) = Config::load(Some(&file), &environment(), Overrides::default()) {
            panic!("{page}: {problems}\n{text}");
        }
    }
    assert!(count > 5, "{count} configurations");
}

#[test]
fn every_variable_in_yaml_is_a_setting() {
    for (page, text) in blocks_of("yaml") {
        assert!(!text.contains('\t'), "{page}");
        let pairs = text.lines().filter_map(|line| line.trim().split_once(": "));
        let ours = pairs.filter(|(name, _)| name.starts_with("KEYWARD_"));
        let environment = ours.fold(environment(), |environment, (name, value)| environment.with(name, value));
        let config = Config::load(None, &environment, Overrides::default());
        let config = config.unwrap_or_else(|problems| panic!("{page}: {problems}"));
        assert_eq!(config.ignored, [] as [Box<str>; 0], "{page}");
    }
}

#[test]
fn every_json_parses() {
    for (page, text) in blocks_of("json") {
        assert!(serde_json::from_str::<Value>(&text).is_ok(), "{page}: {text}");
    }
}

// === What to paste into n8n ===

#[test]
fn pages_tell_n8n_what_keyward_itself_tells() {
    let texts = |path: &str| -> Vec<String> {
        let page = pages().into_iter().find(|page| page.path == path).expect(path);
        page.blocks.into_iter().map(|block| block.text.trim_end().to_owned()).collect()
    };
    let (readme, connect) = (texts("README.md"), texts("docs/connect-n8n.md"));
    for pasted in [&welcome::base_url("http://keyward:8080"), welcome::TAG_HEADER, welcome::TAG] {
        assert!(readme.iter().any(|text| text == pasted) && connect.iter().any(|text| text == pasted), "{pasted}");
    }
    for pasted in [&welcome::tagging_base_url("http://keyward:8080"), &welcome::organization()] {
        assert!(connect.contains(pasted), "{pasted}");
    }
}

#[test]
fn pages_point_n8n_at_what_the_files_set_up() {
    let page = pages().into_iter().find(|page| page.path == "docs/connect-n8n.md").expect("the page");
    let urls: Vec<_> = page.blocks.iter().map(|block| block.text.trim()).collect();
    let urls: Vec<_> = urls.into_iter().filter(|text| text.starts_with("http") && !text.contains('{')).collect();

    assert!(read("config/compose.yaml").contains("\n  keyward:\n    image: "), "it has a service of that name");
    let compose = format!("http://keyward:{}/v1", of_file("container.toml").proxy.listen.port());
    let text = read("docs/connect-n8n.md");
    let (_, listen) = text.split_once("keyward serve --listen ").expect("how keyward is started on the host");
    let listen = Overrides { listen: listen.split_whitespace().next().map(str::to_owned), ..Overrides::default() };
    let on_host = load(None, listen).proxy.listen.port();
    let on_host = format!("http://host.docker.internal:{on_host}/v1");
    let beside = format!("http://{}/v1", load(None, Overrides::default()).proxy.listen);
    let public = of_file("public.toml");
    assert!(public.proxy.tls.cert.is_some());
    let public = format!("https://{}/v1", public.rules.allow_host[0].host);
    assert_eq!(urls, [compose, on_host, beside, public]);
}

// === Tables ===

#[test]
fn the_page_on_the_log_has_every_verdict_outcome_diagnosis_problem_and_reason() {
    let page = "docs/log.md";
    let verdicts: BTreeSet<_> = rows(page, "verdict").into_iter().flat_map(|row| code_spans(&row[0])).collect();
    assert_eq!(verdicts, set(VerdictKind::CODES));
    let outcomes: BTreeSet<_> = rows(page, "outcome").into_iter().flat_map(|row| code_spans(&row[0])).collect();
    assert_eq!(outcomes, set(OutcomeKind::CODES));
    let reasons: BTreeSet<_> = rows(page, "reason").into_iter().flat_map(|row| code_spans(&row[0])).collect();
    assert_eq!(reasons, set(EarlyRefusal::ALL.map(EarlyRefusal::code)));
    let problems: Vec<_> =
        rows(page, "problem").into_iter().map(|row| (code_spans(&row[0]).remove(0), row[1].clone())).collect();
    let level = |kind: ProblemKind| if kind.severity() == Severity::Error { "error" } else { "warn" };
    assert_eq!(problems, ProblemKind::ALL.map(|kind| (kind.code().to_owned(), level(kind).to_owned())));
    let told: BTreeMap<String, BTreeSet<String>> = rows(page, "diagnosis")
        .into_iter()
        .map(|row| (code_spans(&row[0]).remove(0), row[1].split(", ").map(str::to_owned).collect()))
        .collect();
    assert_eq!(told, diagnoses());
    for row in rows(page, "diagnosis") {
        let kind = DiagnosisKind::from_code(&code_spans(&row[0])[0]).unwrap();
        assert_eq!(row[2], meaning(kind), "keyward explain says the same");
    }
}

#[test]
fn the_page_on_the_log_explains_each_field_of_its_example() {
    let explained: BTreeSet<_> = rows("docs/log.md", "field").into_iter().flat_map(|row| code_spans(&row[0])).collect();
    let (_, example) = blocks_of("json").into_iter().find(|(page, _)| page == "docs/log.md").expect("an example");
    let example: BTreeMap<String, Value> = serde_json::from_str(&example).unwrap();
    for field in example.keys() {
        assert!(explained.contains(field), "{field}");
    }
}

#[test]
fn the_page_on_the_api_has_every_route_and_metric() {
    let page = "docs/api.md";
    let routes: BTreeSet<_> = rows(page, "route").into_iter().flat_map(|row| code_spans(&row[0])).collect();
    assert_eq!(routes, ROUTES.iter().map(|route| format!("{} {}", route.method, route.path)).collect());
    let told: Vec<_> =
        rows(page, "metric").into_iter().map(|row| (row[0].clone(), row[1].clone(), row[2].clone())).collect();
    let metrics = METRICS.iter().map(|metric| {
        let labels: Vec<_> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
        (format!("`{}`", metric.full_name()), metric.kind.name().to_owned(), labels.join(", "))
    });
    assert_eq!(told, metrics.collect::<Vec<_>>());
}

/// Every diagnosis, with the levels at which it is logged, as the texts in the snapshot have them.
fn diagnoses() -> BTreeMap<String, BTreeSet<String>> {
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in read("tests/data/diagnoses.snap").lines() {
        let Some((code, severity)) = line.strip_suffix(')').and_then(|line| line.split_once(" (")) else { continue };
        let level = match severity {
            "Fine" => "info",
            "Warning" => "warn",
            "Error" => "error",
            _ => continue,
        };
        found.entry(code.to_owned()).or_default().insert(level.to_owned());
    }
    let known: BTreeSet<_> = DiagnosisKind::CODES.into_iter().map(str::to_owned).collect();
    let told: BTreeSet<_> = found.keys().cloned().collect();
    let missing: Vec<_> = known.symmetric_difference(&told).collect();
    assert!(missing.is_empty(), "INSTA_UPDATE=always cargo test --lib verdict: {missing:?}");
    found
}

/// The cells of the table on that page whose first column has that title, without its head.
fn rows(path: &str, title: &str) -> Vec<Vec<String>> {
    let page = pages().into_iter().find(|page| page.path == path).expect(path);
    let head = format!("| {title} |");
    let tables = page
        .prose
        .split(|line| !line.starts_with('|'))
        .filter(|table| table.first().is_some_and(|row| row.starts_with(&head)));
    let rows: Vec<_> = tables.flat_map(|table| table.iter().skip(2)).map(|row| cells(row)).collect();
    assert!(!rows.is_empty(), "{path} has no table of {title}");
    rows
}

fn cells(row: &str) -> Vec<String> {
    row.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect()
}

fn set(codes: impl IntoIterator<Item = impl Display>) -> BTreeSet<String> {
    codes.into_iter().map(|code| code.to_string()).collect()
}

// === Commands ===

/// Why the program would not take that command, unless the reason is one of those.
fn refused(words: &[String], allowed: &[ErrorKind]) -> Option<clap::Error> {
    cli::command().try_get_matches_from(words).err().filter(|error| !allowed.contains(&error.kind()))
}

/// Every command of keyward's in a line for a shell, in words.
fn commands(line: &str) -> Vec<Vec<String>> {
    let words = shell_words(line);
    let ends = |word: &String| [";", "&&", "|", ">", "<"].contains(&word.as_str());
    words.split(ends).filter_map(command_of).collect()
}

/// What stands before the program: another one that runs it, variables, and keywords of the shell.
fn command_of(words: &[String]) -> Option<Vec<String>> {
    let through = ["docker compose exec keyward", "cargo run --release --", "until", "do"];
    let mut rest = words;
    while let Some(first) = rest.first() {
        let by = through.iter().map(|line| shell_words(line)).find(|line| rest.starts_with(line));
        match by {
            // cargo runs the program by itself.
            Some(line) if line[0] == "cargo" => {
                return Some([&["keyward".to_owned()], &rest[line.len()..]].concat());
            }
            Some(line) => rest = &rest[line.len()..],
            None if first.contains('=') => rest = &rest[1..],
            None => break,
        }
    }
    (rest.first()? == "keyward").then(|| rest.to_vec())
}

/// The words of a line for a shell, without its comment. Operators are words of their own.
fn shell_words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    for character in line.chars() {
        match (quote, character) {
            (Some(open), _) if open == character => quote = None,
            (None, '"' | '\'') => {
                quote = Some(character);
                word.get_or_insert_default();
            }
            (None, '#') if word.is_none() => break,
            (None, ';') => {
                words.extend(word.take());
                words.push(";".to_owned());
            }
            (None, _) if character.is_whitespace() => words.extend(word.take()),
            _ => word.get_or_insert_default().push(character),
        }
    }
    words.extend(word);
    words
}

#[test]
fn commands_are_found_in_lines_for_a_shell() {
    let check = |line: &str, expected: &[&[&str]]| assert_eq!(commands(line), expected, "{line}");
    check("keyward status   # how it is", &[&["keyward", "status"]]);
    check("docker compose logs keyward", &[]);
    check("docker compose exec keyward keyward token list", &[&["keyward", "token", "list"]]);
    check("cargo run --release -- serve", &[&["keyward", "serve"]]);
    check("until keyward rotation --can-go; do sleep 60; done", &[&["keyward", "rotation", "--can-go"]]);
    check("A=b keyward accept 1 --reason \"it is gone\"", &[&["keyward", "accept", "1", "--reason", "it is gone"]]);
    check("keyward n8n audit --md > audit.md", &[&["keyward", "n8n", "audit", "--md"]]);
}

// === Pages ===

/// README, the changelog, and what is in `docs/` and `config/`.
fn pages() -> Vec<Page> {
    let mut paths = vec!["README.md".to_owned(), "CHANGELOG.md".to_owned(), "config/README.md".to_owned()];
    let docs = fs::read_dir(root().join("docs")).expect("docs").map(|entry| entry.expect("an entry").path());
    for page in docs.filter(|path| path.extension().is_some_and(|end| end == "md")) {
        paths.push(format!("docs/{}", page.file_name().unwrap().to_str().expect("a name")));
    }
    paths.into_iter().map(Page::read).collect()
}

fn blocks_of(language: &str) -> Vec<(String, String)> {
    let of_page = |page: Page| {
        let path = page.path;
        let blocks = page.blocks.into_iter().filter(|block| block.language == language);
        blocks.map(|block| (path.clone(), block.text)).collect::<Vec<_>>()
    };
    pages().into_iter().flat_map(of_page).collect()
}

impl Page {
    fn read(path: String) -> Self {
        let (mut prose, mut blocks) = (Vec::new(), Vec::<Block>::new());
        // The fence's indentation, while one is open.
        let (mut fence, mut was_blank) = (None, true);
        for line in read(&path).lines() {
            let bare = line.trim_start();
            let indented = line.len() - bare.len();
            match fence {
                Some(_) if bare == "```" => fence = None,
                Some(by) => blocks.last_mut().unwrap().push(line.get(by..).unwrap_or_default()),
                None if bare.starts_with("```") => {
                    fence = Some(indented);
                    blocks.push(Block { language: bare[3..].to_owned(), text: String::new() });
                }
                None if indented == 4 && was_blank => {
                    blocks.push(Block { language: String::new(), text: format!("{bare}\n") });
                }
                None => prose.push(line.to_owned()),
            }
            was_blank = bare.is_empty() || (indented == 4 && fence.is_none() && was_blank);
        }
        assert_eq!(fence, None, "{path}: a block is not closed");
        Self { path, prose, blocks }
    }
}

impl Block {
    fn push(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }

    fn is_of_commands(&self) -> bool {
        ["sh", ""].contains(&self.language.as_str())
    }
}

/// Where a page's links lead, but for those that leave the project.
fn links(page: &Page) -> Vec<String> {
    // A link may go on in the next line; code has none.
    let prose: String = page.prose.iter().flat_map(|line| [without_code(line), " ".to_owned()]).collect();
    let targets = prose.match_indices("](").map(|(at, found)| &prose[at + found.len()..]);
    let targets = targets.map(|rest| rest.split(')').next().unwrap_or_default().to_owned());
    targets.filter(|target| !target.contains("://")).collect()
}

/// The anchors that GitHub gives to a page's headings.
fn headings(page: &Page) -> BTreeSet<String> {
    let headings = page.prose.iter().filter(|line| line.starts_with('#'));
    headings.map(|line| anchor(line.trim_start_matches('#').trim())).collect()
}

fn anchor(heading: &str) -> String {
    let kept = heading.to_lowercase();
    let kept = kept.chars().filter(|character| character.is_alphanumeric() || [' ', '-', '_'].contains(character));
    kept.map(|character| if character == ' ' { '-' } else { character }).collect()
}

#[test]
fn anchors_are_those_of_github() {
    assert_eq!(anchor("n8n's SSRF protection"), "n8ns-ssrf-protection");
    assert_eq!(anchor("n8n 1.x"), "n8n-1x");
    assert_eq!(anchor("1. Put the `new` key in"), "1-put-the-new-key-in");
}

/// What stands between backticks.
fn code_spans(line: &str) -> Vec<String> {
    line.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

fn without_code(line: &str) -> String {
    line.split('`').step_by(2).collect()
}

/// Without `..`.
fn resolved(path: &Path) -> PathBuf {
    let mut parts = Vec::new();
    for part in path {
        if part == ".." {
            assert!(parts.pop().is_some(), "{} leaves the project", path.display());
        } else if part != "." {
            parts.push(part);
        }
    }
    parts.iter().collect()
}

// === The project ===

fn of_file(name: &str) -> Config {
    load(Some(&root().join("config").join(name)), Overrides::default())
}

fn load(file: Option<&Path>, overrides: Overrides) -> Config {
    Config::load(file, &environment(), overrides).unwrap_or_else(|problems| panic!("{problems}"))
}

fn environment() -> Environment {
    Environment::default().with_state_folder("/home/user/.local/state")
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).expect(path)
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
