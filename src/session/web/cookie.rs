//! The cookie by which a page has its session's secret, which its scripts never see. Pure.
//!
//! There is one for each session, so that tabs do not take each other's. It lives as long as the browser: a session
//! that is used does not expire, so its cookie must not either.

/// What a browser takes only over an encrypted connection, for this host alone and all its paths.
const HOST: &str = "__Host-";
const NAME: &str = "session-";
/// What the plain page has before there is a session.
const PLAIN: &str = "plain";
/// A page has no more sessions than so many: the heads of its requests shall not grow without end.
const MOST: usize = 32;

/// The secret's text for this session, of all cookies that a request brings; `secure` as for [`plain`].
pub fn find<'a>(cookies: impl Iterator<Item = &'a str>, id: &str, secure: bool) -> Option<&'a str> {
    only(cookies, secure, |name| name.strip_prefix(NAME) == Some(id))
}

/// Makes a browser keep the secret of a session.
pub fn set(id: &str, secret: &str, secure: bool) -> String {
    format!("{}={secret}{}", name(id, secure), attributes(secure))
}

/// Makes a browser forget the secret of a session.
pub fn forget(id: &str, secure: bool) -> String {
    format!("{}={}; Max-Age=0", name(id, secure), attributes(secure))
}

/// The sessions whose cookies have to go before another one is set: the oldest, which come first (RFC 6265, 5.4).
pub fn surplus<'a>(cookies: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let all = sessions(cookies);
    let many = (all.len() + 1).saturating_sub(MOST);
    all.into_iter().take(many).collect()
}

/// The sessions that there are cookies of, whichever way those were set.
pub fn sessions<'a>(cookies: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let session = |(name, _): (&'a str, &'a str)| name.strip_prefix(HOST).unwrap_or(name).strip_prefix(NAME);
    cookies.flat_map(pairs).filter_map(session).collect()
}

/// What the plain page has before there is a session. `secure`: the browser is known to have come by TLS, and then only what
/// it got by TLS counts, since a cookie of the other name can be given to it by a neighbour: another port, or another name of
/// the same site. Where there are two of one name nobody can tell which is ours, so none is.
pub fn plain<'a>(cookies: impl Iterator<Item = &'a str>, secure: bool) -> Option<&'a str> {
    only(cookies, secure, |name| name == PLAIN)
}

/// The value of the one cookie of such a name, of those that only we can have set, or else of the others.
fn only<'a>(cookies: impl Iterator<Item = &'a str>, secure: bool, is_it: impl Fn(&str) -> bool) -> Option<&'a str> {
    let (mut ours, mut anyones) = (Vec::new(), Vec::new());
    for (name, value) in cookies.flat_map(pairs) {
        match name.strip_prefix(HOST) {
            Some(name) if is_it(name) => ours.push(value),
            None if is_it(name) && !secure => anyones.push(value),
            Some(_) | None => {}
        }
    }
    let all = if ours.is_empty() { anyones } else { ours };
    if let [value] = all[..] { Some(value) } else { None }
}

/// Gives the plain page that.
pub fn set_plain(value: &str, secure: bool) -> String {
    format!("{}{PLAIN}={value}{}", if secure { HOST } else { "" }, attributes(secure))
}

fn name(id: &str, secure: bool) -> String {
    format!("{}{NAME}{id}", if secure { HOST } else { "" })
}

fn attributes(secure: bool) -> &'static str {
    if secure { "; Path=/; HttpOnly; SameSite=Strict; Secure" } else { "; Path=/; HttpOnly; SameSite=Strict" }
}

fn pairs(header: &str) -> impl Iterator<Item = (&str, &str)> {
    header.split(';').filter_map(|pair| pair.trim().split_once('='))
}

#[cfg(test)]
mod tests {
    use super::{MOST, find, forget, plain, sessions, set, set_plain, surplus};

    #[test]
    fn each_session_has_its_own() {
        let header = "a=b; session-01=sks_one;session-02=sks_two ; session-3=x";
        assert_eq!(find([header].into_iter(), "01", false), Some("sks_one"));
        assert_eq!(find(["x=y", header].into_iter(), "02", false), Some("sks_two"));
        for id in ["03", "", "0"] {
            assert_eq!(find([header].into_iter(), id, false), None, "{id}");
        }
        assert_eq!(find(["session-; =; session-01"].into_iter(), "01", false), None);
    }

    #[test]
    fn only_what_nobody_else_can_have_set_counts() {
        for (header, clear, secure) in [
            ("a=1; {}=x", Some("x"), None),
            ("a=1; __Host-{}=y", Some("y"), Some("y")),
            ("{}=tossed; __Host-{}=y", Some("y"), Some("y")),
            ("{}=x; {}=tossed", None, None),
            ("__Host-{}=y; __Host-{}=z; {}=x", None, None),
            ("a=1; {}er=y; __Host-={}", None, None),
        ] {
            let (page, session) = (header.replace("{}", "plain"), header.replace("{}", "session-01"));
            for (secure, value) in [(false, clear), (true, secure)] {
                assert_eq!(plain([page.as_str()].into_iter(), secure), value, "{page}, {secure}");
                assert_eq!(find([session.as_str()].into_iter(), "01", secure), value, "{session}, {secure}");
            }
        }
        assert_eq!(plain(["plain=x", "plain=y"].into_iter(), false), None, "in two headers");
    }

    #[test]
    fn no_script_and_no_other_site_gets_it() {
        assert_eq!(set("01", "sks_x", true), "__Host-session-01=sks_x; Path=/; HttpOnly; SameSite=Strict; Secure");
        assert_eq!(set("01", "sks_x", false), "session-01=sks_x; Path=/; HttpOnly; SameSite=Strict");
        assert_eq!(forget("01", false), "session-01=; Path=/; HttpOnly; SameSite=Strict; Max-Age=0");
    }

    #[test]
    fn the_plain_page_has_one_of_its_own() {
        assert_eq!(set_plain("x", false), "plain=x; Path=/; HttpOnly; SameSite=Strict");
        assert_eq!(sessions(["session-1=a; x=y", "__Host-session-2=b"].into_iter()), ["1", "2"]);
    }

    #[test]
    fn the_oldest_make_room() {
        let header = |count: usize| (0..count).map(|n| format!("session-{n}=s")).collect::<Vec<_>>().join("; ");
        assert!(surplus([header(MOST - 1).as_str()].into_iter()).is_empty());
        assert_eq!(surplus([header(MOST).as_str()].into_iter()), ["0"]);
        assert_eq!(surplus([header(MOST + 1).as_str(), "other=1"].into_iter()), ["0", "1"]);
    }
}
