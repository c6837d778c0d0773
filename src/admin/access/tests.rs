//! Who is let in to the admin listener: tokens in their files, links and sessions.

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use super::*;
use crate::telemetry::event::with_causes;

struct Bench {
    folder: tempfile::TempDir,
    now: Arc<AtomicI64>,
}

impl Bench {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("a folder"), now: Arc::default() }
    }

    fn write(&self, name: &str, token: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        fs::write(&path, token).expect("a file");
        path
    }

    fn open(&self, token_file: Option<PathBuf>, read_token_file: Option<PathBuf>) -> Result<Access, String> {
        let settings = Settings { token_file, read_token_file, ..Settings::default() };
        let state = state::Settings { dir: self.folder.path().into() };
        let opened = Access::open(&settings, &state, Clock::Chosen(Arc::clone(&self.now)));
        let (access, trouble) = opened.map_err(|error| with_causes(&error))?;
        assert!(trouble.is_none(), "{trouble:?}");
        Ok(access)
    }

    fn advance(&self, span: Duration) {
        self.now.fetch_add(i64::try_from(span.as_millis()).expect("a span"), Ordering::Relaxed);
    }

    fn own_token(&self) -> String {
        fs::read_to_string(self.folder.path().join("admin.token")).expect("a token")
    }
}

const ONE: &str = "0123456789abcdef0123456789abcdef";
const TWO: &str = "fedcba9876543210fedcba9876543210";

fn scope(access: &Access, token: &str) -> Option<Scope> {
    access.admit(token.as_bytes()).map(|pass| pass.scope)
}

#[test]
fn the_default_token_is_made_once_for_its_owner_alone() {
    let bench = Bench::new();
    let access = bench.open(None, None).expect("a token");
    let token = bench.own_token();
    let mode = fs::metadata(bench.folder.path().join("admin.token")).expect("a file").permissions().mode();
    assert_eq!((mode & 0o777, token.len()), (0o600, 52));
    assert_eq!(scope(&access, &token), Some(Scope::Write));
    assert_eq!(scope(&access, &token[..51]), None);
    assert_eq!(scope(&access, ""), None);
    assert_eq!(scope(&bench.open(None, None).expect("the same"), &token), Some(Scope::Write));
    assert_eq!(fs::read_dir(bench.folder.path()).expect("a folder").count(), 1, "no draft is left");
}

#[track_caller]
fn check(opened: Result<Access, String>, said: &str) {
    let error = opened.err().expect("an error");
    assert!(error.contains(said) && !error.contains("89abcdef"), "{error}");
}

#[test]
fn a_file_that_holds_no_good_token_is_refused_and_not_quoted() {
    let bench = Bench::new();
    let (good, short) = (bench.write("good", ONE), bench.write("short", &ONE[1..]));
    check(bench.open(Some(short.clone()), None), "it is shorter than 32 characters");
    check(bench.open(Some(good.clone()), Some(short)), "it is shorter than 32 characters");
    check(bench.open(Some(good.clone()), Some(bench.write("empty", "\n"))), "it is empty");
    check(bench.open(Some(good.clone()), Some(bench.write("odd", &format!("{ONE} {TWO}")))), "at position 32");
    check(bench.open(Some(good.clone()), Some(bench.folder.path().join("none"))), "it cannot be read");
    check(bench.open(Some(good.clone()), Some(bench.write("same", ONE))), "the same admin token");
    assert!(bench.open(Some(good), Some(bench.write("other", &format!("{TWO}\n")))).is_ok());
}

#[test]
fn another_token_in_the_file_ends_the_one_before() {
    let bench = Bench::new();
    let (write, read) = (bench.write("write", ONE), bench.write("read", TWO));
    let access = bench.open(Some(write), Some(read)).expect("two tokens");
    assert_eq!((scope(&access, ONE), scope(&access, TWO)), (Some(Scope::Write), Some(Scope::Read)));
    let pass = access.admit(TWO.as_bytes()).expect("a pass");
    let three = "three-three-three-three-three-three";
    bench.write("read", three);
    let changes = access.changes();
    assert!(access.reload().expect("read"), "it is news");
    assert!(changes.has_changed().expect("a sender") && !access.is_good(&pass));
    assert_eq!((scope(&access, TWO), scope(&access, three)), (None, Some(Scope::Read)));
    assert!(!access.reload().expect("read"));
    bench.write("write", "");
    assert!(access.reload().is_err());
    assert_eq!((scope(&access, ONE), scope(&access, three)), (None, Some(Scope::Read)), "the other one stays");
}

