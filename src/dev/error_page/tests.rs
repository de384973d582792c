//! What is shown, and what of it is only text.

use crate::dev::inject::policy::Ours;

use super::{Failure, MOST, colour, html, plain, policy};

const FAILURE: Failure<'static> = Failure {
    title: "The server has ended with status 3",
    command: "python ./manage.py runserver 8001",
    output: b"",
    outlook: "It is started again when a file changes.",
};

fn ours() -> Ours {
    Ours::on("h", false, "a-1".into(), "n0nce".into()).unwrap()
}

fn coloured(output: &[u8]) -> (String, String) {
    let (mut text, mut rules) = (String::new(), String::new());
    colour::html(output, &mut text, &mut rules);
    (text, rules)
}

#[test]
fn nothing_that_a_program_writes_is_markup() {
    let hostile = "</pre><script>alert(1)</script><a href=\"x\" onclick='y'>&amp;\0\u{1b}]8;;http://x\u{1b}\\z";
    let page =
        html(&Failure { title: hostile, command: hostile, outlook: hostile, output: hostile.as_bytes() }, &ours());
    assert_eq!(page.matches("<script").count(), 1, "{page}");
    assert_eq!(page.matches("</pre>").count(), 1);
    assert!(!page.contains("<a ") && !page.contains('\0') && !page.contains('\u{1b}'));
    assert!(page.contains(
        "&lt;/pre&gt;&lt;script&gt;alert(1)&lt;/script&gt;&lt;a href=&quot;x&quot; onclick=&#39;y&#39;&gt;&amp;amp;"
    ));
}

#[test]
fn the_policy_allows_what_the_page_has_and_nothing_else() {
    let page = html(&Failure { output: b"\x1b[31mred\x1b[0m", ..FAILURE }, &ours());
    assert!(page.contains("<style nonce=\"n0nce\">") && page.contains(&ours().tag()));
    assert!(!page.contains("style=") && !page.contains(" on"), "inline style or code would be refused");
    let policy = policy(&ours());
    assert!(policy.starts_with("default-src 'none';") && !policy.contains("unsafe") && !policy.contains('*'));
}

#[test]
fn colours_and_weights_are_kept() {
    let cases: [(&[u8], &str, &str); 9] = [
        (b"\x1b[31mred\x1b[0m.", "<span class=\"f1\">red</span>.", ".f1{color:var(--c1)}"),
        (
            b"\x1b[1;92;44mx\x1b[22my\x1b[m",
            "<span class=\"f10 g4 b\">x</span><span class=\"f10 g4\">y</span>",
            ".f10{color:var(--c10)}.g4{background:var(--c4)}",
        ),
        (b"\x1b[38;5;196mx", "<span class=\"fxff0000\">x</span>", ".fxff0000{color:#ff0000}"),
        (b"\x1b[38;5;9mx", "<span class=\"f9\">x</span>", ".f9{color:var(--c9)}"),
        (b"\x1b[48;2;1;2;255mx", "<span class=\"gx0102ff\">x</span>", ".gx0102ff{background:#0102ff}"),
        (b"\x1b[38:2::1:2:3mx", "<span class=\"fx010203\">x</span>", ".fx010203{color:#010203}"),
        (b"\x1b[38:5:255mx", "<span class=\"fxeeeeee\">x</span>", ".fxeeeeee{color:#eeeeee}"),
        (b"\x1b[7mx\x1b[27my", "<span class=\"f15 g0\">x</span>y", ".f15{color:var(--c15)}.g0{background:var(--c0)}"),
        (b"\x1b[2;3;4;9mx\x1b[23;24;29my", "<span class=\"d i u s\">x</span><span class=\"d\">y</span>", ""),
    ];
    for (output, text, rules) in cases {
        assert_eq!(coloured(output), (text.to_owned(), rules.to_owned()), "{}", output.escape_ascii());
    }
}

#[test]
fn what_is_not_understood_is_left_out() {
    for output in [
        &b"a\x1b[2Jb"[..],
        b"a\x1b[?25lb",
        b"a\x1b]0;title\x07b",
        b"a\x1b[38;5mb",
        b"a\x1b[38;2;1;2mb",
        b"a\x1b[38;5;999mb",
        b"a\x1b(Bb",
        b"a\x07\x08\rb",
    ] {
        assert_eq!(coloured(output).0, "ab", "{}", output.escape_ascii());
        assert_eq!(colour::plain(output), "ab", "{}", output.escape_ascii());
    }
    assert_eq!(coloured(b"\xff\xc3").0, "\u{fffd}\u{fffd}");
    assert_eq!(coloured("gr\u{fc}n\n\ttab".as_bytes()).0, "gr\u{fc}n\n\ttab");
    assert_eq!(coloured(b"\x1b[31m").0, "", "no span without text");
}

#[test]
fn the_end_of_a_long_output_is_shown_from_the_beginning_of_a_line() {
    let line = format!("{}\n", "x".repeat(99));
    let output = line.repeat(2 * MOST / 100) + "the last line\n";
    let text = plain(&Failure { output: output.as_bytes(), ..FAILURE });
    assert!(text.len() < MOST + 300 && text.contains("\nthe last line\n"));
    assert!(text.lines().filter(|line| line.starts_with('x')).all(|line| line.len() == 99));

    let endless = vec![b'x'; 3 * MOST];
    let text = plain(&Failure { output: &endless, ..FAILURE });
    assert_eq!(text.matches('x').count(), MOST);
}

#[test]
fn what_has_no_command_says_nothing_of_one() {
    let failure = Failure { command: "", ..FAILURE };
    assert!(!html(&failure, &ours()).contains("class=\"command\""));
    assert_eq!(plain(&failure), "The server has ended with status 3\n\nIt is started again when a file changes.\n");
}

#[test]
fn the_plain_form_has_the_same_words() {
    let text = plain(&Failure { output: b"\x1b[31mTraceback\x1b[0m\n  line 2\n", ..FAILURE });
    assert_eq!(
        text,
        "The server has ended with status 3\n\npython ./manage.py runserver 8001\n\nTraceback\n  line 2\n\n\
         It is started again when a file changes.\n"
    );
}
