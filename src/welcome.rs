//! Pure. What a newcomer is told: where keyward listens, what it checks by, and what to paste into n8n. The same words
//! stand in the first lines of the log and on the page under `/`.

use std::fmt::Write as _;
use std::net::SocketAddr;

/// The Base URL of n8n's OpenAI credential, where a custom header tags the node (n8n 2.x).
#[must_use]
pub fn base_url(origin: &str) -> String {
    format!("{origin}/v1")
}

/// The custom header that tags the node (n8n 2.x).
pub const TAG_HEADER: &str = "X-N8N-Tag";

/// The value of the custom header [`TAG_HEADER`], an expression. Its guard keeps the model list of the built-in OpenAI node
/// working, which knows no workflow (seen in n8n 2.41.1).
pub const TAG: &str =
    "wf={{ $execution.id == '__UNKNOWN__' ? 'editor' : $workflow.id }};ex={{ $execution.id }};node={{ $nodeId }}";

/// Where an n8n in Docker reaches a keyward that listens there: on the host, and as a service of one Compose network.
fn docker_base_urls(port: u16) -> [String; 2] {
    [HOST_FROM_DOCKER, SERVICE].map(|host| base_url(&format!("http://{host}:{port}")))
}

/// What Docker calls the host inside a container.
const HOST_FROM_DOCKER: &str = "host.docker.internal";

/// What config/compose.yaml calls keyward.
const SERVICE: &str = "keyward";

/// Where a keyward on the host listens for containers on Linux: the address of Docker's bridge.
const BRIDGE: &str = "172.17.0.1";

/// The Base URL that tags the node by itself (n8n 1.x and 2.x), an expression. Its guard keeps the credential's test
/// button and the model lists working, which know no workflow (seen in n8n 1.100.1 and 2.41.1).
#[must_use]
pub fn tagging_base_url(origin: &str) -> String {
    format!("{origin}/n8n/{GUARDED_WORKFLOW}/{{{{ $execution.id }}}}/{{{{ $nodeId || 'none' }}}}/v1")
}

/// The Organization ID that tags HTTP Request nodes as well (n8n 1.x), an expression.
#[must_use]
pub fn organization() -> String {
    format!("n8n-{GUARDED_WORKFLOW}-{{{{ $execution.id }}}}")
}

const GUARDED_WORKFLOW: &str = "{{ $execution.id == '__UNKNOWN__' ? 'editor' : $workflow.id }}";

/// What the first lines say.
pub struct Welcome<'a> {
    /// How clients speak: http or https.
    pub scheme: &'a str,
    /// Where clients connect to.
    pub listen: SocketAddr,
    /// Where the admin listener is.
    pub admin: Option<SocketAddr>,
    /// Which listeners were not opened by keyward itself.
    pub sockets: Option<&'a str>,
    pub upstream: &'a str,
    /// Through which proxy they go there.
    pub via: Option<&'a str>,
    /// What is done about verdicts.
    pub policy: &'a str,
    /// A line for each set: what it is checked by.
    pub sets: &'a [String],
    /// The names of the n8n that are configured.
    pub n8n: &'a [&'a str],
    pub state: &'a str,
    /// Where the ledger is kept.
    pub store: &'a str,
}

