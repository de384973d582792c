use super::text::{Keep, Shown};
use super::*;

fn view(output: &[u8]) -> View<'_> {
    View {
        id: "1d1d",
        output,
        base: 0,
        more: 0,
        first: 0,
        input_next: 7,
        echo: None,
        destination: Destination::Open,
        query: Query::default(),
        notice: None,
        line: "",
    }
}

fn shown(output: &[u8]) -> String {
    text::shown(output, Keep::Last).text
}

fn shows_password_field(view: &View<'_>) -> bool {
    let page = session(view, "t");
    assert_eq!(page.matches("<input type=\"text\"").count() + page.matches("<input type=\"password\"").count(), 1);
    page.contains("<input type=\"password\"")
}

#[test]
fn output_is_text_whatever_it_says() {
    let hostile = b"</pre><script>alert(1)</script>\"'&{{token}}\x1b]0;title\x07";
    let page = session(&view(hostile), "f00d");
    assert!(
        page.contains("&lt;/pre&gt;&lt;script&gt;alert(1)&lt;/script&gt;&quot;&#39;&amp;{{token}}</pre>"),
        "{page}"
    );
    assert!(!page.contains("<script"), "{page}");
    assert_eq!(page.matches("f00d").count(), 1, "{page}");
}

#[test]
fn the_form_has_the_token_and_where_its_line_belongs() {
    let page = session(&view(b""), "f00d");
    assert!(page.contains("name=\"token\" value=\"f00d\""), "{page}");
    assert!(page.contains("name=\"offset\" value=\"7\""), "{page}");
    assert!(start("f00d", &[], None).contains("name=\"token\" value=\"f00d\""));
}

#[test]
fn the_sessions_of_a_browser_are_found_again() {
    assert!(!start("t", &[], None).contains("<li>"));
    let id = "1d".repeat(16);
    let page = start("t", &[&id, "<"], None);
    assert!(page.contains(&format!("<a href=\"/plain/{id}#end\">Go on with session 1d1d1d1d</a>")), "{page}");
    assert!(page.contains("session &lt;</a>"), "{page}");
}

#[test]
fn a_notice_is_told_as_text() {
    for page in [start("t", &[], Some("a <b>")), session(&View { notice: Some("a <b>"), ..view(b"") }, "t")] {
        assert!(page.contains("role=\"alert\">a &lt;b&gt;</p>"), "{page}");
    }
}

#[test]
fn what_is_left_of_a_line_is_in_the_field_unless_it_is_hidden() {
    let left = View { line: "a \"b\" <c>", ..view(b"") };
    assert!(session(&left, "t").contains("name=\"line\" value=\"a &quot;b&quot; &lt;c&gt;\""));
    let hidden = View { query: Query { hidden: Some(true), ..Query::default() }, ..left };
    assert!(session(&hidden, "t").contains("name=\"line\" value=\"\""));
    for (sent, left) in [(0, "größe"), (1, "röße"), (2, "öße"), (3, "ße"), (4, "ße"), (6, "e"), (7, ""), (9, "")]
    {
        assert_eq!(rest("größe", sent), left, "{sent}");
    }
}

#[test]
fn a_line_that_was_not_sent_is_told_once() {
    let told = View { query: Query { conflict: true, refresh: true, ..Query::default() }, ..view(b"") };
    let page = session(&told, "t");
    assert!(page.contains("your line was not sent"), "{page}");
    assert!(!page.contains("told="), "the next page does not tell it: {page}");
    assert!(!session(&view(b""), "t").contains("not sent"));
}

#[test]
fn what_is_typed_is_hidden_where_a_password_is_asked_for() {
    for asked in ["host login: joe\r\nPassword: ", "Enter passphrase for key 'x': ", "PIN?", "Old PASSWORD:\x1b[0m "] {
        assert!(shows_password_field(&view(asked.as_bytes())), "{asked}");
    }
    for other in ["login: ", "$ ", "Password: \r\nLogin incorrect\r\nlogin: ", "opinion: ", "the password is wrong", ""]
    {
        assert!(!shows_password_field(&view(other.as_bytes())), "{other}");
    }
}

#[test]
fn what_is_typed_is_hidden_where_echo_begins_within_the_line() {
    let output = b"Welcome\r\nWho? joe\r\nAnd? ";
    let at = |offset, on| View { echo: Some(Echo { offset, on }), ..view(output) };
    assert!(shows_password_field(&at(25, true)));
    assert!(shows_password_field(&at(19, true)), "where the line begins");
    assert!(!shows_password_field(&at(25, false)), "it echoes no more");
    assert!(!shows_password_field(&at(18, true)), "a line before");
    // A login echoes from the beginning on; so does a shell.
    assert!(!shows_password_field(&View { output: b"login: ", ..at(0, true) }));
    let later = |offset| View { base: 1000, first: 1000, ..at(offset, true) };
    assert!(shows_password_field(&later(1025)));
    assert!(!shows_password_field(&later(1018)));
}

