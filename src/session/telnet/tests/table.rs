//! docs/session.md prints the table of the negotiation; this walks every cell of it and compares.

use super::super::negotiation::State;

const PAGE: &str = include_str!("../../../../docs/session.md");

const STATES: [State; 6] =
    [State::No, State::Yes, State::WantNo, State::WantNoOpposite, State::WantYes, State::WantYesOpposite];

type Column = (&'static str, fn(State) -> (State, Option<bool>));

const COLUMNS: [Column; 5] = [
    ("hears on, agrees", |state| state.hears(true, true)),
    ("hears on, refuses", |state| state.hears(true, false)),
    ("hears off", |state| state.hears(false, true)),
    ("wants on", |state| state.wants(true)),
    ("wants off", |state| state.wants(false)),
];

fn name(state: State) -> &'static str {
    match state {
        State::No => "no",
        State::Yes => "yes",
        State::WantNo => "want no",
        State::WantNoOpposite => "want no, then yes",
        State::WantYes => "want yes",
        State::WantYesOpposite => "want yes, then no",
    }
}

fn cell(state: State, column: Column) -> String {
    let (next, say) = column.1(state);
    let say = say.map(|on| if on { "say on" } else { "say off" });
    match (next == state, say) {
        (true, None) => "–".into(),
        (true, Some(say)) => say.into(),
        (false, None) => format!("**{}**", name(next)),
        (false, Some(say)) => format!("**{}**: {say}", name(next)),
    }
}

#[test]
fn the_printed_table_is_what_the_negotiation_does() {
    let head = COLUMNS.iter().map(|column| column.0).collect::<Vec<_>>().join(" | ");
    let mut table = format!("| | {head} |\n|{}\n", " --- |".repeat(COLUMNS.len() + 1));
    for state in STATES {
        let cells = COLUMNS.iter().map(|column| cell(state, *column)).collect::<Vec<_>>().join(" | ");
        table.push_str(&format!("| {} | {cells} |\n", name(state)));
    }
    assert!(PAGE.contains(&table), "docs/session.md does not print this table:\n\n{table}");
}

#[test]
fn whether_we_agree_matters_only_where_it_is_off() {
    for state in STATES.into_iter().filter(|state| *state != State::No) {
        assert_eq!(state.hears(true, true), state.hears(true, false), "{state:?}");
    }
    for state in STATES {
        assert_eq!(state.hears(false, true), state.hears(false, false), "{state:?}");
    }
}
