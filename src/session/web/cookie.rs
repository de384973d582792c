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

/// The secret's text for this session, of all cookies that a request brings.
pub fn find<'a>(cookies: impl Iterator<Item = &'a str>, id: &str) -> Option<&'a str> {
    let mut plain = None;
    for (name, value) in cookies.flat_map(pairs) {
        if name.strip_prefix(HOST).and_then(|name| name.strip_prefix(NAME)) == Some(id) {
            return Some(value);
        }
        if name.strip_prefix(NAME) == Some(id) {
            plain = plain.or(Some(value));
        }
    }
    plain
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

/// The sessions that there are cookies of.
pub fn sessions<'a>(cookies: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let session = |(name, _): (&'a str, &'a str)| name.strip_prefix(HOST).unwrap_or(name).strip_prefix(NAME);
    cookies.flat_map(pairs).filter_map(session).collect()
}

/// What the plain page has before there is a session.
pub fn plain<'a>(cookies: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let mut all = cookies.flat_map(pairs);
    all.find(|(name, _)| name.strip_prefix(HOST).unwrap_or(name) == PLAIN).map(|(_, value)| value)
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
        let header = "a=b; session-01=sks_one;session-02=sks_two ; session-01=sks_late";
        assert_eq!(find([header].into_iter(), "01"), Some("sks_one"));
        assert_eq!(find(["x=y", header].into_iter(), "02"), Some("sks_two"));
        for id in ["03", "", "0"] {
            assert_eq!(find([header].into_iter(), id), None, "{id}");
        }
        assert_eq!(find(["session-; =; session-01"].into_iter(), "01"), None);
    }

    #[test]
    fn one_that_only_we_can_have_set_goes_before_one_that_others_can() {
        let header = "session-01=sks_tossed; __Host-session-01=sks_ours";
        assert_eq!(find([header].into_iter(), "01"), Some("sks_ours"));
    }

    #[test]
    fn no_script_and_no_other_site_gets_it() {
        assert_eq!(set("01", "sks_x", true), "__Host-session-01=sks_x; Path=/; HttpOnly; SameSite=Strict; Secure");
        assert_eq!(set("01", "sks_x", false), "session-01=sks_x; Path=/; HttpOnly; SameSite=Strict");
        assert_eq!(forget("01", false), "session-01=; Path=/; HttpOnly; SameSite=Strict; Max-Age=0");
    }

    #[test]
    fn the_plain_page_has_one_of_its_own() {
        assert_eq!(plain(["a=1; plain=x"].into_iter()), Some("x"));
        assert_eq!(plain(["a=1; __Host-plain=y"].into_iter()), Some("y"));
        assert_eq!(plain(["a=1; plainer=y"].into_iter()), None);
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
