//! `keyward demo`: a real keyward between a simulated n8n and a stand-in for OpenAI, through a day with a rotation in it.
//!
//! Nothing of it is real: keys, workflows and answers are invented, every socket is on loopback, the state lies in a
//! folder that is gone afterwards, and no setting or key of the environment is looked at.

pub mod n8n;
pub mod story;
mod upstream;
mod view;

use crate::demo::story::SET;
use std::cell::Cell;
use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use anyhow::Context;
use http::Request;
use tokio::net::TcpStream;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;

use self::story::{Chapter, Event, Key, Scene};
use self::upstream::Upstream;
use self::view::MARGIN;
use crate::app::Server;
use crate::clock::{Clock, Timestamp};
use crate::config::{Config, Environment, Overrides};
use crate::ledger::query::Filter;
use crate::ledger::rotation::RotationView;
use crate::net::one_shot;
use crate::telemetry::columns::Columns;
use crate::telemetry::json::{Json, name};
use crate::telemetry::local_clock::time_of_day;
use crate::telemetry::palette::{Palette, Tone};
use crate::telemetry::rows::Line;
use crate::telemetry::writer::{Lane, Rank};
use crate::telemetry::{self, Format};

/// What may be chosen of the demo.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How many times faster than in life the day goes by.
    pub speed: u32,
    /// What the moments of runs are made of: the same for the same seed.
    pub seed: u64,
    /// How log lines look, as in the setting `log.format`.
    pub log: Option<String>,
    /// Whether it goes on at the end, for those who look at the page.
    pub keep: bool,
}

/// Tells the story to its end, or until a signal comes.
pub fn run(settings: &Settings) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    let folder = Folder::make()?;
    runtime.block_on(async {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let signalled = async {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        };
        let upstream = Upstream::open(&KEYS).await?;
        let stage = Stage::set(settings, &folder, &upstream)?;
        let ended = tokio::select! {
            told = stage.tell_and_keep(settings) => told,
            ended = upstream.run() => ended.map(drop).context("what stands in for OpenAI has ended"),
            () = signalled => {
                if !stage.has_ended.get() {
                    stage.narrator.say(stage.now(), "The rotation so far", "The story was not told to its end.");
                    stage.show();
                }
                Ok(())
            }
        };
        stage.clear();
        ended
    })
}

/// Everything that the story is told with.
struct Stage<'f> {
    server: Server,
    time: Arc<AtomicI64>,
    midnight: Timestamp,
    key_file: &'f Path,
    narrator: Narrator,
    /// Whether the story was told to its end.
    has_ended: Cell<bool>,
}

impl<'f> Stage<'f> {
    fn set(settings: &Settings, folder: &'f Folder, upstream: &Upstream) -> anyhow::Result<Self> {
        write_key(&folder.key_file, OLD)?;
        let config = config(settings, folder, upstream)?;
        let midnight = midnight()?;
        let time = Arc::new(AtomicI64::new(midnight.after(story::BEGINNING).as_millis()));
        let clock = Clock::Chosen(Arc::clone(&time));
        let server = Server::start_silently(&config, clock)?;
        telemetry::report_panics();
        let format = config.log.resolved_format();
        let narrator = Narrator {
            lane: server.log().lane(0),
            format,
            palette: config.log.palette(),
            columns: config.log.columns(),
        };
        Ok(Self { server, time, midnight, key_file: &folder.key_file, narrator, has_ended: Cell::new(false) })
    }

    /// Tells the story, and goes on behind its end where that is wanted.
    async fn tell_and_keep(&self, settings: &Settings) -> anyhow::Result<()> {
        self.tell(settings).await?;
        self.has_ended.set(true);
        self.show();
        if settings.keep {
            self.offer_page("The page stays", "Ctrl-C ends it.");
            std::future::pending::<()>().await;
        }
        Ok(())
    }

    /// Says where the page is. The link works once, so each offer has its own.
    fn offer_page(&self, title: &str, more: &str) {
        if let Some(link) = self.server.page_link() {
            let text = format!("In a browser: {link} (once, within a minute). {more}");
            self.narrator.say(self.now(), title, &text);
        }
    }

