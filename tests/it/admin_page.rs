//! The page of the admin listener: what it shows without a script, what is sent to those who watch it, and how it is sealed.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use keyward::page::assets::{ICON, SCRIPT, STYLE};

use crate::process::Home;
use crate::support::{Client, FakeUpstream, Framing, OUTDATED, TestProxy, UNLISTED, eventually, head_of};

const NEW: &str = crate::support::CURRENT;

/// The pages that take nothing in their address.
const PAGES: [&str; 8] = ["/", "/nodes", "/incidents", "/execution", "/audit", "/live", "/keys", "/notices"];

fn start(upstream: &FakeUpstream) -> TestProxy {
    TestProxy::with(upstream).current_key(NEW).previous_key(OUTDATED).start()
}

/// With a rotation behind it: one node still sends the old key, one has changed.
fn rotating(upstream: &FakeUpstream) -> TestProxy {
    let proxy = TestProxy::with(upstream).current_key(OUTDATED).start();
    for tag in ["wf=w1;ex=1;node=n1;name=Weekly%20report", "wf=w2;ex=1;node=n1;name=Inbox"] {
        send(&proxy, tag, OUTDATED);
    }
    proxy.advance(SECOND);
    proxy.rotate(NEW);
    proxy.advance(SECOND);
    send(&proxy, "wf=w1;ex=2;node=n1;name=Weekly%20report", OUTDATED);
    send(&proxy, "wf=w2;ex=2;node=n1;name=Inbox", NEW);
    proxy
}

const SECOND: Duration = Duration::from_secs(1);

fn send(proxy: &TestProxy, tag: &str, key: &str) {
    proxy.get("/v1/models").key(key).header("X-N8N-Tag", tag).logged();
}

#[test]
fn the_answer_and_its_reason_stand_first_and_nodes_below_their_workflow() {
    let proxy = rotating(&FakeUpstream::accepting());
    // The hours are counted a moment later.
    let drawn = || Some(proxy.admin("/").text()).filter(|page| page.contains("class=\"timeline\""));
    let page = eventually("a timeline", drawn);
    let place = |text: &str| page.find(text).unwrap_or_else(|| panic!("{text} is not in {page}"));
    assert!(page.starts_with("<!DOCTYPE html><html lang=\"en\""), "{page}");
    assert!(place("Can the old key ") < place("<b>No</b>: 1 node still sends it"));
    assert!(place("<b>No</b>") < place("Next") && place("Next") < place("keyward incidents"));
    assert!(place("scope=\"rowgroup\"") < place("data-state=\"stale\""));
    assert!(place("<bdi>Inbox</bdi>") < place("data-state=\"confirmed\""), "{page}");
    for said in ["new key seen", "th scope=\"col\"", "scope=\"row\"", "1 confirmed", "1 stale"] {
        let said = said.replace("1 confirmed", "<b>1</b>confirmed").replace("1 stale", "<b>1</b>stale");
        place(&said);
    }
}

#[test]
fn every_page_keeps_to_the_policy_and_names_no_other_origin() {
    let proxy = start(&FakeUpstream::accepting());
    send(&proxy, "wf=w1;ex=1;node=n1", OUTDATED);
    send(&proxy, "wf=w2;ex=2;node=n1", UNLISTED);
    let binding = proxy.admin("/nodes").text().split("href=\"/nodes/").nth(1).unwrap()[..16].to_owned();
    let more = [format!("/nodes/{binding}"), "/execution?id=1".to_owned(), "/nodes?q=w1&state=stale&set=".to_owned()];
    for path in PAGES.map(str::to_owned).into_iter().chain(more) {
        let answer = proxy.admin(&path);
        assert_eq!((answer.status, answer.header("content-type")), (200, Some("text/html; charset=utf-8")), "{path}");
        let page = answer.text();
        for barred in [" style=", "<style", " onclick", " onload", "javascript:", "=\"http", "=\"//", "url("] {
            assert!(!page.contains(barred), "{path} has {barred}: {page}");
        }
        assert_eq!(page.matches("<script").count(), 1, "{path}: our own");
        for key in [NEW, OUTDATED, UNLISTED] {
            assert!(!page.contains(key) && !page.contains(&key[10..30]), "{path}");
        }
    }
}

