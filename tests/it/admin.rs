//! The admin listener: health, readiness and metrics, and nothing of keys.

use std::collections::HashSet;

use keyward::metrics::{Kind, METRICS};

use crate::support::{
    API_KEY, Answering, CURRENT, FakeN8n, FakeUpstream, Gate, OUTDATED, TestProxy, UNLISTED, eventually,
};

#[test]
fn it_is_alive_and_ready_while_it_serves() {
    let upstream = FakeUpstream::accepting();
    let proxy = TestProxy::with(&upstream).start();
    assert_eq!((proxy.admin("/healthz").status, proxy.admin("/healthz").text()), (200, "alive\n".to_owned()));
    assert_eq!((proxy.admin("/readyz").status, proxy.admin("/readyz").text()), (200, "ready\n".to_owned()));
}

#[test]
fn it_is_alive_but_not_ready_while_it_drains() {
    let (upstream, begun, end) = held_up();
    let proxy = TestProxy::with(&upstream).start();
    let mut client = proxy.get("/v1/models").begin();
    begun.pass();
    proxy.server().drain();
    assert_eq!((proxy.admin("/readyz").status, proxy.admin("/readyz").text()), (503, "draining\n".to_owned()));
    assert_eq!((proxy.admin("/healthz").status, proxy.admin("/metrics").status), (200, 200));
    end.open();
    assert_eq!(client.answer().status, 200);
}

#[test]
fn the_metrics_count_what_happened() {
    let upstream = FakeUpstream::scripted(|visit| {
        let status = if visit.head.line.contains("missing") { 404 } else { 200 };
        visit.answer(&Answering::json(status, "0123456789"));
    });
    let proxy = TestProxy::with(&upstream).current_key(CURRENT).previous_key(OUTDATED).start();
    for (target, key) in [("/v1/a", CURRENT), ("/v1/a", CURRENT), ("/v1/missing", CURRENT), ("/v1/a", OUTDATED)] {
        proxy.post(target).key(key).header("X-N8N-Tag", "wf=w1;node=n1").body("12345").logged();
    }
    proxy.get("/v1/a").header("X-N8N-Tag", "wf=w2").logged();
    for (verdict, outcome, count) in [
        ("current", "success", 2),
        ("current", "request_error", 1),
        ("outdated", "success", 1),
        ("missing", "success", 1),
        ("unknown", "success", 0),
    ] {
        assert_eq!(proxy.exchanges(verdict, outcome), count, "{verdict} {outcome}");
    }
    for (metric, value) in [
        ("keyward_exchanges_open", 0),
        ("keyward_bytes_total{direction=\"in\"}", 20),
        ("keyward_bytes_total{direction=\"out\"}", 50),
        ("keyward_client_connections_total", 5),
        ("keyward_upstream_connections_total", 1),
        ("keyward_upstream_failures_total", 0),
        ("keyward_bindings", 2),
        ("keyward_bindings_overflowed_total", 0),
        ("keyward_log_dropped_total", 0),
        ("keyward_panics_total", 0),
    ] {
        assert_eq!(proxy.metric(metric), value, "{metric}");
    }
    eventually("the last client gone", || {
        (proxy.metric("keyward_client_connections_open{worker=\"0\"}") == 0).then_some(())
    });
}

#[test]
fn an_exchange_under_way_is_counted_as_open() {
    let end = Gate::default();
    let gate = end.clone();
    let upstream = FakeUpstream::scripted(move |visit| {
        gate.pass();
        visit.answer(&Answering::json(200, "{}"));
    });
    let proxy = TestProxy::with(&upstream).start();
    let mut client = proxy.get("/v1/models").begin();
    eventually("the exchange open", || (proxy.metric("keyward_exchanges_open") == 1).then_some(()));
    end.open();
    client.answer();
    eventually("the exchange ended", || (proxy.metric("keyward_exchanges_open") == 0).then_some(()));
}

