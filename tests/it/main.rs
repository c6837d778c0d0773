//! The integration tests, in one binary. A new promise to the user gets a module here.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on has failed")]

/// What the tests are written with: a keyward in this process, an upstream that follows a script, and a client that
/// sees every byte.
mod support;

/// What proves that upstream takes a key: messages, streams, refusals and paths.
mod acceptance;
/// The admin listener: health, readiness and metrics, and nothing of keys.
mod admin;
/// Who is let in to the admin listener: every route with every kind of token, hosts, origins, sessions, the end of a token.
mod admin_access;
/// What the admin listener answers, held to its OpenAPI document; and the stream of events.
mod admin_api;
/// A crowd at the admin listener, slow ones and wrong tokens: traffic goes on, and a right token is let in.
mod admin_crowds;
/// The page of the admin listener: what it shows without a script, what those are sent who watch it, how it is sealed.
mod admin_page;
/// Who gets the current key, and in how many ways one stays a stranger.
mod admission;
/// The types of the answers and the OpenAPI document say the same.
mod answers;
/// What stands around a body: the leave to send it, informational answers, trailers.
mod around_bodies;
/// Whose request it is: every source, how they rank, and that nothing of ours goes upstream.
mod attribution;
/// Clients are spread over the workers, and wait when there are too many.
mod balance;
/// Requests that real n8n sent, recorded byte for byte: what keyward makes of their heads.
mod captures;
/// Heads and bodies pass as they are, in both directions, as soon as they come.
mod carrying;
/// The example files are true, complete and can be used.
mod config_files;
/// A crowd of clients costs memory while it is there, and not when it has left.
mod crowds;
/// The dashboard and the alerts rest on metrics that there are.
mod dashboards;
/// README and `docs/`: their links lead somewhere, their commands and configurations work, their tables are true.
mod docs;
/// keyward stops in peace: what is open finishes, until the time for it is over.
mod draining;
/// An answer that comes before the request is whole: it arrives, and nothing of the rest is taken for a request.
mod early_answers;
/// The executions that n8n lists: which of them wait or run, with which records, within what bounds.
mod executions;
/// Upstream fails, the client leaves: what each of them gets, and what the log says.
mod faults;
/// Upstream sends what it should not: heads without end, wrong lengths, bombs, redirects, other people's cookies.
mod hostile_upstream;
/// Clients that speak HTTP/2: the same judgement and the same care, for many requests side by side.
mod http2;
/// The key that keyward puts in stays out of what upstream says of it.
mod lent_key;
/// Every odd Authorization that real n8n sends, under each policy: what it is called, and what upstream gets.
mod odd_values;
/// The page for people under `/`.
mod page;
/// What each policy does about a credential: refusals, lent keys, and what clients get.
mod policies;
/// keyward presses n8n's test of each credential record: which key it holds, and what a press is not.
mod presses;
/// What is wrong with upstream, a key, or keyward itself: told of while it lasts, with its remedy.
mod problems;
/// Load balancers say whom they speak for, by the PROXY protocol; others are not believed.
mod proxy_protocol;
/// Clients that are slow or many: they are let go in time, and others are served meanwhile.
mod slow_clients;
/// Only what one parser can read in one way goes upstream.
mod smuggling;
/// How long it takes to judge a wrong key says nothing of where it goes wrong.
mod timing;
/// Clients speak TLS: what they are shown, how it changes, and what becomes of those who speak something else.
mod tls;
/// WebSockets and other protocols: nothing passes before upstream has agreed, and everything as it is from then on.
mod upgrades;
/// Upstream is spoken to in HTTP/2, where that is set and it takes it.
mod upstream_http2;
/// What a credential is, and what the log and the answer say of it.
mod verdicts;
/// Views of many bindings: health checks and a stop do not wait for them, and no answer is older than its question.
mod views;
/// No exchange waits for a tick of the clock to go on.
mod wakes;

/// For the modules below: the real binary in a process of its own, a fake upstream and a client, all over plain sockets.
mod process;

/// `keyward serve` from the first line on: what a newcomer reads, what can be set, and how wrong settings are told.
mod serve;

/// Signals: how keyward stops, and how it changes log files.
mod signals;

/// A service manager hands sockets over and is told how keyward is: another process takes over, and no client is turned away.
mod activation;

/// Clients that are sent away before there is an exchange: one line in the log, a number in the metrics, and no flood.
mod strangers;

/// The log as it is written: fields, formats, levels, hostile callers, full disks and pipes without a reader.
mod log_output;

/// The state folder and the places of keys: what outlives a restart, and what goes on without them.
mod state;
/// `keyward status` alone names each fault and the next step.
mod status;

/// The ledger's store: what it remembers over restarts and kills, and that traffic comes first whatever is wrong with it.
mod ledger;

/// Canary keys in every place, and none of them in anything that keyward prints, serves of its own or keeps.
mod secrets;

/// Groups of nodes get a key set, a token and a credential of their own, once, and go on where they were stopped.
mod segment;

/// Rules of the tree, held by reading its sources.
mod tidy;

/// What stands where a key should, and is none: one list for requests, key files and `keyward check`.
mod non_keys;

/// Keys that commands give.
mod key_commands;

/// New keys are taken without a restart, and no request fails meanwhile.
mod reload;

/// Another configuration is taken whole or not at all, and no request fails meanwhile.
mod new_settings;

/// The way to upstream: by the machine's proxy where there is one, and which failures of it are told apart.
mod way_out;

/// The demo, told to its end: its mistakes, what it shows and what it leaves.
mod demo;
/// `keyward rotate`: each step, what a stop at any of them leaves, and what an OpenAI that does not answer leaves.
mod rotate;
/// A rotation on the command line: from the running keyward, and from its store when it is down.
mod rotation;

/// The commands beside `serve`, and that a running keyward heeds them at once.
mod commands;

/// n8n's credentials lead to keyward, or back: what is changed, what is left, and that no key is printed or kept.
mod connect;

/// n8n's nodes use another credential, or their own again: what is changed, what is left, what is put back, and what a command
/// that was killed leaves.
mod reconnect;

/// Asking n8n's API: what is sent, what each failure says, and that a hostile n8n neither holds keyward up nor gets more
/// than it may have.
mod n8n_client;

/// The audit of n8n: on the command line, in the admin API, and what it means for an old key.
mod n8n_audit;

/// What n8n calls its workflows and nodes: in every line, answer and table, beside the traffic, and without harm.
mod names;

/// The commands that ask n8n: the story of an execution, and what its API key may do.
mod n8n_commands;

/// Notices: what reaches a receiver and what never does, how it is signed, repeated and given up, and that its URL and
/// secret are shown nowhere.
mod notices;

/// What 0.1.0 left is taken over without a loss, and its API, log, metrics and `--json` keep their fields and words.
mod upgrade;