#[test]
fn a_token_of_our_own_that_is_deleted_is_replaced() {
    let bench = Bench::new();
    let access = bench.open(None, None).expect("a token");
    let before = bench.own_token();
    fs::remove_file(bench.folder.path().join("admin.token")).expect("a file");
    assert!(access.reload().expect("another"));
    assert_eq!((scope(&access, &before), scope(&access, &bench.own_token())), (None, Some(Scope::Write)));
}

#[test]
fn a_link_works_once_and_for_a_minute() {
    let bench = Bench::new();
    let access = bench.open(None, None).expect("a token");
    let pass = access.admit(bench.own_token().as_bytes()).expect("a pass");
    let open = |link: &str| access.open_link(link.as_bytes()).expect("random bytes");
    let (link, _) = access.make_link(&pass).expect("a link");
    let session = open(&link).expect("a session");
    assert!(open(&link).is_none() && open("").is_none());
    let of_session = access.admit_session(session.as_bytes()).expect("a pass");
    assert_eq!(of_session.scope, Scope::Read, "whatever its token may do");
    assert!(access.admit_session(link.as_bytes()).is_none());
    let (late, _) = access.make_link(&pass).expect("a link");
    bench.advance(LINK_LASTS);
    assert!(open(&late).is_none());
    bench.advance(SESSION_LASTS);
    assert!(access.admit_session(session.as_bytes()).is_none() && !access.is_good(&of_session));
}

#[test]
fn sessions_end_with_the_token_that_they_began_with() {
    let bench = Bench::new();
    let access = bench.open(Some(bench.write("token", ONE)), None).expect("a token");
    let (link, _) = access.make_link(&access.admit(ONE.as_bytes()).expect("a pass")).expect("a link");
    let (unused, _) = access.make_link(&access.admit(ONE.as_bytes()).expect("a pass")).expect("a link");
    let session = access.open_link(link.as_bytes()).expect("random bytes").expect("a session");
    assert!(access.admit_session(session.as_bytes()).is_some());
    bench.write("token", TWO);
    assert!(access.reload().expect("read"));
    assert!(access.admit_session(session.as_bytes()).is_none());
    assert!(access.open_link(unused.as_bytes()).expect("random bytes").is_none());
}

#[test]
fn a_session_outlives_a_restart_and_cannot_be_made_up() {
    let bench = Bench::new();
    let access = bench.open(None, None).expect("a token");
    let pass = access.admit(bench.own_token().as_bytes()).expect("a pass");
    let (link, _) = access.make_link(&pass).expect("a link");
    let session = access.open_link(link.as_bytes()).expect("random bytes").expect("a session");
    let again = bench.open(None, None).expect("the same token");
    assert!(again.admit_session(session.as_bytes()).is_some());
    let (until, rest) = session.split_once('.').expect("an end");
    let later = until.parse::<i64>().expect("milliseconds") + 1;
    let (said, signature) = session.rsplit_once('.').expect("a signature");
    for made_up in [
        String::new(),
        format!("{later}.{rest}"),
        said.to_owned(),
        format!("{said}."),
        format!("{said}.{}", signature.to_lowercase()),
        format!("{}x", *session),
        format!(".{}", *session),
        signature.to_owned(),
    ] {
        assert!(again.admit_session(made_up.as_bytes()).is_none(), "{made_up}");
    }
    assert!(again.admit_session(b"\xff.\xff").is_none());
    bench.advance(SESSION_LASTS);
    assert!(again.admit_session(session.as_bytes()).is_none());
}

#[test]
fn links_are_bounded() {
    let bench = Bench::new();
    let access = bench.open(None, None).expect("a token");
    let pass = access.admit(bench.own_token().as_bytes()).expect("a pass");
    let links: Vec<_> = (0..=MOST_PASSES).map(|_| access.make_link(&pass).expect("a link").0).collect();
    assert!(access.open_link(links[0].as_bytes()).expect("random bytes").is_none(), "the oldest is gone");
    assert!(access.open_link(links[1].as_bytes()).expect("random bytes").is_some());
}