/// <https://prometheus.io/docs/specs/om/open_metrics_spec>
#[test]
fn the_metrics_are_valid_open_metrics_text() {
    let upstream = FakeUpstream::accepting();
    let proxy = TestProxy::with(&upstream).current_key(CURRENT).start();
    proxy.get("/v1/models").key(CURRENT).logged();
    let wanted = ("Accept", "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1");
    let answer = proxy.ask_admin("GET", "/metrics", &[wanted, ("Authorization", &proxy.admin_bearer())]);
    assert_eq!(answer.header("content-type"), Some("application/openmetrics-text; version=1.0.0; charset=utf-8"));
    let text = answer.text();
    assert!(text.ends_with("\n# EOF\n"), "{text}");
    let mut typed = HashSet::new();
    let mut samples = HashSet::new();
    for line in text.lines().filter(|line| *line != "# EOF") {
        if let Some(typing) = line.strip_prefix("# TYPE ") {
            assert!(typed.insert(typing.split(' ').next().unwrap()), "typed twice: {line}");
        } else if !line.starts_with("# HELP ") {
            let (sample, value) = line.rsplit_once(' ').unwrap();
            let name = sample.split('{').next().unwrap();
            let suffixes = ["_total", "_bucket", "_sum", "_count"];
            let family = suffixes.iter().find_map(|suffix| name.strip_suffix(suffix)).unwrap_or(name);
            assert!(typed.contains(family), "not typed: {line}");
            assert!(name.starts_with("keyward_") && value.parse::<f64>().is_ok(), "{line}");
            assert!(samples.insert(sample), "twice: {line}");
        }
    }
    assert_eq!(typed.len(), METRICS.len(), "{text}");
}

#[test]
fn labels_do_not_grow_with_callers_or_keys() {
    let upstream = FakeUpstream::accepting();
    let proxy = TestProxy::with(&upstream).current_key(CURRENT).start();
    let request = |number: u32| {
        let tag = format!("wf=w{number};ex={number};node=n{number};inst=i{number}");
        proxy.get("/v1/models").key(&format!("{UNLISTED}{number}")).header("X-N8N-Tag", tag).logged()
    };
    let count = || proxy.admin("/metrics").text().lines().count();
    request(0);
    let before = count();
    (1..30).for_each(|number| drop(request(number)));
    assert_eq!(count(), before);
    assert_eq!(proxy.metric("keyward_bindings"), 30);
}

#[test]
fn health_and_metrics_say_nothing_of_keys_or_callers() {
    let upstream = FakeUpstream::accepting();
    let proxy = TestProxy::with(&upstream).current_key(CURRENT).start();
    let line = proxy.get("/v1/models").key(CURRENT).header("X-N8N-Tag", "wf=secret-workflow").logged();
    for target in ["/healthz", "/readyz", "/metrics"] {
        let answer = proxy.admin(target);
        let said = format!("{}{}", String::from_utf8_lossy(&answer.head.raw), answer.text());
        for hidden in [CURRENT, "CuRr", line["fingerprint"].as_str().unwrap(), "secret-workflow"] {
            assert!(!said.contains(hidden), "{target} tells {hidden}");
        }
    }
    assert_eq!(upstream.received().len(), 1);
}