impl Welcome<'_> {
    /// How a client on the same machine addresses the listener.
    #[must_use]
    pub fn origin(&self) -> String {
        origin(self.scheme, self.listen)
    }

    /// The tag of each n8n: where there are several, it names which one sends.
    #[must_use]
    pub fn tags(&self) -> Vec<String> {
        match self.n8n {
            [] | [_] => vec![TAG.to_owned()],
            several => several.iter().map(|name| format!("{TAG};inst={name}")).collect(),
        }
    }

    /// The first lines, for people.
    #[must_use]
    pub fn text(&self) -> String {
        let origin = self.origin();
        let mut text = String::new();
        let _ = writeln!(text, "keyward {} listens on {origin} for {}", env!("CARGO_PKG_VERSION"), self.upstream);
        if let Some(via) = self.via {
            let _ = writeln!(text, "  upstream  is reached {via}");
        }
        let _ = writeln!(text, "  policy    {}", self.policy);
        for set in self.sets {
            let _ = writeln!(text, "  keys      {set}");
        }
        if let Some(admin) = self.admin {
            let _ = writeln!(text, "  admin     http://{admin}/ (keyward open), /metrics, /healthz, /readyz");
        }
        if let Some(sockets) = self.sockets {
            let _ = writeln!(text, "  sockets   {sockets}");
        }
        let _ = writeln!(text, "  state     {}", self.state);
        let _ = writeln!(text, "  store     {}", self.store);
        let _ = writeln!(text, "\nIn n8n's OpenAI credential (switch fields with {{{{ }}}} to Expression):");
        let _ = writeln!(text, "  n8n 2.x   Base URL           {}", base_url(&origin));
        for tag in self.tags() {
            let _ = writeln!(text, "            Add Custom Header  {TAG_HEADER}: {tag}");
        }
        let _ = writeln!(text, "  n8n 1.x   Base URL           {}", tagging_base_url(&origin));
        let _ = writeln!(text, "            Organization ID    {}", organization());
        self.write_docker(&mut text);
        text.push('\n');
        text
    }

    /// A certificate names neither of the two hosts, and inside a container `127.0.0.1` is the container itself.
    fn write_docker(&self, text: &mut String) {
        if self.scheme != "http" {
            return;
        }
        let port = self.listen.port();
        let [on_host, in_network] = docker_base_urls(port);
        let _ = writeln!(text, "  in Docker Base URL           {on_host}");
        let linux = if self.listen.ip().is_loopback() {
            format!("; on Linux, with --listen {BRIDGE}:{port}")
        } else {
            String::new()
        };
        let _ = writeln!(text, "            (keyward on the host{linux})");
        let _ = writeln!(text, "            in one network     {in_network}");
    }

    fn docker_in_html(&self) -> String {
        if self.scheme != "http" {
            return String::new();
        }
        let [on_host, in_network] = docker_base_urls(self.listen.port());
        let linux = if self.listen.ip().is_loopback() {
            format!(" On Linux, start keyward with <b>--listen {BRIDGE}:{}</b>.", self.listen.port())
        } else {
            String::new()
        };
        format!(
            "<h2>n8n in Docker</h2>\n<dl>\n  <dt>keyward on the host</dt><dd><code>{on_host}</code>{linux}</dd>\n  \
             <dt>one Compose network</dt><dd><code>{in_network}</code></dd>\n</dl>"
        )
    }

    /// The page under `/`. It shows no key, not by hint either: anybody may look at it.
    #[must_use]
    pub fn page(&self) -> String {
        let origin = self.origin();
        let marked =
            |text: &str| escape(text).replace(&escape(&origin), &format!("<b class=origin>{}</b>", escape(&origin)));
        PAGE.replace("[version]", env!("CARGO_PKG_VERSION"))
            .replace("[upstream]", &escape(self.upstream))
            .replace("[policy]", self.policy)
            .replace("[base-url]", &marked(&base_url(&origin)))
            .replace("[tags]", &tags_in_html(&self.tags()))
            .replace("[docker]", &self.docker_in_html())
            .replace("[tagging-base-url]", &marked(&tagging_base_url(&origin)))
            .replace("[organization]", &escape(&organization()))
    }
}

fn tags_in_html(tags: &[String]) -> String {
    tags.iter().map(|tag| format!("<code>{}</code>", escape(tag))).collect::<Vec<_>>().join(" ")
}

/// How a client on the same machine addresses a listener.
#[must_use]
pub fn origin(scheme: &str, listen: SocketAddr) -> String {
    let host = match listen {
        SocketAddr::V4(address) if address.ip().is_unspecified() => "<this machine>".to_owned(),
        SocketAddr::V6(address) if address.ip().is_unspecified() => "<this machine>".to_owned(),
        SocketAddr::V4(address) => address.ip().to_string(),
        SocketAddr::V6(address) => format!("[{}]", address.ip()),
    };
    format!("{scheme}://{host}:{}", listen.port())
}

/// A text as it stands in HTML.
#[must_use]
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// The browser knows by which address it came, and n8n on another machine needs that one.
const PAGE: &str = include_str!("welcome/page.html");

#[cfg(test)]
mod tests {
    use super::*;

