//! Telnet with a destination as it goes to the process that takes over.

use super::detection::{self, Detection, FIRST};
use super::negotiation::{Negotiation, State};
use super::option::Side;
use super::{LONGEST_SUB_NEGOTIATION, Place, Speech, Telnet, Terminal};
use crate::session::written::{Form, FormError, Reader, Writer, form_of_enum, form_of_struct};

type Looked = detection::Place;

form_of_enum!(Side { 1 => Ours, 2 => Theirs });
form_of_enum!(State { 1 => No, 2 => Yes, 3 => WantNo, 4 => WantNoOpposite, 5 => WantYes, 6 => WantYesOpposite });
form_of_enum!(Place { 1 => Text, 2 => Command, 3 => Option { side, on }, 4 => Sub, 5 => SubCommand });
form_of_enum!(Looked { 1 => Text, 2 => Command, 3 => Option { verb, side, on } });
form_of_enum!(Speech { 1 => Looking(detection), 2 => Telnet, 3 => Plain });
form_of_struct!(Negotiation { ours, theirs });

impl<const COUNT: usize> Form for [State; COUNT] {
    fn write(&self, to: &mut Writer) {
        self.iter().for_each(|state| state.write(to));
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, FormError> {
        let mut all = [State::No; COUNT];
        for state in &mut all {
            *state = State::read(from)?;
        }
        Ok(all)
    }
}

impl Form for Detection {
    fn write(&self, to: &mut Writer) {
        self.seen.write(to);
        self.place.write(to);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, FormError> {
        let detection = Detection { seen: Form::read(from)?, place: Form::read(from)? };
        // The last that is looked at may be the option of a verb before the limit.
        if detection.seen <= FIRST + 2 { Ok(detection) } else { Err(FormError::Unfit("a look for telnet")) }
    }
}

impl Form for Terminal {
    fn write(&self, to: &mut Writer) {
        let Terminal { name, columns, rows } = self;
        name.write(to);
        columns.write(to);
        rows.write(to);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, FormError> {
        let (name, (columns, rows)) = <(String, (u16, u16))>::read(from)?;
        let terminal = Terminal::new(&name, columns, rows);
        // Nothing else would have become of it.
        if terminal.name == name { Ok(terminal) } else { Err(FormError::Unfit("a terminal's name")) }
    }
}

impl Form for Telnet {
    fn write(&self, to: &mut Writer) {
        let Telnet { speech, place, negotiation, terminal, offered, received_cr, sent_cr, sub } = self;
        speech.write(to);
        place.write(to);
        negotiation.write(to);
        terminal.write(to);
        offered.write(to);
        received_cr.write(to);
        sent_cr.write(to);
        sub.write(to);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, FormError> {
        let telnet = Telnet {
            speech: Form::read(from)?,
            place: Form::read(from)?,
            negotiation: Form::read(from)?,
            terminal: Form::read(from)?,
            offered: Form::read(from)?,
            received_cr: Form::read(from)?,
            sent_cr: Form::read(from)?,
            sub: Form::read(from)?,
        };
        if telnet.sub.len() <= LONGEST_SUB_NEGOTIATION {
            Ok(telnet)
        } else {
            Err(FormError::Unfit("a sub-negotiation"))
        }
    }
}
