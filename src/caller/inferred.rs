//! Pure. The client family, told from the headers that each client sends.
//!
//! | family | `User-Agent`: n8n 1.x | n8n 2.x | `Accept` |
//! |---|---|---|---|
//! | legacy | `n8n` | `n8n` | `application/json, text/plain, */*` |
//! | vendor | `axios/1.8.3` | `n8n` | `application/json`, for speech `*/*` |
//! | http-request | `axios/1.8.3` | `n8n` | `application/json,text/html,…` |
//! | sdk | `OpenAI/JS 4.104.0` | `langchainjs-openai/1.0.0 (…)` | any; `X-Stainless-Lang` is there |
//! | agent | | `ai-sdk-openai/4.0.118 ai-sdk-provider-utils/…`, `ai/7.0.173 ai-sdk-provider-utils/…` | any |
//!
//! Versions float with each n8n, so none is matched. Two calls cannot be told from their neighbours by these headers:
//! the vendor node's "message an assistant" calls the SDK and is `sdk`, as is the model list of the chat model in 1.x
//! (in 2.x that list comes from a bare `undici`, which is `other`). A program of one's own with the same headers is
//! taken for the node. The credential's test button is `legacy`.

use super::{Client, Family};
use crate::head::Fields;

impl<'r> Client<'r> {
    /// Tells the client from the headers it sent.
    #[must_use]
    pub fn infer(fields: &Fields<'r>) -> Self {
        let agent = fields.user_agent.text().unwrap_or_default();
        let family = if fields.stainless_lang.is_present() || is_sdk(agent) {
            Family::Sdk
        } else if is_ai_sdk(agent) {
            Family::Agent
        } else {
            family_of_node(agent, fields.accept.text().unwrap_or_default())
        };
        let version = match family {
            Family::Sdk => {
                let own = fields.stainless_version.text().filter(|text| is_version(text.as_bytes()));
                own.or_else(|| version_of(agent, &["OpenAI/", "AsyncOpenAI/", "langchainjs-openai/"]))
            }
            Family::Agent => version_of(agent, &["ai/", "ai-sdk-"]),
            Family::Legacy | Family::Vendor | Family::HttpRequest | Family::Other => version_in(agent),
        };
        Self { family, version }
    }
}

fn is_sdk(agent: &str) -> bool {
    agent.starts_with("OpenAI/") || agent.starts_with("langchainjs-openai/")
}

/// Beside its providers' packages (`ai-sdk-openai/…`) its own core speaks as `ai/…`, with the package of theirs behind it.
fn is_ai_sdk(agent: &str) -> bool {
    agent.starts_with("ai-sdk-") || (agent.starts_with("ai/") && agent.contains(" ai-sdk-"))
}

/// n8n's own requests go out by axios, and from 2.x on by the name of n8n: it is the `Accept` that tells its nodes apart.
fn family_of_node(agent: &str, accept: &str) -> Family {
    let is_n8n = agent == "n8n";
    if !is_n8n && !agent.starts_with("axios/") {
        return Family::Other;
    }
    match accept {
        "application/json" | "*/*" => Family::Vendor,
        // It is axios' default, so that without n8n's name it may be any program.
        "application/json, text/plain, */*" if is_n8n => Family::Legacy,
        _ if accept.starts_with(HTTP_REQUEST_ACCEPT) => Family::HttpRequest,
        _ => Family::Other,
    }
}

/// The version of a product that begins like one of these, the first of them that is there: a client may name itself, and
/// what it is made of, beside the family's own product (RFC 9110, 10.1.5).
fn version_of<'a>(agent: &'a str, products: &[&str]) -> Option<&'a str> {
    let product = products.iter().find_map(|product| {
        let starts = std::iter::once(0).chain(memchr::memchr_iter(b' ', agent.as_bytes()).map(|space| space + 1));
        starts.map(|at| &agent[at..]).find(|rest| rest.starts_with(product))
    })?;
    // `OpenAI/JS 4.104.0` has its version behind its language.
    product.split(['/', ' ']).skip(1).take(2).find(|part| is_version(part.as_bytes()))
}

/// The first part of a product name that looks like a version: `axios/1.8.3`, `OpenAI/JS 4.104.0`.
fn version_in(agent: &str) -> Option<&str> {
    // As bytes, which are parted in a third of the time that letters take.
    let mut parts = agent.as_bytes().split(|byte| matches!(byte, b'/' | b' ')).skip(1);
    parts.find(|part| is_version(part)).and_then(|part| str::from_utf8(part).ok())
}

fn is_version(text: &[u8]) -> bool {
    text.len() <= LONGEST_VERSION
        && text.first().is_some_and(u8::is_ascii_digit)
        && text.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'+' | b'_'))
}

/// How the one value that was recorded begins; what follows is a list of preferences, which other versions may change.
const HTTP_REQUEST_ACCEPT: &str = "application/json,text/html,";

const LONGEST_VERSION: usize = 64;