    fn welcome(sets: &[String]) -> Welcome<'_> {
        let listen = SocketAddr::from(([127, 0, 0, 1], 8080));
        let admin = Some(SocketAddr::from(([127, 0, 0, 1], 8081)));
        Welcome {
            scheme: "http",
            listen,
            admin,
            sockets: None,
            upstream: "https://api.openai.com",
            via: None,
            policy: "observe",
            sets,
            n8n: &[],
            state: "/state",
            store: "/state/keyward.db",
        }
    }

    #[test]
    fn the_first_lines() {
        let sets = ["default: current key sk-proj-…AbCd (12345678)".to_owned()];
        insta::assert_snapshot!(welcome(&sets).text().replace(env!("CARGO_PKG_VERSION"), "[version]"), @r"
        keyward [version] listens on http://127.0.0.1:8080 for https://api.openai.com
          policy    observe
          keys      default: current key sk-proj-…AbCd (12345678)
          admin     http://127.0.0.1:8081/ (keyward open), /metrics, /healthz, /readyz
          state     /state
          store     /state/keyward.db

        In n8n's OpenAI credential (switch fields with {{ }} to Expression):
          n8n 2.x   Base URL           http://127.0.0.1:8080/v1
                    Add Custom Header  X-N8N-Tag: wf={{ $execution.id == '__UNKNOWN__' ? 'editor' : $workflow.id }};ex={{ $execution.id }};node={{ $nodeId }}
          n8n 1.x   Base URL           http://127.0.0.1:8080/n8n/{{ $execution.id == '__UNKNOWN__' ? 'editor' : $workflow.id }}/{{ $execution.id }}/{{ $nodeId || 'none' }}/v1
                    Organization ID    n8n-{{ $execution.id == '__UNKNOWN__' ? 'editor' : $workflow.id }}-{{ $execution.id }}
          in Docker Base URL           http://host.docker.internal:8080/v1
                    (keyward on the host; on Linux, with --listen 172.17.0.1:8080)
                    in one network     http://keyward:8080/v1
        ");
    }

    #[test]
    fn where_there_are_several_n8n_the_tag_of_each_names_it() {
        let several = Welcome { n8n: &["main", "staging"], ..welcome(&[]) };
        for name in ["main", "staging"] {
            let tag = format!("{TAG};inst={name}");
            assert!(several.text().contains(&format!("  X-N8N-Tag: {tag}\n")), "{}", several.text());
            assert!(several.page().contains(&format!("<code>{}</code>", escape(&tag))), "{}", several.page());
        }
        let one = Welcome { n8n: &["main"], ..welcome(&[]) };
        assert!(!one.text().contains("inst=") && !one.page().contains("inst="));
    }

    #[test]
    fn an_n8n_in_docker_is_told_where_it_reaches_keyward() {
        let local = welcome(&[]);
        let open = Welcome { listen: SocketAddr::from(([0, 0, 0, 0], 9090)), ..welcome(&[]) };
        for (told, port) in [(local.text(), 8080), (local.page(), 8080), (open.text(), 9090), (open.page(), 9090)] {
            for host in ["host.docker.internal", "keyward"] {
                assert!(told.contains(&format!("http://{host}:{port}/v1")), "{told}");
            }
            assert_eq!(told.contains("--listen 172.17.0.1:8080"), port == 8080, "{told}");
        }
        let tls = Welcome { scheme: "https", ..welcome(&[]) };
        assert!(!tls.text().contains("docker.internal") && !tls.page().contains("docker.internal"));
    }

    #[test]
    fn the_proxy_of_the_machine_is_named() {
        let via = Some("through the proxy http://proxy:3128 (HTTPS_PROXY)");
        let text = Welcome { via, ..welcome(&[]) }.text();
        assert!(
            text.contains("\n  upstream  is reached through the proxy http://proxy:3128 (HTTPS_PROXY)\n"),
            "{text}"
        );
    }

    #[test]
    fn the_page_says_the_same_and_names_no_key() {
        let sets = ["default: current key sk-proj-…AbCd (12345678)".to_owned()];
        let page = welcome(&sets).page();
        assert!(page.contains("<b class=origin>http://127.0.0.1:8080</b>/v1"));
        assert!(page.contains(TAG) && page.contains(&organization()));
        assert!(TAG.contains(GUARDED_WORKFLOW));
        assert!(!page.contains("AbCd") && !page.contains("12345678"));
        let blanks = ["[base-url]", "[version]", "[tags]", "[docker]"];
        assert!(!blanks.iter().any(|blank| page.contains(blank)), "every blank is filled in");
    }

    #[test]
    fn where_clients_speak_tls_every_url_says_so() {
        let tls = Welcome { scheme: "https", ..welcome(&[]) };
        for said in [tls.text(), tls.page()] {
            assert!(said.contains("https://127.0.0.1:8080") && !said.contains("http://127.0.0.1:8080"), "{said}");
        }
    }

    #[test]
    fn origins() {
        #[track_caller]
        fn check(scheme: &str, listen: &str, expected: &str) {
            assert_eq!(origin(scheme, listen.parse().expect("an address")), expected);
        }
        check("http", "127.0.0.1:8080", "http://127.0.0.1:8080");
        check("https", "127.0.0.1:8443", "https://127.0.0.1:8443");
        check("http", "[::1]:80", "http://[::1]:80");
        check("http", "0.0.0.0:8080", "http://<this machine>:8080");
        check("http", "[::]:8080", "http://<this machine>:8080");
    }
}
