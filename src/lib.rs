//! keyward: a reverse proxy between n8n and the OpenAI API that knows which workflow node still sends the old key.
//!
//! This page is the map of the code. The binary (`src/main.rs`) prepares the process and hands over to [`cli`].
//!
//! # The way of a request
//!
//! [`server::listener`] accepts a client and gives it to one of the [workers](server::worker). Its connection
//! ([`server::connection`]) begins with the [`server::handshake`]; [`exchange`] is the way of one request, on one page:
//!
//! | step | where | |
//! |---|---|---|
//! | its head is read, and where its body ends is decided; its lines stay where they came | [`server::http1`], [`http1`], [`field_lines`]; in HTTP/2 [`server::http2`] |
//! | what others could read otherwise is refused | [`exchange::ambiguity`], [`early_refusal`], [`exchange::rejections`] | |
//! | what of the request may be looked at, found in one walk | [`head`], [`request_path`] | pure |
//! | who sent it: tag, path, organization tag, client family | [`caller`] | pure |
//! | what its credential is | [`verdict::judge`], by the [`keys::set::KeyRing`] | pure |
//! | what is done about it | [`policy::decide`] by the [`keys::rules`]: only it makes a [`policy::Permit`] | pure |
//! | a guard that remembers it on its binding, on every way out | [`ledger`] | |
//! | its target and its head are rewritten for upstream | [`exchange::rewrite`], [`exchange::headers`] | |
//! | its body goes by, chunk by chunk | [`upstream::request_body`] | |
//! | it goes upstream, for a permit | [`exchange::forward`], [`upstream::pool`], [`upstream::dialer`], [`net::connect`] | |
//! | or an answer of our own goes back | [`exchange::refusal`] | |
//! | an error that quotes a key of ours is replaced | [`exchange::lent_key`] | pure |
//! | the answer passes by, chunk by chunk, and is counted; what it says is wrong is read | [`exchange::response_body`], [`openai::answer`] | |
//! | or both connections are upgraded, to a WebSocket above all, whose frames are followed | [`exchange::upgrade`], [`openai::websocket`] | |
//! | verdict and [`outcome`] together, in words | [`exchange::diagnosis`], [`verdict::explain`] | pure |
//! | when it ends, it is remembered, counted, learned from and written down; a fault of upstream or of a key is noted | [`recorder`], [`metrics`], [`access_log`], [`problems`] | |
//! | one line goes to the log, and to those who follow | [`telemetry::writer`], [`telemetry::tap`] | |
//!
//! Beside that way: [`ledger::writer`] brings what is remembered into its store, and [`ledger::query`] answers for it;
//! [`keys::reloader`] makes the next ring when [`watch`] or the clock says so, or another configuration is taken ([`app`]); [`n8n`] knows what is configured there, and what
//! n8n calls it; [`admin`] answers those who run it ([`admin::routes`] is the table, [`answers`] has the types), [`check`] tells what would not work or
//! is unsafe, [`demo`] shows all of it on an invented day, and [`cli`] has the commands.
//!
//! # What never happens
//!
//! - A request never waits for the log, the ledger, the state folder or the admin listener. What cannot be handed over
//!   is dropped and counted.
//! - An unjudged request never goes upstream: forwarding takes a permit. Nor does a key of ours for whom
//!   [`policy::decide`] has not admitted: it alone hands one out, inside the permit.
//! - A body is never changed, but for an error that shows a key which keyward put in: that one is replaced
//!   ([`exchange::lent_key`]), and held back until it is known. A request's is never collected but to be sent once more: a short one over HTTP/2, where
//!   upstream may say that it has not looked at a request; a head is copied for nothing else. Of an answer's, at most 16 KiB
//!   are held to be read beside its way, which waits for nothing.
//! - A secret is never printed: [`keys::secret::Secret`] has no text of its own, and its value is read in few places,
//!   which `tests/it/tidy.rs` lists.
//! - Workers share nothing on a request's way but immutable snapshots, sharded counters and, behind one short lock of a
//!   shard, the bindings; and while the log is followed, the buffer of [`telemetry::tap`]; while upstream or a key is in trouble,
//!   [`problems`].
//! - A pure module (its first line says "Pure.") names no runtime, socket, file, environment or clock.
//! - A module below never imports one further up: the list is in that order, and `tests/it/tidy.rs` holds it.
//! - No concern reads the configuration: [`config`] knows the settings of all of them, none knows [`config`].
//!
//! # Every file
//!
//! In the order of the layers, the lowest first.
//!
//! | module | what | files below it |
//! |---|---|---|
//! | [`allocator`] | the allocator, and memory given back |  |
//! | [`codes`] | enums with a list and stable codes, each declared once |  |
//! | [`locks`] | locks that outlive a panic |  |
//! | [`confined`] | what one thread alone touches |  |
//! | [`splitmix`] | numbers that look random |  |
//! | [`spares`] | vectors kept for their room |  |
//! | [`clock`] | wall-clock time, which tests may set |  |
//! | [`tasks`] | threads with a runtime of their own |  |
//! | [`watch`] | when one of some files may have changed |  |
//! | [`telemetry`] | the log: events, lines and the bounded writer | `columns` `event` `json` `local_clock` `masked` `palette` `rows` `tap` `writer` |
//! | [`field_lines`] | the field lines of a head |  |
//! | [`request_target`] | the target of a request |  |
//! | [`message`] | a request and an answer, in either version of HTTP |  |
//! | [`head`] | what of a request may be looked at |  |
//! | [`keys`] | the key ring, and where keys come from | `access` `command` `fingerprint` `history` `learned` `listing` `reloader` `rules` `secret` `set` `source` `state` `token` |
//! | [`request_path`] | the path of a request, and its repair |  |
//! | [`caller`] | who sent a request | `declared` `inferred` `names` `registry` |
//! | [`outcome`] | what upstream answered, and how the exchange ended |  |
//! | [`early_refusal`] | why a client is refused before there is an exchange |  |
//! | [`verdict`] | what a credential is, and what is told of it | `credential` `explain` `meaning` |
//! | [`policy`] | what is done about a verdict |  |
//! | [`metrics`] | counters |  |
//! | [`openai`] | OpenAI's answers, errors, streams and WebSockets | `answer` `encoding` `error` `event` `probe` `websocket` |
//! | [`ledger`] | what is remembered of callers, and what can be asked of it | `answer` `bar_kind` `bearing` `binding` `closed` `destination` `doubt_kind` `evidence` `expiries` `expiry` `hours` `identity` `in_flight` `incident` `kept_notices` `look` `names` `offline` `old_key` `press` `progress` `projects` `proof` `query` `recent` `rhythm` `rotation` `rotation_grounds` `rotation_row` `seen` `senders` `sent` `set_keys` `sighting` `span` `sqlite` `standing` `store` `writer` |
//! | [`problems`] | what is wrong with upstream, a key, or keyward itself | `faults` `kind` `recalled` `tags` `traffic` |
//! | [`welcome`] | what a newcomer is told |  |
//! | [`net`] | sockets, TLS, and how another host is reached | `certificate_error` `client_tls` `coarse_clock` `connect` `egress_proxy` `happy_eyeballs` `limits` `lingering_close` `one_shot` `origin` `peer_limit` `protocol` `server_tls` `socket` `stream` `tunnel` `write_stall` |
//! | [`http1`] | HTTP/1.1 on the data path: heads, framing, buffers | `body_reader` `body_writer` `client_io` `framing` `head_reader` `head_writer` `input` `output` |
//! | [`upstream`] | connections to upstream | `cancellation` `connection` `dead_peer` `dialer` `frames` `http1` `http2` `http2_pool` `open_connections` `pool` `request_body` `upstream_io` |
//! | [`exchange`] | one request, up to the end of its answer | `ambiguity` `context` `diagnosis` `error_body` `forward` `forward_error` `headers` `last_refusal` `lent_key` `refusal` `rejections` `response_body` `rewrite` `session` `upgrade` |
//! | [`access_log`] | the log line of an exchange, in either format | `human` `json` `line` `repeats` |
//! | [`recorder`] | what happens when an exchange ends |  |
//! | [`server`] | client connections, and the workers that carry them | `admission` `connection` `connections` `handshake` `http1` `http2` `http2_streams` `lifecycle` `listener` `panic` `proxy_protocol` `service` `worker` |
//! | [`n8n`] | what n8n says is configured | `address` `asked` `audit` `clearance` `client` `connect` `connections` `documents` `doubt` `editor` `executions` `finding` `finding_kind` `inventory` `journal` `lent` `look` `poller` `pressed` `presser` `reconnect` `rewrite` `row` `segment` `segment_journal` `status` `writer` |
//! | [`answers`] | what the admin API answers, as types that the command line and the page read | `audit` `binding` `codebook` `event` `execution` `headline` `incident` `key` `link` `moment` `notice` `old_key` `problem` `reload` `rotation` `sender` `status` `who` `words` |
//! | [`notices`] | what keyward tells by itself, and to which receivers | `delivery` `destination` `message` `notifier` `outbox` `status` `subject` `thread` |
//! | [`rotate`] | what `keyward rotate` does beside asking | `account` `admin_api` `journal` `key_file` `redacted` |
//! | [`page`] | what the admin listener shows in a browser | `assets` `audit` `execution` `home` `incidents` `keys` `layout` `live` `node` `nodes` `notices` `parts` `reasons` `timeline` `view` `watcher` |
//! | [`admin`] | the admin listener: page, API and metrics | `access` `api` `call` `connection` `events` `exposition` `guard` `listener` `looks` `page` `parameters` `problem` `problem_response` `reasons` `reload` `response` `routes` `settings` `state` `viewer` `views` `watch` `wrong_tokens` |
//! | [`config`] | all settings, and every problem with them | `accounts` `change` `env` `instances` `parse` `problem` `proxy_env` `raw` `receivers` `schema` `sets` `units` |
//! | [`check`] | what would not work or is not safe | `gateways` `online` |
//! | [`app`] | starts all of it, and ends it in order | `observed` `pollers` `reload` `standing` `subjects` `systemd` `upkeep` |
//! | [`demo`] | a simulated day | `n8n` `story` `upstream` `view` |
//! | [`cli`] | the commands | `accept` `answer` `audit` `bindings` `blame` `check` `client` `connect` `connected` `connecting` `demo` `disconnect` `events` `exit` `expiring` `explain` `faults` `format` `health` `keys` `n8n` `notices` `open` `output` `pages` `prompt` `reconnect` `reconnected` `records` `reload` `report` `rotate` `rotate_abort` `rotate_new_key` `rotate_ready` `rotate_records` `rotate_report` `rotate_revoke` `rotate_watch` `rotation` `rotation_view` `segment` `segmenting` `serve` `setup` `source` `start` `status` `telling` `token` `undo` `wait` |

pub mod allocator;

pub mod codes;

pub mod locks;

pub mod confined;

pub mod splitmix;

pub mod spares;

pub mod clock;

pub mod tasks;

pub mod watch;

pub mod telemetry;

pub mod field_lines;

pub mod request_target;

pub mod message;

pub mod head;

pub mod keys;

pub mod request_path;

pub mod caller;

pub mod outcome;

pub mod early_refusal;

pub mod verdict;

pub mod policy;

pub mod metrics;

pub mod openai;

pub mod ledger;

pub mod problems;

pub mod welcome;

pub mod net;

pub mod http1;

pub mod upstream;

pub mod exchange;

pub mod access_log;

pub mod recorder;

pub mod server;

pub mod n8n;

pub mod answers;

pub mod notices;

pub mod rotate;

pub mod page;

pub mod admin;

pub mod config;

pub mod check;

pub mod app;

pub mod demo;

pub mod cli;
