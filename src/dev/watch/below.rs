//! What is below a path, among many: without a look at the others.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::path::Path;

/// The entries for a path and for all below it. Paths are in the order of their parts, so these follow each other.
pub(super) fn below<'a, K: Borrow<Path> + Ord, V>(
    all: &'a BTreeMap<K, V>,
    path: &'a Path,
) -> impl Iterator<Item = (&'a K, &'a V)> {
    let from = all.range::<Path, _>((Bound::Included(path), Bound::Unbounded));
    from.take_while(move |(other, _)| (*other).borrow().starts_with(path))
}

#[cfg(test)]
mod tests {
    use super::below;
    use std::borrow::Borrow;
    use std::cell::Cell;
    use std::collections::BTreeMap;
    use std::path::{Path, PathBuf};

    thread_local! {
        static LOOKS: Cell<usize> = const { Cell::new(0) };
    }

    /// A path that counts how often it is looked at.
    #[derive(PartialEq, Eq, PartialOrd, Ord)]
    struct Counted(PathBuf);

    impl Borrow<Path> for Counted {
        fn borrow(&self) -> &Path {
            LOOKS.set(LOOKS.get() + 1);
            &self.0
        }
    }

    #[test]
    fn what_is_below_is_found_and_what_merely_begins_alike_is_not() {
        let paths = ["", "a", "a-", "a/b", "a/b-c", "a/b/c", "a/b/c/d", "a/c", "ab", "b"];
        let all: BTreeMap<PathBuf, ()> = paths.map(|path| (path.into(), ())).into();
        let of =
            |path: &str| below(&all, Path::new(path)).map(|(path, ())| path.display().to_string()).collect::<Vec<_>>();
        assert_eq!(of("a/b"), ["a/b", "a/b/c", "a/b/c/d"]);
        assert_eq!(of("a"), ["a", "a/b", "a/b/c", "a/b/c/d", "a/b-c", "a/c"]);
        assert_eq!(of("a/x"), Vec::<String>::new());
        assert_eq!(of("").len(), paths.len());
    }

    #[test]
    fn what_is_gone_costs_no_look_at_all_that_is_there() {
        let all: BTreeMap<Counted, ()> =
            (0..20_000).map(|number| (Counted(format!("d/{number}").into()), ())).collect();
        for number in 0..20_000 {
            assert_eq!(below(&all, Path::new(&format!("d/{number}"))).count(), 1);
        }
        let looks = LOOKS.get() / 20_000;
        assert!(looks < 150, "{looks} looks for each, among 20000");
    }
}
