use super::*;

/// What `src` and `href` of a document, and `import` of a script, name below our folder.
fn named(text: &str) -> Vec<String> {
    let prefix = format!("{FOLDER}{}/", version());
    text.split(['"', '\'']).filter_map(|word| word.strip_prefix(&prefix)).map(str::to_owned).collect()
}

#[test]
fn everything_that_the_documents_name_is_there() {
    for document in [terminal().to_owned(), crate::session::web::plain::start("token", &["1d"], None)] {
        let names = named(&document);
        assert!(names.iter().any(|name| name == "page.css"), "{names:?}");
        assert!(names.iter().any(|name| name == "icon.svg"), "{names:?}");
        for name in names {
            assert!(file(&format!("{}/{name}", version())).is_some(), "{name}");
        }
        assert!(!document.contains("{{"), "a place was left open");
    }
}

#[test]
fn everything_that_a_script_imports_is_there() {
    let mut imports = 0;
    for script in FILES.iter().filter(|file| file.content_type == SCRIPT && !file.path.starts_with("vendor/")) {
        let text = std::str::from_utf8(script.body).unwrap();
        for line in text.lines().filter(|line| line.starts_with("import ")) {
            let name = line.split('\'').nth(1).unwrap().strip_prefix("./").unwrap();
            assert!(FILES.iter().any(|file| file.path == name), "{}: {name}", script.path);
            imports += 1;
        }
    }
    assert!(imports >= 4, "{imports}");
}

#[test]
fn the_documents_have_no_script_and_no_style_of_their_own() {
    for document in [terminal().to_owned(), crate::session::web::plain::start("token", &["1d"], None)] {
        let lower = document.to_lowercase();
        for forbidden in ["<style", " style=", "javascript:", " onload", " onclick", " onsubmit", "http://", "https://"]
        {
            assert!(!lower.contains(forbidden), "{forbidden}");
        }
        for script in lower.split("<script").skip(1) {
            assert!(
                script.split_once('>').is_some_and(|(tag, rest)| tag.contains("src=") && rest.starts_with("</script>"))
            );
        }
    }
}

#[test]
fn a_file_of_our_version_is_kept_for_ever_and_another_never() {
    let ours = file(&format!("{}/page.js", version())).unwrap();
    assert_eq!(ours.cache, FOR_EVER);
    assert_eq!(ours.file.content_type, SCRIPT);
    let others = file("0123456789abcdef/page.js").unwrap();
    assert_eq!((others.cache, &others.etag), (NEVER, &ours.etag));
}

#[test]
fn tags_are_strong_and_differ() {
    let tags: Vec<_> = FILES.iter().map(|known| file(&format!("x/{}", known.path)).unwrap().etag).collect();
    for (index, tag) in tags.iter().enumerate() {
        assert!(tag.len() == 66 && tag.starts_with('"') && tag.ends_with('"'), "{tag}");
        assert!(!tags[..index].contains(tag), "{tag} twice");
    }
}

#[test]
fn nothing_else_is_there() {
    for path in [
        "",
        "page.js",
        "x/",
        "x/index.html",
        "x/plain.html",
        "x/../page.rs",
        "x//page.js",
        "x/y/page.js",
        "x/vendor/README.md",
    ] {
        assert!(file(path).is_none(), "{path}");
    }
}

#[test]
fn what_others_have_written_is_as_they_have_published_it() {
    let table = include_str!("vendor/README.md");
    for known in FILES.iter().filter(|file| file.path.starts_with("vendor/")) {
        let sum = Sha256::digest(known.body).iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"));
        let row = format!("| `{sum}` | {} |", known.path.trim_start_matches("vendor/"));
        assert!(table.contains(&row), "vendor/README.md should have: {row}");
    }
}

#[test]
fn the_policies_let_nothing_in_from_elsewhere() {
    for policy in [TERMINAL_POLICY, PLAIN_POLICY] {
        assert!(policy.starts_with("default-src 'none'; "), "{policy}");
        assert!(policy.contains("frame-ancestors 'none'") && policy.contains("base-uri 'none'"), "{policy}");
        for word in policy.split([' ', ';']).filter(|word| word.contains(['\'', '*', ':'])) {
            assert!(["'none'", "'self'", "'unsafe-inline'"].contains(&word), "{word}");
        }
        assert!(!policy.contains("  ") && !policy.contains("script-src 'self' 'unsafe-inline'"), "{policy}");
    }
    assert!(!PLAIN_POLICY.contains("script-src") && !PLAIN_POLICY.contains("'unsafe-inline'"));
}
