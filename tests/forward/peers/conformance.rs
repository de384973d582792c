#![allow(unused)] 
use super::Guest; pub(super) const GUESTS: &[Guest] = &[];
