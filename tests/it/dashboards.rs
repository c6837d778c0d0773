//! The dashboard and the alerts: each metric that they name exists, with each label that they choose by, and no metric that
//! tells of trouble is left out. `tests/admin/run` has promtool look at them as well.

use std::collections::BTreeSet;
use std::path::Path;

use keyward::metrics::{Kind, METRICS, Metric};
use serde_json::Value;

/// A metric as an expression names it, and the labels that stand in the braces behind it.
#[derive(Debug, PartialEq, Eq)]
struct Named<'e> {
    name: &'e str,
    labels: Vec<&'e str>,
}

fn read(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("config").join(name)).unwrap()
}

/// Every metric of keyward's in an expression of `PromQL`.
fn named(expression: &str) -> Vec<Named<'_>> {
    let is_of_name = |character: char| character.is_ascii_alphanumeric() || character == '_';
    let starts = expression.match_indices("keyward_").map(|(at, _)| &expression[at..]);
    let parted = starts.map(|rest| rest.split_at(rest.find(|character| !is_of_name(character)).unwrap_or(rest.len())));
    parted
        .map(|(name, rest)| {
            let braces = rest.strip_prefix('{').and_then(|rest| rest.split_once('}')).map_or("", |(inside, _)| inside);
            let labels = braces.split(',').filter_map(|pair| pair.split(['=', '!']).next()).map(str::trim);
            Named { name, labels: labels.filter(|label| !label.is_empty()).collect() }
        })
        .collect()
}

/// The metric whose sample has that name.
fn metric_of(sample: &str) -> Option<&'static Metric> {
    METRICS.iter().find(|metric| {
        let name = metric.full_name();
        let suffixes = ["_bucket", "_sum", "_count"];
        let of_histogram = || suffixes.iter().any(|suffix| sample == format!("{name}{suffix}"));
        if metric.kind == Kind::Histogram { of_histogram() } else { sample == name }
    })
}

/// The labels that an expression adds up by.
fn groups(expression: &str) -> Vec<&str> {
    let lists = expression.split("by (").skip(1).filter_map(|rest| rest.split_once(')')).map(|(list, _)| list);
    lists.flat_map(|list| list.split(',')).map(str::trim).collect()
}

/// What each metric has from Prometheus, and a histogram of its own.
const COMMON: [&str; 3] = ["instance", "job", "le"];

#[track_caller]
fn check(expression: &str) {
    let found = named(expression);
    assert!(!found.is_empty(), "{expression} asks for nothing of keyward's");
    let mut known: BTreeSet<&str> = COMMON.into();
    for named in &found {
        let metric = metric_of(named.name).unwrap_or_else(|| panic!("there is no {} for {expression}", named.name));
        for label in &named.labels {
            let is_known = metric.labels.contains(label) || COMMON.contains(label);
            assert!(is_known, "{} has no label {label}: {expression}", named.name);
        }
        known.extend(metric.labels);
    }
    for label in groups(expression) {
        assert!(known.contains(label), "nothing has the label {label}: {expression}");
    }
    if expression.contains("histogram_quantile") {
        assert!(groups(expression).contains(&"le"), "{expression}");
    }
}

/// The alerts' expressions. Each stands in one line.
fn alerts(text: &str) -> Vec<&str> {
    text.lines().filter_map(|line| line.trim_start().strip_prefix("expr: ")).collect()
}

fn expressions(dashboard: &Value) -> Vec<String> {
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let targets = panels.flat_map(|panel| panel["targets"].as_array().unwrap());
    targets.map(|target| target["expr"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn expressions_are_read_as_prometheus_does() {
    let expression = "sum by (a, le) (rate(keyward_x_bucket{b=\"c\",d!~\"e,f\"}[5m])) / keyward_y";
    let found: Vec<_> = named(expression).into_iter().map(|named| (named.name, named.labels)).collect();
    assert_eq!(found[0].0, "keyward_x_bucket");
    assert!(found[0].1.starts_with(&["b", "d"]), "{found:?}");
    assert_eq!(found[1], ("keyward_y", vec![]));
    assert_eq!(groups(expression), ["a", "le"]);
    assert!(metric_of("keyward_added_latency_seconds").is_none(), "a histogram has no sample of its own name");
    assert!(metric_of("keyward_added_latency_seconds_bucket").is_some() && metric_of("keyward_bytes").is_none());
}

#[test]
fn the_alerts_rest_on_metrics_that_there_are() {
    let text = read("alerts.yaml");
    let rules = text.matches("- alert: Keyward").count();
    let expressions = alerts(&text);
    assert!(rules >= 10 && expressions.len() == rules, "{rules} rules");
    for part in ["severity: ", "summary: ", "description: "] {
        assert_eq!(text.matches(part).count(), rules, "each has its {part}");
    }
    expressions.into_iter().for_each(check);
}

#[test]
fn the_dashboard_rests_on_metrics_that_there_are() {
    let dashboard: Value = serde_json::from_str(&read("grafana.json")).unwrap();
    for expression in expressions(&dashboard) {
        check(&expression);
    }
    let panels = dashboard["panels"].as_array().unwrap();
    let ids: BTreeSet<_> = panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
    assert_eq!(ids.len(), panels.len(), "each panel has a number of its own");
    for panel in panels {
        assert!(panel["title"].is_string() && panel["description"].as_str().unwrap().ends_with('.'));
        let place = &panel["gridPos"];
        assert!(place["x"].as_u64().unwrap() + place["w"].as_u64().unwrap() <= 24, "{}", panel["title"]);
    }
}

#[test]
fn the_dashboard_shows_every_metric() {
    let dashboard: Value = serde_json::from_str(&read("grafana.json")).unwrap();
    let expressions = expressions(&dashboard);
    let shown: BTreeSet<_> =
        expressions.iter().flat_map(|expression| named(expression)).map(|named| named.name).collect();
    let shown: BTreeSet<_> = shown.into_iter().filter_map(metric_of).map(|metric| metric.name).collect();
    assert_eq!(shown, METRICS.iter().map(|metric| metric.name).collect::<BTreeSet<_>>());
}