    async fn tell(&self, settings: &Settings) -> anyhow::Result<()> {
        self.narrator.greet(self.now(), settings);
        self.offer_page("The page of this keyward", "It follows the day as it goes by.");
        let scenes = story::scenes(settings.seed);
        let mut next = Instant::now();
        for scene in &scenes {
            if self.server.log().counts().dropped() > 0 {
                // The watcher has gone.
                break;
            }
            next += scene.wait / settings.speed;
            tokio::time::sleep_until(next).await;
            self.time.store(self.midnight.after(scene.at).as_millis(), Ordering::Relaxed);
            self.play(scene).await?;
        }
        Ok(())
    }

    async fn play(&self, scene: &Scene) -> anyhow::Result<()> {
        match scene.event {
            Event::Chapter(chapter) => self.narrator.begin(self.now(), chapter),
            Event::KeyFileReplaced => self.replace_key_file()?,
            Event::Acknowledged => self.acknowledge(),
            Event::Shown => self.show(),
            Event::Tested(release) => self.send(n8n::test(release, NEW)?).await?,
            Event::Sent(request) => self.send(n8n::request(&request, value_of(request.key))?).await?,
        }
        Ok(())
    }

    /// Sends a request to keyward, and reads the answer to its end.
    async fn send(&self, request: Request<String>) -> anyhow::Result<()> {
        let stream = TcpStream::connect(self.server.listen()).await.context("the demo's n8n cannot reach keyward")?;
        let asking = async { one_shot::send(stream, request).await?.read_body(usize::MAX).await };
        asking.await.map(drop).context("the demo's n8n got no whole answer from keyward")
    }

    /// keyward would find the new key by itself, in a moment of its own; here the story waits for it.
    fn replace_key_file(&self) -> io::Result<()> {
        self.server.reload();
        let aside = self.key_file.with_extension("new");
        write_key(&aside, NEW)?;
        fs::rename(aside, self.key_file)?;
        self.server.reload();
        Ok(())
    }

    /// As `keyward ack` would: the client that sent the old key without a tag is known not to come back.
    fn acknowledge(&self) {
        let bindings = self.server.query(self.now()).bindings(&Filter { open: Some(true), ..Filter::default() });
        for listed in bindings.iter().filter(|listed| listed.binding.is_untagged()) {
            self.server.ledger().acknowledge(&listed.binding, self.now());
        }
    }

    /// Shows the rotation so far.
    fn show(&self) {
        let query = self.server.query(self.now());
        for (set, _) in query.sets().filter(|(_, name)| &***name == SET) {
            self.narrator.show(&query.named_rotation(set));
        }
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.time.load(Ordering::Relaxed))
    }

    /// Ends keyward. Nothing is open any more but what a signal cut.
    fn clear(self) {
        self.server.drain();
        self.server.join_silently();
    }
}

/// Says what is no exchange: where the story stands.
struct Narrator {
    lane: Lane,
    format: Format,
    palette: Palette,
    columns: Columns,
}

impl Narrator {
    fn greet(&self, now: Timestamp, settings: &Settings) {
        let Settings { speed, seed, .. } = settings;
        let title = format!("a day with keyward, {speed} times as fast (seed {seed})");
        self.say(now, &title, GREETING);
    }

    fn begin(&self, now: Timestamp, chapter: &Chapter) {
        self.say(now, chapter.title, chapter.text);
    }

    /// For programs, a line for each binding that is left, and one for all.
    fn show(&self, view: &RotationView) {
        if self.format == Format::Human {
            let text = view::text(view, &view::open_rows(view), self.palette, self.columns.now(), time_of_day);
            self.lane.append(Rank::Trouble, |buffer| buffer.extend_from_slice(text.as_bytes()));
            return;
        }
        for row in view::open_rows(view) {
            let identity = row.binding.identity();
            self.tell(view.at, |json| {
                json.text(name!("workflow_id"), identity.workflow);
                json.text(name!("node_id"), identity.node);
                json.word(name!("client"), identity.family.code());
                json.word(name!("standing"), row.standing.code());
                json.word(name!("reason"), view::reason(&row));
            });
        }
        self.tell(view.at, |json| {
            json.text(name!("title"), Some("The rotation"));
            json.text(name!("message"), Some(&view.progress.to_string()));
            json.text(name!("can_go"), view.old_keys.first().map(|old| old.can_go.code()));
        });
    }

