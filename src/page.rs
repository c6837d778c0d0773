//! Pure. The page: what the admin listener shows in a browser, as HTML that is whole without a script.
//!
//! Each file draws one page from the answers that the API gives as well. A page is a [`view::View`]: sections, each one
//! element with an id, so that what has changed can be sent alone ([`watcher`]) and put in its place by `page/page.js`.
//!
//! | page | where | file |
//! |---|---|---|
//! | the rotation of each set, above it what is wrong | `/` | [`home`], [`timeline`], [`reasons`] |
//! | every node, searched and a page at a time | `/nodes` | [`nodes`] |
//! | one node | `/nodes/{binding}` | [`node`] |
//! | incidents | `/incidents` | [`incidents`] |
//! | one execution | `/execution` | [`execution`] |
//! | what an audit of n8n says | `/audit` | [`audit`] |
//! | exchanges as they end | `/live` | [`live`] |
//! | keys and tokens, by their public names | `/keys` | [`keys`] |
//!
//! A browser only looks: what changes anything is a command to copy ([`parts::command`]). Names come from n8n and from
//! callers; [`maud`] escapes each. No element has a style or a script of its own, which the policy in
//! [`crate::admin::guard`] forbids.

pub mod assets;
pub mod audit;
pub mod execution;
pub mod home;
pub mod incidents;
pub mod keys;
pub mod layout;
pub mod live;
pub mod node;
pub mod nodes;
pub mod notices;
pub mod parts;
pub mod reasons;
pub mod timeline;
pub mod view;
pub mod watcher;