#[test]
fn names_of_others_are_text() {
    let proxy = start(&FakeUpstream::accepting());
    let name = "%3Cscript%3Ealert(1)%3C%2Fscript%3E%22%27%26";
    send(&proxy, &format!("wf=w1;ex=1;node=n1;name={name}"), OUTDATED);
    let binding = proxy.admin("/nodes").text().split("href=\"/nodes/").nth(1).unwrap()[..16].to_owned();
    for path in ["/", "/nodes", "/incidents", "/execution?id=1", &format!("/nodes/{binding}")] {
        let page = proxy.admin(path).text();
        assert!(!page.contains("<script>") && page.contains("&lt;script&gt;"), "{path}: {page}");
    }
    let asked = proxy.admin("/nodes?q=%22%3E%3Cb%3E").text();
    assert!(asked.contains("value=\"&quot;&gt;&lt;b&gt;\""), "{asked}");
    let wrong = proxy.admin("/nodes?state=%3Cb%3E");
    assert_eq!((wrong.status, wrong.header("content-type")), (400, Some("text/html; charset=utf-8")));
    assert!(!wrong.text().contains("<b>"), "{}", wrong.text());
}

#[test]
fn nodes_are_found_by_name_and_id_and_a_form_may_be_empty() {
    let proxy = start(&FakeUpstream::accepting());
    for (tag, key) in [("wf=w1;ex=1;node=n1;name=Weekly", OUTDATED), ("wf=w2;ex=2;node=n2;name=Inbox", NEW)] {
        send(&proxy, tag, key);
    }
    let found = |query: &str| proxy.admin(&format!("/nodes?{query}")).text().matches("data-state=").count();
    assert_eq!((found("q=&state=&set="), found("q=WEEK"), found("q=w2"), found("q=nothing")), (2, 1, 1, 0));
    assert_eq!((found("state=stale"), found("q=weekly&state=confirmed"), found("workflow=w2")), (1, 0, 1));
    let first = proxy.admin("/nodes?limit=1").text();
    let (_, next) = first.split_once("rel=\"next\" href=\"").expect("another page");
    let next = next.split('"').next().unwrap().replace("&amp;", "&");
    assert!(proxy.admin(&next).text().contains("These are the last."), "{next}");
}

#[test]
fn what_a_page_needs_is_kept_for_ever_under_its_name() {
    let proxy = start(&FakeUpstream::accepting());
    let page = proxy.admin("/").text();
    for (asset, kind) in [(&STYLE, "text/css"), (&SCRIPT, "text/javascript"), (&ICON, "image/svg+xml")] {
        assert!(page.contains(&asset.path()), "{}", asset.name);
        let answer = proxy.ask_admin("GET", &asset.path(), &[]);
        assert_eq!((answer.status, answer.text()), (200, asset.text.to_owned()));
        assert!(answer.header("content-type").is_some_and(|told| told.starts_with(kind)));
        assert_eq!(answer.header("cache-control"), Some("public, max-age=31536000, immutable"));
    }
    let changed = STYLE.path().replace("page.", "page.0");
    assert_eq!(proxy.admin(&changed).status, 404, "no other version stands under its name");
}

/// Follows a page.
fn watch(proxy: &TestProxy, of: &str, headers: &[(&str, &str)]) -> Client {
    let mut client = proxy.admin_client();
    let (host, bearer) = (proxy.admin_address().to_string(), proxy.admin_bearer());
    let own = [("Host", host.as_str()), ("Authorization", bearer.as_str())];
    client.send(head_of(
        "GET",
        &format!("/watch?{of}"),
        &own.into_iter().chain(headers.iter().copied()).collect::<Vec<_>>(),
    ));
    assert!(client.head().line.contains(" 200 "));
    client
}

/// What comes until one piece of it has that text.
#[track_caller]
fn until(client: &mut Client, text: &str) -> String {
    let mut said = String::new();
    while !said.contains(text) {
        let piece = client.piece(&mut Framing::Chunked).expect("a stream").expect("more of it");
        said.push_str(std::str::from_utf8(&piece).unwrap());
    }
    said
}

#[test]
fn who_watches_is_told_the_row_that_changed() {
    let proxy = rotating(&FakeUpstream::accepting());
    let mut client = watch(&proxy, "of=%2F", &[]);
    let first = until(&mut client, "event: now");
    assert!(first.contains("event: whole\ndata: <section"), "{first}");
    let id = first.lines().find_map(|line| line.strip_prefix("id: ")).expect("an id").to_owned();
    proxy.advance(SECOND);
    send(&proxy, "wf=w1;ex=3;node=n1;name=Weekly%20report", NEW);
    let sent = Instant::now();
    let news = until(&mut client, "data-state=\"confirmed\"");
    assert!(sent.elapsed() < Duration::from_secs(5), "{:?}", sent.elapsed());
    assert!(news.contains("event: fragment\ndata: <tbody") && !news.contains("event: whole"), "{news}");
    assert!(!news.contains("<bdi>Inbox</bdi></th>"), "what is as it was is not sent: {news}");
    // One that comes back with what it had is behind, and gets all of it; one that has the same gets nothing.
    // What the ledger has not taken in yet may change the page in between.
    eventually("a page that stays", || {
        let behind = until(&mut watch(&proxy, "of=%2F", &[("Last-Event-ID", &id)]), "event: now");
        assert!(behind.contains("event: whole"), "{behind}");
        let now = behind.lines().find_map(|line| line.strip_prefix("id: ")).expect("an id");
        let same = until(&mut watch(&proxy, &format!("of=%2F&have={now}"), &[]), "event: now");
        (!same.contains("event: whole")).then_some(())
    });
}

