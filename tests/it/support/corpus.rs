//! The requests that two readers may read in two ways: `tests/data/smuggling`, whose README says what stands in it.

use std::fs;
use std::path::Path;

use toml::de::{DeTable, DeValue};

/// One connection of a client, still to be filled in.
#[derive(Clone, Debug)]
pub struct Case {
    /// File, family, frame and case.
    pub name: String,
    /// Whether it is one of many that differ by a byte.
    pub is_swept: bool,
    head: String,
    body: String,
    behind: String,
    expected: String,
}

/// What stands for the parts in braces that differ from run to run.
pub struct Filling {
    /// For `{key}`.
    pub key: String,
    /// For `{evil}`.
    pub evil: String,
    /// For `{next}`.
    pub next: String,
}

/// A case as it is sent, and what has to become of it.
pub struct Run {
    pub bytes: Vec<u8>,
    /// Each is one of the ways that it may go.
    pub expected: Vec<Vec<String>>,
}

/// All of them.
pub fn corpus() -> Vec<Case> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/smuggling");
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "toml"));
    files.sort();
    files.iter().flat_map(|file| read(file)).collect()
}

// === impl Case ===

impl Case {
    /// Whether the client's key is in it, so that it depends on the key what becomes of it.
    pub fn has_key(&self) -> bool {
        self.head.contains("{key}")
    }

    /// Whether it is too large to be sent byte by byte.
    pub fn is_large(&self) -> bool {
        [&self.head, &self.body].iter().any(|text| text.contains("00}"))
    }

    /// As it is sent with that filling.
    pub fn fill(&self, filling: &Filling) -> Run {
        let body = fill(&self.body, filling, 0);
        let length = body.chars().count();
        let text = [fill(&self.head, filling, length), body, fill(&self.behind, filling, length)].concat();
        let expected = fill(&self.expected, filling, length);
        let steps =
            |way: &str| way.split(',').map(str::trim).filter(|step| !step.is_empty()).map(str::to_owned).collect();
        Run { bytes: bytes(&text), expected: expected.split('|').map(steps).collect() }
    }
}

/// Replaces what stands in braces. Braces around anything else stand for themselves.
fn fill(text: &str, filling: &Filling, length: usize) -> String {
    let mut filled = String::new();
    let mut rest = text;
    while let Some((before, opened)) = rest.split_once('{') {
        filled.push_str(before);
        rest = opened;
        if let Some((inner, behind)) = opened.split_once('}')
            && let Some(value) = value(inner, filling, length)
        {
            filled.push_str(&value);
            rest = behind;
        } else {
            filled.push('{');
        }
    }
    filled + rest
}

fn value(inner: &str, filling: &Filling, length: usize) -> Option<String> {
    if let Some((text, times)) = inner.rsplit_once('*')
        && let Ok(times) = times.parse()
    {
        return Some(text.repeat(times));
    }
    let evil = filling.evil.len();
    Some(match inner {
        "key" => filling.key.clone(),
        "evil" => filling.evil.clone(),
        "evil length" => evil.to_string(),
        "evil chunk" => format!("{evil:x}\r\n{}\r\n0\r\n\r\n", filling.evil),
        "next" => filling.next.clone(),
        "length" => length.to_string(),
        "length+1" => (length + 1).to_string(),
        "length+2" => (length + 2).to_string(),
        "length-1" => (length - 1).to_string(),
        "length-2" => (length - 2).to_string(),
        _ => return None,
    })
}

fn bytes(text: &str) -> Vec<u8> {
    text.chars().map(|sign| u8::try_from(sign).expect("a byte")).collect()
}

fn read(file: &Path) -> Vec<Case> {
    let text = fs::read_to_string(file).unwrap();
    let document = DeTable::parse(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let name = file.file_stem().unwrap().to_str().unwrap();
    tables(document.get_ref(), "family").flat_map(|family| read_family(name, family)).collect()
}

fn read_family(file: &str, family: &DeTable<'_>) -> Vec<Case> {
    let name = string(family, "name");
    assert!(!string(family, "source").is_empty(), "{name} says where its techniques are described");
    let mut cases = Vec::new();
    for frame in tables(family, "frame") {
        for (case, parts) in table(family.get("cases").unwrap().get_ref()) {
            let [text, expected] = &parts.get_ref().as_array().unwrap()[..] else { panic!("{name}: {case:?}") };
            let name = format!("{file}: {name}: {}: {}", string(frame, "name"), case.get_ref());
            let (text, expected) = (text.get_ref().as_str().unwrap(), expected.get_ref().as_str().unwrap());
            let expected =
                frame.get("expect").map_or_else(|| expected.to_owned(), |table| spell(expected, table.get_ref()));
            cases.extend(sweep(family, name, text).into_iter().map(|(name, text, is_swept)| Case {
                name,
                is_swept,
                head: string(frame, "head").replace("{case}", &text),
                body: string(frame, "body").replace("{case}", &text),
                behind: string(frame, "behind").replace("{case}", &text),
                expected: expected.replace("{case}", &text),
            }));
        }
    }
    cases
}

/// The words that a frame has for what may happen are spelt out; what is none of them stays.
fn spell(expected: &str, words: &DeValue<'_>) -> String {
    let words = table(words);
    let spelt = |way: &str| {
        let way = way.trim();
        words.get(way).map_or_else(|| way.to_owned(), |meaning| meaning.get_ref().as_str().unwrap().to_owned())
    };
    expected.split('|').map(spelt).collect::<Vec<_>>().join(" | ")
}

/// A case of each byte that the family sweeps over, or the one that it is.
fn sweep(family: &DeTable<'_>, name: String, text: &str) -> Vec<(String, String, bool)> {
    if !text.contains("{byte}") {
        return vec![(name, text.to_owned(), false)];
    }
    let ranges = family.get("sweep").unwrap().get_ref().as_array().unwrap().iter();
    let bounds = |range: &DeValue<'_>| -> Vec<u8> {
        let bounds = range.as_array().unwrap().iter();
        bounds.map(|bound| bound.get_ref().as_integer().unwrap().as_str().parse().unwrap()).collect()
    };
    let bytes = ranges.flat_map(|range| {
        let bounds = bounds(range.get_ref());
        bounds[0]..=bounds[1]
    });
    bytes
        .map(|byte| (format!("{name}: {byte:#04x}"), text.replace("{byte}", &char::from(byte).to_string()), true))
        .collect()
}

fn tables<'a>(parent: &'a DeTable<'a>, name: &str) -> impl Iterator<Item = &'a DeTable<'a>> {
    parent.get(name).unwrap().get_ref().as_array().unwrap().iter().map(|item| table(item.get_ref()))
}

fn table<'a>(value: &'a DeValue<'a>) -> &'a DeTable<'a> {
    value.as_table().expect("a table")
}

fn string(table: &DeTable<'_>, key: &str) -> String {
    table.get(key).map_or_else(String::new, |value| value.get_ref().as_str().unwrap().to_owned())
}