#[test]
fn the_user_decides_what_is_hidden() {
    let with = |hidden| Query { hidden, ..Query::default() };
    assert!(shows_password_field(&View { query: with(Some(true)), ..view(b"$ ") }));
    assert!(!shows_password_field(&View { query: with(Some(false)), ..view(b"Password: ") }));
    let page = session(&View { query: with(Some(true)), ..view(b"") }, "t");
    assert!(page.contains("name=\"typing\" value=\"hidden\""), "kept when the form is posted: {page}");
    assert!(page.contains("href=\"/plain/1d1d?typing=shown&amp;seen=0#end\">Show what I type"), "{page}");
}

#[test]
fn a_page_loads_itself_only_if_asked_to() {
    assert!(!session(&view(b""), "t").contains("http-equiv"));
    let asked = View {
        query: Query { refresh: true, hidden: Some(false), after: Some(9), conflict: true, ..Query::default() },
        ..view(b"")
    };
    let page = session(&asked, "t");
    assert!(
        page.contains(
            "http-equiv=\"refresh\" content=\"5; url=/plain/1d1d?refresh=on&amp;typing=shown&amp;seen=0#end\""
        ),
        "{page}"
    );
    assert!(page.contains("href=\"/plain/1d1d?typing=shown&amp;seen=0#end\">Stop loading by itself"), "{page}");
}

#[test]
fn a_session_that_is_over_takes_nothing() {
    for (destination, phase) in
        [(Destination::Open, "live"), (Destination::Eof, "ended"), (Destination::Refused, "ended")]
    {
        let page = session(&View { destination, ..view(b"bye") }, "t");
        assert!(page.contains(&format!("data-phase=\"{phase}\"")), "{page}");
        assert_eq!(page.matches(" disabled").count(), if phase == "live" { 0 } else { 5 }, "{page}");
    }
}

#[test]
fn where_a_page_leads_says_what_was_seen_and_skips_nothing_unasked() {
    let links = |page: &str| -> Vec<String> {
        page.split("seen=").skip(1).map(|rest| rest.chars().take_while(char::is_ascii_digit).collect()).collect()
    };
    let page = session(&View { base: 5, first: 5, ..view(b"output") }, "t");
    assert!(links(&page).iter().all(|seen| seen == "11") && links(&page).len() == 3, "{page}");
    assert!(page.contains("name=\"seen\" value=\"11\""), "{page}");
    let page = session(&View { base: 5, first: 2, more: 4, ..view(b"output") }, "t");
    assert!(page.contains("3 bytes before this are not shown"), "{page}");
    assert!(page.contains("href=\"/plain/1d1d?seen=2&amp;from=2#output\">Show them"), "{page}");
    assert!(page.contains("4 bytes more have come. <a href=\"/plain/1d1d?seen=2&amp;from=11#output\">Go on"), "{page}");
    assert!(links(&page).iter().all(|seen| seen == "2"), "{page}");
    assert!(page.contains("name=\"seen\" value=\"2\""), "{page}");
    // Only a form of ours does without.
    let leave = page.split("<form").nth(1).unwrap().split("</form>").next().unwrap();
    assert!(leave.contains("method=\"post\" action=\"/plain/1d1d\"") && leave.contains("Leave them out"), "{page}");
    assert!(leave.contains("name=\"token\" value=\"t\"") && leave.contains("name=\"seen\" value=\"11\""), "{page}");
    let form = Form::parse(b"token=t&do=leave-out&seen=11").unwrap();
    assert_eq!((form.action, form.query.seen), (Action::LeaveOut, Some(11)));
    assert!(Form::parse(b"token=t&do=end&seen=2").unwrap().query.seen == Some(2));
}

#[test]
fn what_is_no_longer_kept_is_told() {
    assert!(session(&View { base: 1, first: 1, ..view(b"") }, "t").contains("is not shown"));
    assert!(!session(&view(b""), "t").contains("is not shown"));
}

#[test]
fn text_is_what_a_terminal_shows() {
    let known: [(&[u8], &str); 16] = [
        (b"one\r\ntwo", "one\ntwo"),
        (b"one\ntwo", "one\ntwo"),
        (b"\x1b[1;31mred\x1b[0m", "red"),
        (b"10%\r100%", "100%"),
        (b"abc\rX", "Xbc"),
        (b"abd\x08c", "abc"),
        (b"abc\x08 \x08d", "abd"),
        (b"a\tb", "a       b"),
        (b"junk\r\x1b[Kline", "line"),
        (b"old\r\n\x1b[2J\x1b[Hnew", "old\nnew"),
        (b"\x1b]0;title\x07a\x1b]2;t\x1b\\b\x1bP1$r\x1b\\c", "abc"),
        (b"\x1b(Ba\x1b=b", "ab"),
        (b"\x07\x00a\x7f", "a"),
        ("h\u{e9}\u{202e}x\u{2066}".as_bytes(), "h\u{e9}x"),
        (b"\xffa", "\u{fffd}a"),
        (b"abcdef\x1b[3Dxy\x1b[P", "abcxy"),
    ];
    for (output, expected) in known {
        assert_eq!(shown(output), expected, "{}", output.escape_ascii());
    }
}

