//! The page between a button and what cannot be taken back lightly: it says what will happen, and to how much.

use askama::Template;
use axum::response::Response;

use super::{
    texts::Texts,
    visit::{Nav, Page, Visit},
};
use crate::web::error::Problem;

/// What is asked.
#[derive(Debug, Default)]
pub(super) struct Question {
    pub(super) title: String,
    /// What will happen.
    pub(super) lines: Vec<String>,
    /// The words of the service that a selection searches for. They are searched for as they are stored, and so shown as they
    /// are.
    pub(super) searched: String,
    /// Where the form goes, and what it carries.
    pub(super) action: String,
    pub(super) fields: Vec<(&'static str, String)>,
    pub(super) button: String,
    pub(super) back: String,
    /// True for what removes something.
    pub(super) is_danger: bool,
    /// True if there is nothing to do.
    pub(super) is_empty: bool,
}

#[derive(Template)]
#[template(path = "confirm.html")]
struct Confirm {
    page: Page,
    t: &'static Texts,
    lines: Vec<String>,
    searched: String,
    action: String,
    fields: Vec<(&'static str, String)>,
    button: String,
    back: String,
    is_danger: bool,
    is_empty: bool,
}

/// Asks.
pub(super) fn ask(visit: &Visit, nav: Nav, question: Question) -> Result<Response, Problem> {
    let Question { title, lines, searched, action, fields, button, back, is_danger, is_empty } = question;
    let page = visit.page(nav, title);
    visit.show(&Confirm { page, t: visit.t, lines, searched, action, fields, button, back, is_danger, is_empty })
}
