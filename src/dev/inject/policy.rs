//! A page's Content-Security-Policy (CSP level 3), so that it allows our script and its connection, and nothing else that
//! it did not.

/// Our script, on the page's own host.
pub const SCRIPT: &str = "/__socket_protector/reload.js";
/// Where it connects to.
pub const CHANNEL: &str = "/__socket_protector/reload";

/// What a policy must allow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ours {
    /// The script, as a URL with scheme and host. No character of any of these means anything in HTML or in a policy.
    pub script: String,
    /// Where the script connects to, as such a URL.
    pub channel: String,
    /// What the page shows: the script loads it again when it finds another one here.
    pub build: String,
    /// A nonce of this page alone, for policies that believe no host.
    pub nonce: String,
}

impl Ours {
    /// On the host that the page was asked from. None: it is no host that a browser could have named.
    ///
    /// `secure`: by TLS. Where something in front of us has taken that off, a browser lets the plain schemes stand for it.
    pub fn on(host: &str, secure: bool, build: String, nonce: String) -> Option<Ours> {
        let fine = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte);
        let (page, socket) = if secure { ("https", "wss") } else { ("http", "ws") };
        (!host.is_empty() && host.bytes().all(fine)).then(|| Ours {
            script: format!("{page}://{host}{SCRIPT}"),
            channel: format!("{socket}://{host}{CHANNEL}"),
            build,
            nonce,
        })
    }

    /// The element that loads the script: by its path, which leads to the page's host under any scheme. It stands before
    /// any `base`.
    pub fn tag(&self) -> String {
        let Ours { build, nonce, .. } = self;
        format!("<script src=\"{SCRIPT}\" data-build=\"{build}\" nonce=\"{nonce}\" async></script>")
    }
}

/// The value of a header, or of a `meta` element, that allows ours as well. None: it forbids all scripts, by `sandbox`.
///
/// A header may have several policies, with commas between them, and each must allow it. Where scripts are allowed by host,
/// ours is added as one URL: a nonce would make browsers ignore `'unsafe-inline'`, on which the page may rely. With
/// `'strict-dynamic'` hosts count for nothing, and neither does `'unsafe-inline'`, so the nonce is added.
pub fn allow(header: &str, ours: &Ours) -> Option<String> {
    let policies: Option<Vec<_>> = header.split(',').map(|policy| allow_in_one(policy, ours)).collect();
    Some(policies?.join(", "))
}

fn allow_in_one(policy: &str, ours: &Ours) -> Option<String> {
    let mut directives: Vec<Vec<String>> = Vec::new();
    for directive in policy.split(';') {
        let words: Vec<String> = directive.split_ascii_whitespace().map(str::to_owned).collect();
        // Of two of one name the first counts.
        let known = |words: &Vec<String>| directives.iter().any(|other| other[0].eq_ignore_ascii_case(&words[0]));
        if !words.is_empty() && !known(&words) {
            directives.push(words);
        }
    }
    let sandbox = directives.iter().find(|words| words[0].eq_ignore_ascii_case("sandbox"));
    if sandbox.is_some_and(|words| !words.iter().any(|word| word.eq_ignore_ascii_case("allow-scripts"))) {
        return None;
    }
    for name in ["script-src-elem", "script-src"] {
        let is_there = directives.iter().any(|words| words[0].eq_ignore_ascii_case(name));
        if is_there || name == "script-src" {
            add(&mut directives, name, |sources| {
                let by_nonce = sources.iter().any(|source| source.eq_ignore_ascii_case("'strict-dynamic'"));
                if by_nonce { format!("'nonce-{}'", ours.nonce) } else { ours.script.clone() }
            });
            break;
        }
    }
    add(&mut directives, "connect-src", |_| ours.channel.clone());
    Some(directives.iter().map(|words| words.join(" ")).collect::<Vec<_>>().join("; "))
}

/// Adds a source to a directive. Where there is none, `default-src` holds in its place, and is what it begins with; without
/// that, everything is allowed already.
fn add(directives: &mut Vec<Vec<String>>, name: &str, source: impl Fn(&[String]) -> String) {
    let at = |directives: &[Vec<String>], name: &str| {
        directives.iter().position(|words| words[0].eq_ignore_ascii_case(name))
    };
    let index = match (at(directives, name), at(directives, "default-src")) {
        (Some(index), _) => index,
        (None, Some(default)) => {
            let mut words = directives[default].clone();
            words[0] = name.to_owned();
            directives.push(words);
            directives.len() - 1
        }
        (None, None) => return,
    };
    let words = &mut directives[index];
    let added = source(&words[1..]);
    words.retain(|word| !word.eq_ignore_ascii_case("'none'"));
    words.push(added);
}
