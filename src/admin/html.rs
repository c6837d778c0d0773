//! Pure. The frame of every page that the admin listener shows: plain HTML without a script.

use crate::welcome::escape;

/// A page. The title is a text, what belongs into its head and its body is HTML.
#[must_use]
pub fn page(title: &str, head: &str, body: &str) -> String {
    let title = escape(title);
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n{head}<title>{title}</title>\n\
         <style>{STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n{body}\n</body>\n</html>\n"
    )
}

/// The media type of a page.
pub const HTML: &str = "text/html; charset=utf-8";

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:60rem;padding:0 1rem}\
table{border-collapse:collapse}th,td{text-align:left;padding:.2rem 1rem .2rem 0;border-bottom:1px solid #8884}\
.error,.warning{border-left:.3rem solid;padding-left:1rem}.error{border-color:#c33}.warning{border-color:#c90}\
:root{color-scheme:light dark}";