    fn say(&self, now: Timestamp, title: &str, text: &str) {
        if self.format == Format::Json {
            return self.tell(now, |json| {
                json.text(name!("title"), Some(title));
                json.text(name!("message"), Some(text));
            });
        }
        let (begin, end) = (self.palette.begin(Tone::Title), self.palette.end());
        let lines =
            format!("\n{begin}{}  {SET}: {title}{end}\n{}\n", time_of_day(now), wrapped(text, self.columns.now()));
        self.lane.append(Rank::Trouble, |buffer| buffer.extend_from_slice(lines.as_bytes()));
    }

    /// A line for programs.
    fn tell(&self, now: Timestamp, fields: impl FnOnce(&mut Json<'_>)) {
        self.lane.append(Rank::Trouble, |buffer| {
            let mut json = Json::begin(buffer, now);
            json.word(name!("level"), "info");
            json.word(name!("event"), SET);
            fields(&mut json);
            json.end();
        });
    }
}

/// The text in rows that a terminal shows whole, each behind the margin.
fn wrapped(text: &str, columns: usize) -> String {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let rows = Line::from(text).within(MARGIN.len()).rows(columns.min(WIDTH), Palette::Plain);
    rows.join("\n") + "\n"
}

/// The same settings as `serve` reads, from an environment of their own.
fn config(settings: &Settings, folder: &Folder, upstream: &Upstream) -> anyhow::Result<Config> {
    let text = |path: &Path| path.to_str().map(str::to_owned).context("the folder for temporary files has an odd name");
    let environment = Environment::default()
        .with_state_folder(&folder.path)
        .with("KEYWARD_PROXY_LISTEN", "127.0.0.1:0")
        .with("KEYWARD_PROXY_UPSTREAM", &format!("http://{}", upstream.address()?))
        .with("KEYWARD_PROXY_VIA", "none")
        .with("KEYWARD_PROXY_WORKERS", "1")
        .with("KEYWARD_ADMIN_LISTEN", "127.0.0.1:0")
        .with("KEYWARD_KEYS_DEMO_CURRENT_FILE", &text(&folder.key_file)?)
        .with("KEYWARD_KEYS_DEMO_GRACE", "4h");
    Ok(Config::load(None, &environment, Overrides { log: settings.log.clone(), ..Overrides::default() })?)
}

/// The midnight before the story, where the demo runs.
fn midnight() -> anyhow::Result<Timestamp> {
    let day = jiff::civil::date(2026, 9, 1);
    Ok(Timestamp::from_millis(day.to_zoned(jiff::tz::TimeZone::system())?.timestamp().as_millisecond()))
}

/// A file that only this user may read, as keyward wants it.
fn write_key(path: &Path, key: &str) -> io::Result<()> {
    fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?.write_all(key.as_bytes())
}

fn value_of(key: Key) -> Option<&'static str> {
    match key {
        Key::Old => Some(OLD),
        Key::New => Some(NEW),
        Key::CutOff => Some(&NEW[..NEW.len() - 5]),
        Key::Dropped => None,
    }
}

/// The keys of the demo, which open nothing anywhere.
pub const KEYS: [&str; 2] = [OLD, NEW];

/// A folder of the demo's own among the temporary files, gone with this value.
struct Folder {
    path: PathBuf,
    key_file: PathBuf,
}

impl Folder {
    /// No other user may look into it, or have made it.
    fn make() -> anyhow::Result<Self> {
        let place = std::env::temp_dir();
        let path = place.join(format!("keyward-demo-{:016x}", RandomState::new().hash_one(())));
        let made = fs::DirBuilder::new().mode(0o700).create(&path);
        made.with_context(|| format!("cannot make a folder in {} (TMPDIR names another place)", place.display()))?;
        Ok(Self { key_file: path.join("openai.key"), path })
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.path) {
            tracing::warn!(event = "demo", "the demo's folder {} stays: {error}", self.path.display());
        }
    }
}

const OLD: &str = "sk-demo-this-is-no-key-of-anybody-OLD";

const NEW: &str = "sk-demo-nor-is-this-one-of-anybody-NEW";

const GREETING: &str = "Everything here is invented but keyward: an n8n of twenty workflows, what stands in for OpenAI, and \
    their keys. Between them is a real keyward, whose log this is. No key, setting or file of yours is looked at, nothing \
    leaves this machine, and nothing is left behind. Ctrl-C ends it.";

/// No row of text is longer, so that it is read with ease.
const WIDTH: usize = 100;
