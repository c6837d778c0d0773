//! The page under `/`, for people who look where they just pointed n8n.

use crate::support::{CURRENT, FakeUpstream, TestProxy};

#[test]
fn a_browser_gets_the_base_url_to_paste_and_upstream_hears_nothing_of_it() {
    let (upstream, proxy) = running();
    let answer = proxy.get("/").header("Accept", "text/html").send();
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("text/html; charset=utf-8")));
    let page = answer.text();
    let origin = format!("http://{}", proxy.address());
    for said in [
        &*origin,
        "X-N8N-Tag",
        "wf={{ $execution.id == '__UNKNOWN__' ? 'editor' : $workflow.id }};ex={{ $execution.id }};node={{ $nodeId }}",
        "observe",
    ] {
        assert!(page.contains(said), "{said} is not in the page");
    }
    assert!(page.contains(&format!("http://{}", upstream.authority())));
    assert!(!page.contains("CuRr") && !page.contains(CURRENT), "anybody may look at it");
    assert_eq!(upstream.connections(), 0);
}

#[test]
fn it_is_the_same_with_a_query_and_has_a_head() {
    let (upstream, proxy) = running();
    assert_eq!(proxy.get("/?utm=1").send().body, proxy.get("/").send().body);
    let mut client = proxy.request("HEAD", "/").header("Connection", "close").begin();
    let answer = client.answer_to_head();
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("text/html; charset=utf-8")));
    assert_eq!(client.rest(), b"");
    assert_eq!(upstream.connections(), 0);
}

#[test]
fn it_is_no_exchange_and_leaves_no_line_in_the_log() {
    let (_upstream, proxy) = running();
    proxy.get("/").key(CURRENT).send();
    proxy.get("/v1/models").key(CURRENT).logged();
    assert_eq!(proxy.end().len(), 1);
}

#[test]
fn only_a_look_at_the_root_is_the_page() {
    let (upstream, proxy) = running();
    proxy.post("/").body("{}").send();
    proxy.get("/index.html").send();
    let lines: Vec<_> = upstream.received().into_iter().map(|received| received.head.line).collect();
    assert_eq!(lines, ["POST / HTTP/1.1", "GET /index.html HTTP/1.1"]);
}

fn running() -> (FakeUpstream, TestProxy) {
    let upstream = FakeUpstream::accepting();
    let proxy = TestProxy::with(&upstream).current_key(CURRENT).start();
    (upstream, proxy)
}
