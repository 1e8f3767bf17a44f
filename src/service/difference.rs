//! The differences between two configurations: names, never values.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    options::Written,
    web::admin::reload::{Changes, Difference},
};

/// Compares named objects by their options.
pub(super) fn of<T: PartialEq>(before: &BTreeMap<String, T>, after: &BTreeMap<String, T>) -> Difference {
    let mut difference = Difference::default();
    for (name, made_of) in after {
        let list = match before.get(name) {
            None => &mut difference.added,
            Some(before) if before == made_of => &mut difference.unchanged,
            Some(_) => &mut difference.changed,
        };
        list.push(name.clone());
    }
    difference.removed = before.keys().filter(|name| !after.contains_key(*name)).cloned().collect();
    difference
}

/// All differences. The options of added and removed objects are not listed.
pub(super) fn changes(sinks: Difference, endpoints: Difference, before: &Written, after: &Written) -> Changes {
    let whole: BTreeSet<String> = [("sinks", &sinks), ("endpoints", &endpoints)]
        .into_iter()
        .flat_map(|(list, of)| of.added.iter().chain(&of.removed).map(move |name| format!("{list}.{name}.")))
        .collect();
    let options = before.differing(after);
    let options =
        options.into_iter().filter(|option| !whole.iter().any(|prefix| option.starts_with(prefix.as_str()))).collect();
    Changes { sinks, endpoints, options }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_in_one_list() {
        let map = |pairs: &[(&str, u8)]| pairs.iter().map(|(name, of)| ((*name).to_owned(), *of)).collect();
        let difference = of(&map(&[("a", 1), ("b", 1), ("c", 1)]), &map(&[("b", 1), ("c", 2), ("d", 1)]));
        let expected = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        assert_eq!(difference.added, expected(&["d"]));
        assert_eq!(difference.removed, expected(&["a"]));
        assert_eq!(difference.changed, expected(&["c"]));
        assert_eq!(difference.unchanged, expected(&["b"]));
    }
}
