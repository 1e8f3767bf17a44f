//! A key `timezone`: a name of the IANA database.

use jiff::tz::TimeZone;

use crate::{notices, options::section::Section};

/// Reads the key of a section.
pub(super) fn timezone(section: &mut Section<'_>, meaning: &'static str) -> TimeZone {
    let name = section.key("timezone", meaning).allowed("a name such as `Europe/Paris`").text_or(notices::TIMEZONE);
    TimeZone::get(&name).unwrap_or_else(|_| {
        section.problem("timezone", format!("`{name}` is not a time zone: write it like \"{}\"", notices::TIMEZONE));
        TimeZone::UTC
    })
}