#[test]
fn a_page_comes_with_the_print_that_its_watcher_says() {
    let proxy = start(&FakeUpstream::accepting());
    send(&proxy, "wf=w1;ex=1;node=n1", OUTDATED);
    for path in PAGES {
        let of = path.replace('/', "%2F");
        // What the ledger has not taken in yet may change a page in between.
        eventually(path, || {
            let page = proxy.admin(path).text();
            let have = page.split("data-version=\"").nth(1).expect("a print")[..16].to_owned();
            let said = until(&mut watch(&proxy, &format!("of={of}&have={have}"), &[]), "event: now");
            (!said.contains("event: whole")).then_some(())
        });
    }
}

#[test]
fn what_is_no_page_cannot_be_watched() {
    let proxy = start(&FakeUpstream::accepting());
    for (of, status) in
        [("%2Fnothing", 404), ("%2Fapi%2Fv1%2Fstatus", 404), ("%2Fnodes%2F", 404), ("%2Fnodes%3Fx%3D1", 400)]
    {
        assert_eq!(proxy.admin(&format!("/watch?of={of}")).status, status, "{of}");
    }
    let gone = until(&mut watch(&proxy, "of=%2Fnodes%2F0123456789abcdef", &[]), "event: end");
    assert!(gone.contains("{\"reason\":\"gone\"}"), "{gone}");
}

#[test]
fn a_stream_ends_with_the_token_that_it_began_with() {
    let proxy = start(&FakeUpstream::accepting());
    let mut client = watch(&proxy, "of=%2F", &[]);
    until(&mut client, "event: now");
    proxy.swap("state/admin.token", "another-token-another-token-another-token");
    assert!(until(&mut client, "event: end").contains("token_ended"));
}

#[test]
fn a_stop_ends_the_streams_at_once() {
    let (home, upstream) = (Home::new(), FakeUpstream::accepting());
    let keyward = home.serve_for(&upstream).key(NEW).start();
    let mut client = Client::connect(keyward.admin);
    let bearer = format!("Bearer {}", keyward.admin_token());
    client.send(head_of("GET", "/watch", &[("Host", "127.0.0.1"), ("Authorization", &bearer)]));
    assert!(client.head().line.contains(" 200 "));
    until(&mut client, "event: now");
    let asked = Instant::now();
    assert_eq!(keyward.stop().code(), Some(0));
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
    let ended = loop {
        match client.piece(&mut Framing::Chunked) {
            Ok(Some(_)) => {}
            Ok(None) => break true,
            Err(error) => break error.kind() != ErrorKind::WouldBlock,
        }
    };
    assert!(ended, "the stream is over");
}

/// The browser that was let in before a restart is let in behind it.
#[test]
fn a_session_outlives_a_restart() {
    let (home, upstream) = (Home::new(), FakeUpstream::accepting());
    let keyward = home.serve_for(&upstream).key(NEW).start();
    let link = home.keyward(&["open"]).env("KEYWARD_ADMIN_LISTEN", &keyward.admin.to_string()).run();
    let path = link.stdout.trim().split_once(&keyward.admin.to_string()).expect("an address").1.to_owned();
    let cookie = keyward.admin(&path).header("set-cookie").expect("a session").split(';').next().unwrap().to_owned();
    let value = cookie.split_once('=').unwrap().1.to_owned();
    drop(keyward.stop());
    let again = home.serve_for(&upstream).key(NEW).start();
    let ask = |value: &str| {
        let mut client = Client::connect(again.admin);
        // The port is another one here, so the cookie has another name.
        let cookie = format!("keyward_session_{}={value}", again.admin.port());
        client.send(head_of("GET", "/", &[("Host", &again.admin.to_string()), ("Cookie", &cookie)]));
        client.read().status
    };
    assert_eq!((ask(&value), ask(&format!("{value}x"))), (200, 401));
    eventually("the page", || (ask(&value) == 200).then_some(()));
}