#[test]
fn text_is_bounded_and_a_broken_command_ends() {
    let lines = shown(&b"x\n".repeat(5000));
    assert_eq!(lines.lines().count(), 5000, "all of it is shown");
    assert_eq!(shown(&b"y".repeat(100_000)).len(), 100_000 + 100_000 / 4096);
    assert_eq!(shown(&b"\t".repeat(100_000)).len(), 800_000 + 800_000 / 4096);
    let wide = shown(&b"\x1b[4000Cx\n".repeat(10_000));
    assert_eq!(wide.lines().count(), 1024 * 1024 / 4002, "what fits of whole lines");
    assert_eq!(shown(b"\x1b[12"), "");
    assert_eq!(shown(b"\x1b[99999999999999999999Cz").chars().count(), 2);
    assert_eq!(shown(b"\x1b[9999Cz").chars().count(), 4096);
    let endless = [b"\x1b]0;".to_vec(), vec![b'a'; 5000], b"seen".to_vec()].concat();
    assert!(shown(&endless).ends_with("seen"));
}

#[test]
fn a_long_line_goes_on_as_another_one_and_no_command_moves_more_than_one() {
    let letters: String = ('a'..='z').cycle().take(10_000).collect();
    let wrapped = shown(letters.as_bytes());
    assert!(wrapped.lines().all(|line| line.len() <= 4096) && wrapped.replace('\n', "") == letters, "{wrapped}");
    // What a command may move is what is in the last line, however much came before.
    let moved = shown(&[b"\t".repeat(64 * 1024).as_slice(), b"\r", b"\x1b[P".repeat(5000).as_slice()].concat());
    let lines: Vec<_> = moved.split('\n').map(str::len).collect();
    assert!(lines.iter().all(|length| *length <= 4096), "{lines:?}");
    assert_eq!(lines.iter().sum::<usize>(), 8 * 64 * 1024 - 4096, "the others are as they were");
    // A full line that is cleared is none to go left in.
    let cleared = [b"x".repeat(4096).as_slice(), b"\x1b[2K\x1b[Cy"].concat();
    assert_eq!(shown(&cleared), "\ny");
    assert_eq!(shown(b"abc\x1b[2K\x1b[Cy"), "    y");
}

#[test]
fn what_a_program_clears_is_still_to_be_read() {
    for clear in ["\x1b[2J", "\x1b[3J", "\x1bc"] {
        assert_eq!(shown(format!("seen by nobody{clear}new").as_bytes()), "seen by nobody\nnew", "{clear:?}");
    }
}

#[test]
fn text_that_does_not_fit_is_skipped_or_left_for_the_next_page() {
    let wide = b"\x1b[4000Cx\n".repeat(10_000);
    let length = wide.len();
    let page = session(&View { base: 100, first: 100, ..view(&wide) }, "t");
    let lines = 1024 * 1024 / 4002;
    assert!(page.contains(&format!("{} bytes before this are not shown", length - 9 * lines)), "it counts as skipped");
    assert!(page.contains("name=\"seen\" value=\"100\""), "and not as seen");
    assert!(page.contains("?seen=100&amp;from=100#output\">Show them"));
    // Somebody who looks for it comes to all of it.
    let (mut from, mut pages, mut text) = (0, 0, String::new());
    while from < length {
        let Shown { text: more, part } = text::shown(&wide[from..], Keep::First);
        assert!(part.start == 0 && part.end > 0 && more.len() <= 1024 * 1024 + 4097, "{part:?}");
        (from, pages) = (from + part.end, pages + 1);
        text += &more;
    }
    assert!(pages == 10_000_usize.div_ceil(lines + 1) && text.lines().count() == 10_000, "{pages}");
    let looks = View { query: Query { from: Some(100), ..Query::default() }, base: 100, first: 100, ..view(&wide) };
    let (left, end) = (length - 9 * (lines + 1), 100 + 9 * (lines + 1));
    let page = session(&looks, "t");
    assert!(page.contains(&format!("{left} bytes more have come. <a href=\"/plain/1d1d?seen={end}&amp;from={end}#")));
}

