//! Derives the invoice number in the books from Finkare's: the same number, or the result of the operator's expression.

use std::{fmt, sync::Arc};

use minijinja::{Environment, Expression, UndefinedBehavior, context};

use crate::model::booking::Invoice;

/// Steps that one evaluation may take.
const FUEL: u64 = 10_000;
/// The longest number, in characters.
const LONGEST: usize = 140;

/// Derives numbers. Cheap to clone. Two values are equal if their expressions have the same text.
#[derive(Clone, Default)]
pub struct Numbering(Option<(Arc<str>, Arc<Expression<'static, 'static>>)>);

impl PartialEq for Numbering {
    fn eq(&self, other: &Self) -> bool {
        let source = |numbering: &Self| numbering.0.as_ref().map(|(source, _)| source.clone());
        source(self) == source(other)
    }
}

impl Eq for Numbering {}

impl fmt::Debug for Numbering {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Numbering(an expression)" } else { "Numbering(as it is)" })
    }
}

fn environment() -> &'static Environment<'static> {
    static ENVIRONMENT: std::sync::LazyLock<Environment<'static>> = std::sync::LazyLock::new(|| {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_fuel(Some(FUEL));
        environment.remove_global("range");
        environment
    });
    &ENVIRONMENT
}

impl Numbering {
    /// Uses an expression over `invoice` (`number`, `id`, `currency`, `status`); without one the number stays the same.
    ///
    /// # Errors
    /// The text is not an expression; the message of the expression library says why.
    pub fn new(expression: Option<&str>) -> Result<Self, String> {
        let compile = |source: &str| {
            environment()
                .compile_expression_owned(source.to_owned())
                .map(|expression| (source.into(), Arc::new(expression)))
                .map_err(|error| format!("`{source}` is not an expression: {error}"))
        };
        expression.map(compile).transpose().map(Self)
    }

    /// The number in the books.
    ///
    /// # Errors
    /// The expression fails, or its result cannot be a number; the text says why.
    pub fn of(&self, invoice: &Invoice) -> Result<String, String> {
        let number = match &self.0 {
            None => invoice.number.clone(),
            Some((_, expression)) => {
                let Invoice { id, number, currency, status, .. } = invoice;
                let known = context! { invoice => context! { id, number, currency, status } };
                let made = expression.eval(known).map_err(|error| {
                    format!("`number` in the settings failed on Finkare's invoice number `{number}`: {error}")
                })?;
                if made.is_undefined() {
                    return Err(format!(
                        "`number` in the settings failed on Finkare's invoice number `{number}`: it names something that \
                         an invoice does not have"
                    ));
                }
                made.as_str().map(str::to_owned).ok_or_else(|| {
                    format!(
                        "the result of `number` in the settings for Finkare's invoice number `{number}` is not a text"
                    )
                })?
            }
        };
        let number = number.trim();
        if number.is_empty() || number.chars().count() > LONGEST || number.chars().any(char::is_control) {
            return Err(format!("Finkare's invoice {} has no number that books could have", invoice.id));
        }
        Ok(number.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn invoice(number: &str) -> Invoice {
        Invoice {
            id: "c3d4".into(),
            number: number.into(),
            amount_cents: None,
            currency: None,
            status: None,
            debtor: None,
        }
    }

    #[test]
    fn a_number_stays_or_is_made() {
        let of = |expression: Option<&str>, number: &str| Numbering::new(expression).unwrap().of(&invoice(number));
        assert_eq!(of(None, " F-12 ").unwrap(), "F-12");
        assert_eq!(of(Some("'FAC' ~ invoice.number | replace('INV', '')"), "INV-12").unwrap(), "FAC-12");
        assert!(of(None, "").unwrap_err().contains("c3d4"));
        assert!(of(None, "a\nb").is_err());
        assert!(of(None, &"9".repeat(141)).is_err());
        assert!(of(Some("invoice.nummer"), "1").unwrap_err().contains("failed on Finkare's invoice number `1`"));
        assert!(of(Some("12"), "1").unwrap_err().contains("is not a text"));
        assert!(Numbering::new(Some("invoice.number |")).unwrap_err().contains("not an expression"));
    }
}