/// What the older form, which most scrapers read, says of each metric: its type, its help, its labels.
#[test]
fn the_metrics_are_those_of_the_table() {
    let upstream = FakeUpstream::accepting();
    let n8n = FakeN8n::start();
    let proxy = TestProxy::with(&upstream)
        .current_key(CURRENT)
        .n8n("main", n8n.origin(), API_KEY)
        .receiver("team", "http://127.0.0.1:9/")
        .start();
    proxy.get("/v1/models").key(CURRENT).logged();
    let answer = proxy.admin("/metrics");
    assert_eq!(answer.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    let text = answer.text();
    let described: Vec<_> = text.lines().filter(|line| line.starts_with('#')).collect();
    let expected = METRICS.iter().flat_map(|metric| {
        let name = metric.full_name();
        [format!("# HELP {name} {}", metric.help), format!("# TYPE {name} {}", metric.kind.name())]
    });
    assert_eq!(described, expected.collect::<Vec<_>>());
    for metric in &METRICS {
        let name = metric.full_name();
        let is_own = |rest: &&str| metric.kind == Kind::Histogram || rest.starts_with([' ', '{']);
        let samples: Vec<_> = text.lines().filter_map(|line| line.strip_prefix(&name)).filter(is_own).collect();
        assert!(!samples.is_empty(), "{name} has no sample");
        for sample in samples.into_iter().filter(|_| metric.kind != Kind::Histogram) {
            let labels = sample.split_once('{').map_or("", |(_, rest)| rest.split_once('}').unwrap().0);
            let named: Vec<_> = labels.split(',').filter_map(|label| label.split('=').next()).collect();
            let named: Vec<_> = named.into_iter().filter(|label| !label.is_empty()).collect();
            assert_eq!(named, metric.labels, "{name}{sample}");
        }
    }
}

#[test]
fn the_histograms_count_each_exchange_that_went_upstream_and_was_answered() {
    let upstream = FakeUpstream::scripted(|visit| {
        if visit.head.line.contains("silent") {
            visit.close();
        } else {
            visit.answer(&Answering::json(200, "{}"));
        }
    });
    let refuse = |rules: &mut keyward::keys::rules::SetRules| rules.policy = keyward::keys::rules::Policy::Enforce;
    let proxy =
        TestProxy::with(&upstream).current_key(CURRENT).policy(keyward::keys::rules::Policy::Enforce, refuse).start();
    proxy.get("/v1/a").key(CURRENT).logged();
    proxy.get("/v1/a").key(CURRENT).logged();
    proxy.get("/v1/silent").key(CURRENT).logged();
    proxy.get("/v1/a").key("sk-unknown-everywhere-0123").logged();
    let count = |name: &str| proxy.metric(&format!("keyward_{name}_seconds_count"));
    assert_eq!((count("added_latency"), count("time_to_first_byte")), (3, 2));
    let text = proxy.admin("/metrics").text();
    for name in ["added_latency", "time_to_first_byte"] {
        let of = |suffix: &str| {
            let start = format!("keyward_{name}_seconds_{suffix}");
            text.lines().filter(|line| line.starts_with(&start)).map(str::to_owned).collect::<Vec<_>>()
        };
        let values: Vec<u64> =
            of("bucket").iter().map(|line| line.rsplit(' ').next().unwrap().parse().unwrap()).collect();
        assert!(values.is_sorted() && values.last() == Some(&count(name)), "buckets add up: {values:?}");
        assert!(of("bucket").last().unwrap().contains("le=\"+Inf\""));
        let sum: f64 = of("sum")[0].rsplit(' ').next().unwrap().parse().unwrap();
        assert!(sum > 0.0 && sum < 60.0, "{sum}");
    }
}

#[test]
fn the_connections_to_upstream_are_idle_or_in_use() {
    let (upstream, begun, end) = held_up();
    let proxy = TestProxy::with(&upstream).start();
    let open = || {
        let of = |state: &str| proxy.metric(&format!("keyward_upstream_connections_open{{state=\"{state}\"}}"));
        (of("idle"), of("in_use"))
    };
    assert_eq!(open(), (0, 0));
    let mut client = proxy.get("/v1/models").begin();
    begun.pass();
    assert_eq!(open(), (0, 1));
    end.open();
    client.answer();
    eventually("an idle connection", || (open() == (1, 0)).then_some(()));
    drop(upstream);
}

#[test]
fn what_is_read_again_is_counted() {
    let upstream = FakeUpstream::accepting();
    let proxy = TestProxy::with(&upstream).current_key(CURRENT).start();
    let count = |what: &str, result: &str| {
        proxy.metric(&format!("keyward_reloads_total{{what=\"{what}\",result=\"{result}\"}}"))
    };
    assert_eq!((count("keys", "ok"), count("keys", "failed"), count("admin_token", "ok")), (0, 0, 0));
    proxy.rotate("sk-proj-another-0123456789abcdefghijAnOt");
    eventually("a count of new keys", || (count("keys", "ok") == 1).then_some(()));
    proxy.spoil_current_key();
    eventually("a count of keys that cannot be read", || (count("keys", "failed") > 0).then_some(()));
}

/// An upstream that opens the first gate for each request that comes, and answers it once the second one is open.
fn held_up() -> (FakeUpstream, Gate, Gate) {
    let (begun, end) = (Gate::default(), Gate::default());
    let (told, gate) = (begun.clone(), end.clone());
    let upstream = FakeUpstream::scripted(move |visit| {
        told.open();
        gate.pass();
        visit.answer(&Answering::json(200, "{}"));
    });
    (upstream, begun, end)
}