#[test]
fn a_page_behind_which_there_is_more_ends_with_a_line_or_a_whole_letter() {
    let ends: [(&[u8], usize); 10] = [
        (b"one\ntwo", 4),
        (b"one\n", 4),
        (b"abc", 3),
        ("ab\u{e9}".as_bytes(), 4),
        (&"ab\u{e9}".as_bytes()[..3], 2),
        (&"ab\u{1f600}".as_bytes()[..5], 2),
        (b"ab\xff", 3),
        (b"ab\x1b[1", 2),
        (b"ab\x1b", 2),
        (b"ab\x1b]0;tit", 2),
    ];
    for (output, end) in ends {
        assert_eq!(text::whole(output), end, "{}", output.escape_ascii());
    }
    assert_eq!(text::whole(b"\x1b[12"), 4, "what is nothing else goes on all the same");
    // Wherever pages are cut, together they are what one would be.
    let all = "gr\u{fc}\u{df}e \x1b[1;31mrot\x1b[0m\x1b]0;t\x07 \u{1f600} Ende".as_bytes();
    for cut in 1..all.len() {
        let more = (all.len() - cut) as u64;
        let first = View { more, ..view(&all[..cut]) };
        let (first, begin) = first.cut();
        let at = usize::try_from(first.next()).unwrap();
        assert_eq!(first.more, (all.len() - at) as u64);
        assert_eq!(begin + &shown(&all[at..]), shown(all), "{cut}");
    }
}

#[test]
fn what_is_typed_is_hidden_where_there_is_more_than_the_page_shows() {
    let part = View { more: 9, ..view(b"$ \n") };
    assert!(shows_password_field(&part), "that may end with a question for a password");
    let shown = Query { hidden: Some(false), ..Query::default() };
    assert!(!shows_password_field(&View { query: shown, ..part }), "unless the user says otherwise");
}

#[test]
fn a_form_is_read() {
    let form = Form::parse(b"do=send&token=f00d&offset=12&line=a+b%26%3d%C3%A9%0d&refresh=on&typing=hidden").unwrap();
    assert_eq!((form.action, form.token.as_str(), form.offset), (Action::Send, "f00d", 12));
    assert_eq!(form.line.as_str(), "a b&=\u{e9}\r");
    assert_eq!(form.query, Query { refresh: true, hidden: Some(true), ..Query::default() });
    let form = Form::parse(b"token=f00d&do=interrupt").unwrap();
    assert_eq!((form.action, command(form.action)), (Action::Interrupt, Some(Command::Interrupt)));
    assert_eq!(line("ls"), b"ls\r\n");
}

#[test]
fn what_is_no_form_of_ours_is_refused() {
    let long = [b"do=send&token=t&offset=0&line=".to_vec(), vec![b'a'; MAX_FORM]].concat();
    let refused: [(&[u8], BadForm); 11] = [
        (b"", BadForm::Field("do")),
        (b"do=dance&token=t", BadForm::Field("do")),
        (b"do=open", BadForm::Field("token")),
        (b"do=send&token=t&offset=0", BadForm::Field("line")),
        (b"do=send&token=t&line=a", BadForm::Field("offset")),
        (b"do=send&token=t&line=a&offset=-1", BadForm::Field("offset")),
        (b"do=open&do=end&token=t", BadForm::Field("do")),
        (b"do=open&token=%f", BadForm::Encoding),
        (b"do=open&token=%zz", BadForm::Encoding),
        (b"do=open&token=%ff", BadForm::Encoding),
        (&long, BadForm::TooLong),
    ];
    for (body, expected) in refused {
        assert_eq!(Form::parse(body).map(|_| ()).unwrap_err(), expected, "{}", body.escape_ascii());
    }
}

#[test]
fn an_address_says_what_it_was_made_of() {
    for query in [
        Query::default(),
        Query { refresh: true, after: Some(3), seen: Some(9), ..Query::default() },
        Query { hidden: Some(true), conflict: true, from: Some(5), ..Query::default() },
    ] {
        let location = query.location("1d1d", query.after);
        let said = location.trim_start_matches("/plain/1d1d").split('#').next().unwrap().trim_start_matches('?');
        assert_eq!(Query::parse(said), query, "{location}");
    }
    assert_eq!(Query::parse("x&refresh=maybe&typing=&after=-1&after"), Query::default());
}

#[test]
fn a_token_is_good_for_its_cookie_alone() {
    let token = token::make(b"sks_one");
    assert_eq!(token.len(), 64);
    assert!(token::is_right(b"sks_one", &token));
    assert!(!token::is_right(b"sks_two", &token));
    assert!(!token.contains("sks_one"));
    for wrong in ["", &token[1..], &token.replace(|_| true, "0"), &format!("{token}0"), &"z".repeat(64)] {
        assert!(!token::is_right(b"sks_one", wrong), "{wrong}");
    }
}
