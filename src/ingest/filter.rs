//! A filter: an expression over an event's body that decides whether a sink gets the event.
//!
//! The language is minijinja's (<https://docs.rs/minijinja>), compiled when the service starts and
//! limited by fuel, so that no expression can delay a delivery. Two rules are added to it, because
//! filters decide over money (docs/decisions/0008-a-missing-field-is-not-a-match.md and
//! docs/decisions/0030-unlike-kinds-are-not-compared.md):
//!
//! - **A missing field is not a match.** In minijinja a missing field is smaller than every number,
//!   so that `data.amountCents < 10000` would be true of a body without an amount.
//! - **Values of different kinds are not compared.** In minijinja every text is larger than every
//!   number, so that `data.amountCents >= 10000` would be true of the amount `"5"`.
//!
//! Both rules apply to each alternative of an `or` separately, regardless of how its result is used; see
//! [`Filter::matches`].
//!
//! # How it works
//!
//! The library does not allow operators to be redefined. The text is therefore parsed by the library's own parser, and
//! `strict` rewrites the tree: each comparison becomes one of the tests in `rules`, and each field access one of its
//! filters. No code here parses the text. The library's parser is not a stable interface: `Cargo.toml` pins its version, and
//! the tests below say what must hold after an update.

use std::{
    collections::{BTreeMap, HashSet},
    fmt,
    sync::{
        Arc, LazyLock, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use minijinja::{
    AutoEscape, Environment, Error, UndefinedBehavior,
    machinery::{self, CodeGenerator, Instructions, ast, ast::Expr},
    value::ValueKind,
};

mod rules;
mod strict;
#[cfg(test)]
mod tests;

use rules::Stopped;

/// The most steps of one evaluation; an expression over one body needs a few dozen.
const FUEL: u64 = 10_000;

/// A compiled filter expression.
#[derive(Clone)]
pub struct Filter {
    source: &'static str,
    alternatives: Arc<[Instructions<'static>]>,
}

impl fmt::Debug for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Filter").field(&self.source).finish()
    }
}

impl PartialEq for Filter {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source
    }
}

impl Filter {
    /// Compiles an expression.
    ///
    /// # Errors
    /// The message of the expression library, on one line.
    pub fn compile(source: &str) -> Result<Self, String> {
        let source = kept(source);
        let whole = machinery::parse_expr(source)
            .map_err(|error| error.detail().map_or_else(|| error.kind().to_string(), str::to_owned))?;
        let mut alternatives = Vec::new();
        cut(&whole, source, &mut alternatives);
        let compile = |alternative: &Expr<'static>| {
            let mut code = CodeGenerator::new("<filter>", source);
            code.compile_expr(&strict::strict(alternative));
            code.finish().0
        };
        Ok(Self { source, alternatives: alternatives.into_iter().map(compile).collect() })
    }

    /// True if one alternative evaluates to exactly `true`, reads nothing that is missing, and compares no values of
    /// different kinds.
    ///
    /// The alternatives are the parts between the `or`s of the expression, except `or`s in brackets; each is evaluated
    /// separately. Missing means: a field that does not exist or is `null`, an item beyond the end of a list, and a field of
    /// a value without fields. Reading it is enough, regardless of how the result is used:
    /// `data.newStatus != 'paid'` does not match a body without `newStatus`, nor does
    /// `data.newStatus is not defined`; `data.amountCents >= 1 or event == 'ping'` does match a ping.
    /// Likewise `data.amountCents != 10000` does not match the amount `"5"`.
    ///
    /// # Errors
    /// If no alternative matches, and one of them compared values of different kinds, failed, or ran out of fuel. A missing
    /// field is not an error but simply no match.
    pub fn matches(&self, body: &serde_json::Value) -> Result<bool, String> {
        let missed = Arc::new(AtomicBool::new(false));
        let root = rules::seen(body, &missed);
        let mut failure = None;
        for alternative in self.alternatives.iter() {
            missed.store(false, Relaxed);
            let result = evaluate(alternative, root.clone());
            if missed.load(Relaxed) {
                continue;
            }
            match result {
                Ok(Some(value)) if value.kind() == ValueKind::Bool && value.is_true() => return Ok(true),
                Ok(_) => {}
                Err(error) => match Stopped::of(&error) {
                    Some(Stopped::Missing) => {}
                    Some(unlike @ Stopped::Unlike(..)) => failure = Some(unlike.to_string()),
                    None => failure = Some(error.to_string()),
                },
            }
        }
        failure.map_or(Ok(false), Err)
    }
}

fn evaluate(code: &Instructions<'static>, root: minijinja::Value) -> Result<Option<minijinja::Value>, Error> {
    let (blocks, mut text) = (BTreeMap::new(), String::new());
    let mut out = machinery::make_string_output(&mut text);
    let (value, _state) = machinery::eval(environment(), code, root, &blocks, &mut out, AutoEscape::None)?;
    Ok(value)
}

/// The alternatives of an expression: the parts between its `or`s, except `or`s in brackets.
///
/// The tree has no brackets, but each `or` knows where it begins: an `or` outside of brackets begins where the expression
/// begins. `a or b if c else d` is not an `or`, and is not split.
fn cut<'e>(whole: &'e Expr<'static>, source: &str, alternatives: &mut Vec<&'e Expr<'static>>) {
    let begin = source.find(|c: char| !c.is_whitespace()).and_then(|begin| u32::try_from(begin).ok());
    let (mut rest, mut from_the_right) = (whole, Vec::new());
    while let Expr::BinOp(or) = rest
        && matches!(or.op, ast::BinOpKind::ScOr)
        && Some(or.span().start_offset) == begin
    {
        from_the_right.push(&or.right);
        rest = &or.left;
    }
    alternatives.push(rest);
    alternatives.extend(from_the_right.into_iter().rev());
}

/// Keeps the text for the life of the process, since compiled code refers to it. Equal texts are kept once, so that a
/// reload without new filters keeps nothing more.
fn kept(source: &str) -> &'static str {
    static KEPT: Mutex<Option<HashSet<&'static str>>> = Mutex::new(None);
    let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    let kept = kept.get_or_insert_default();
    if let Some(known) = kept.get(source) {
        return known;
    }
    let source: &'static str = Box::leak(source.to_owned().into_boxed_str());
    kept.insert(source);
    source
}

/// One environment for all filters: no loader, no files, missing fields chain.
fn environment() -> &'static Environment<'static> {
    static ENVIRONMENT: LazyLock<Environment<'static>> = LazyLock::new(|| {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Chainable);
        environment.set_fuel(Some(FUEL));
        // Fuel counts the expression's own steps, not what a library filter does with a list: without
        // this function a list is never longer than the body or the expression itself.
        environment.remove_global("range");
        rules::add_to(&mut environment);
        environment
    });
    &ENVIRONMENT
}
