use proptest::prelude::*;
use serde_json::json;

use super::*;

#[expect(clippy::needless_pass_by_value, reason = "most bodies are made for one call")]
fn matches(filter: &str, body: serde_json::Value) -> bool {
    Filter::compile(filter).unwrap().matches(&body).unwrap()
}

fn payment(cents: i64) -> serde_json::Value {
    json!({"event": "payment.received", "data": {"invoiceId": "i", "amountCents": cents}})
}

#[test]
fn compares_what_is_there() {
    assert!(matches("data.amountCents >= 10000", payment(10000)));
    assert!(!matches("data.amountCents >= 10000", payment(9999)));
    assert!(matches("data.amountCents < 10000 and event == 'payment.received'", payment(1)));
    assert!(matches("data['amountCents'] in [1, 2]", payment(2)));
    assert!(matches("'amountCents' in data", payment(2)));
    assert!(matches("data.lines[0].n == 1", json!({"data": {"lines": [{"n": 1}]}})));
}

#[test]
fn a_missing_field_is_not_a_match() {
    let data = json!({"note": null, "empty": [], "nulls": [null]});
    let status = json!({"event": "invoice.status_changed", "data": data});
    for filter in [
        "data.amountCents >= 10000",
        "data.amountCents < 10000",
        "not (data.amountCents >= 10000)",
        "not (data.amountCents < 10000)",
        "data['amountCents'] < 10000",
        "data.amountCents == 0",
        "data.newStatus != 'paid'",
        "data.newStatus not in ['paid', 'draft']",
        "data.debtor.country.code != 'FR'",
        "data.note < 5",
        "nothing.at.all < 1",
        "'amountCents' in data",
        "'amountCents' not in data",
        "data.amountCents is not defined",
        "data.amountCents is undefined or data.amountCents < 5",
        "data.amountCents | default(0) < 10000",
        "(data.note ~ 'x') != 'paidx'",
        "data.a.b.c.d.e.f != 'FR'",
        "data['a']['b'] != 'FR'",
        "event.country != 'FR'",
        "event['country'] != 'FR'",
        "event['country'] is not defined",
        "event.country.code != 'FR'",
        "data.lines[0].kind != 'fee'",
        "data.lines[0] != 'fee' or data.lines[-3] != 'fee'",
        "data.empty[0] != 'fee'",
        "data.empty[-1] != 'fee'",
        "(data.empty | first) != 'fee'",
        "data.nulls[0] != 'fee'",
        "data[5] != 1",
        "(data.amountCents < 10000 or event == 'invoice.status_changed')",
        " ( data.amountCents < 10000 or event == 'invoice.status_changed' ) ",
        "(data.amountCents < 5 or event == 'invoice.status_changed') or event == 'x'",
        "event == 'x' or (data.amountCents < 5 or event == 'invoice.status_changed')",
        "not (data.amountCents >= 10000 or event == 'x')",
        "event == 'invoice.status_changed' and (data.amountCents or true)",
        "true if data.amountCents < 5 or true else false",
        "event == 'invoice.status_changed' or true if data.amountCents < 5 or true else false",
        "data.amountCents + 1 > 0",
        "data.amountCents / 'x' > 0",
    ] {
        assert!(!matches(filter, status.clone()), "{filter}");
    }
    for filter in [
        "data.amountCents >= 10000 or event == 'invoice.status_changed'",
        "event == 'invoice.status_changed' or data.amountCents >= 10000",
        "\n  data.amountCents >= 10000\n  or event == 'invoice.status_changed'\n",
        "data.amountCents < 1 or data.note == 'or' or (event) == 'invoice.status_changed'",
        "(data.amountCents < 1)or(event == 'invoice.status_changed')",
        "event != 'payment.received' or data.amountCents < 5",
        "event == 'x' and data.amountCents < 5 or event in ['invoice.status_changed']",
        "(event == 'invoice.status_changed' or data.amountCents < 5)",
        "(data.amountCents if event == 'x' else event == 'y') or event == 'invoice.status_changed'",
        "data.amountCents == ' or ' or event == \"invoice.status_changed\"",
        r"data.amountCents == 'it\'s or' or event != ' or '",
        "data.empty == []",
    ] {
        assert!(matches(filter, status.clone()), "{filter}");
    }
    assert!(matches("data.or == 1 or order == 2", json!({"data": {"or": 1}})), "a field may be named like an operator");
}

#[test]
fn values_of_unlike_kinds_are_not_compared() {
    let body = json!({
        "event": "payment.received", "zero": 0,
        "data": {
            "amountCents": "5", "count": 5, "paid": true, "list": [1, 2], "texts": ["1", "x"], "mixed": [3, "5"],
            "lines": [{"cents": 1}, {"cents": "2"}], "debtor": {"city": "Paris", "zip": 75001},
        },
    });
    for (filter, kinds) in [
        ("data.amountCents >= 10000", "a text with a number"),
        ("10000 <= data.amountCents", "a number with a text"),
        ("data.amountCents > 10000", "a text with a number"),
        ("data.amountCents < 10000", "a text with a number"),
        ("data.amountCents == 5", "a text with a number"),
        ("data.amountCents != 10000", "a text with a number"),
        ("not (data.amountCents == 10000)", "a text with a number"),
        ("not data.amountCents < 10000", "a text with a number"),
        ("data.count != '5'", "a number with a text"),
        ("data.count >= true", "a number with a boolean"),
        ("data.paid == 1", "a boolean with a number"),
        ("data.paid < 10000", "a boolean with a number"),
        ("data.paid != 'true'", "a boolean with a text"),
        ("data.list >= 10000", "a list with a number"),
        ("data.list != 1", "a list with a number"),
        ("data.list != ['1', '2']", "a number with a text"),
        ("data.debtor >= 10000", "an object with a number"),
        ("data.debtor != {'city': 1, 'zip': 75001}", "a text with a number"),
        ("data.count < none", "a number with none"),
        ("data.amountCents not in [1, 2]", "a text with a number"),
        ("not (data.amountCents in [1, 2])", "a text with a number"),
        ("data.count not in data.texts", "a number with a text"),
        ("5 not in 'a5'", "a number with a text"),
        ("'x' not in data.count", "a text with a number"),
        ("5 not in data.debtor", "a number with a text"),
        ("1 < data.amountCents < 9", "a number with a text"),
        ("zero < data.count <= data.amountCents", "a number with a text"),
        ("data.amountCents is ge(10000)", "a text with a number"),
        ("data.amountCents is not eq(10000)", "a text with a number"),
        ("data.amountCents is not sameas(5)", "a text with a number"),
        ("data.amountCents is not in([1, 2])", "a text with a number"),
        ("data.mixed | max >= 4", "a number with a text"),
        ("data.mixed | min < 4", "a number with a text"),
        ("(data.mixed | sort)[0] == 3", "a number with a text"),
        ("(data.lines | max(attribute='cents')).cents == '2'", "a number with a text"),
        ("data.mixed | select('>=', 4) | list | length == 1", "a text with a number"),
        ("data.lines | selectattr('cents', 'ge', 1) | list | length > 0", "a text with a number"),
        ("event == 'x' or data.amountCents >= 10000", "a text with a number"),
        ("data.amountCents >= 10000 if event == 'payment.received' else true", "a text with a number"),
    ] {
        let told = Filter::compile(filter).unwrap().matches(&body);
        assert!(told.as_ref().is_err_and(|told| told.contains(&format!("it compares {kinds}"))), "{filter}: {told:?}");
    }
    for filter in [
        "data.amountCents >= 10000 or event == 'payment.received'",
        "event == 'payment.received' or data.amountCents >= 10000",
        "data.amountCents == '5'",
        "data.amountCents | int >= 5",
        "data.amountCents is string and data.count is number and data.count >= 5",
        "data.count == 5.0",
        "data.count < 5.5",
        "data.count != none",
        "data.count in [1, '5', 5]",
        "data.count in ['x', 5]",
        "data.count not in ['x', 6]",
        "data.count not in []",
        "'x' in data.texts",
        "'ari' in data.debtor.city",
        "'city' in data.debtor",
        "data.list == [1, 2]",
        "data.list != [1, 2, '3']",
        "data.debtor == {'zip': 75001, 'city': 'Paris'}",
        "0 < data.count <= 5",
        "data.list | max == 2",
        "data.paid == true",
        "data.paid and event == 'payment.received'",
        "not (event == 'x' and data.amountCents >= 10000)",
    ] {
        assert_eq!(Filter::compile(filter).unwrap().matches(&body), Ok(true), "{filter}");
    }
}

#[test]
fn an_alternative_that_fails_is_told_unless_something_is_missing() {
    let fails = |filter: &str| Filter::compile(filter).unwrap().matches(&payment(1));
    assert!(fails("data.amountCents / 'x' == 1").is_err());
    assert!(fails("event == 'y' or data.amountCents / 'x' == 1").is_err());
    assert_eq!(fails("data.nothing / 'x' == 1"), Ok(false));
    assert_eq!(fails("data.amountCents / 'x' == 1 or event == 'payment.received'"), Ok(true));
}

#[test]
fn only_true_itself_matches() {
    assert!(!matches("data.amountCents", payment(1)), "a number is not `true`");
    assert!(!matches("'yes'", payment(1)));
    assert!(matches("true", payment(1)));
}

#[test]
fn an_endless_expression_ends() {
    let long = format!("[{}] | length > 0", "event,".repeat(2 * usize::try_from(FUEL).unwrap()));
    let error = Filter::compile(&long).unwrap().matches(&payment(1)).unwrap_err();
    assert!(error.contains("fuel"), "{error}");
    // Lists that an expression creates would cost time that the fuel does not count.
    let filter = Filter::compile("range(99999) | map('string') | list | length > data.amountCents").unwrap();
    assert_eq!(filter.matches(&payment(1)), Ok(false), "there is no such function");
    assert!(Filter::compile("data.amountCents >=").is_err());
    assert!(Filter::compile("").is_err());
    // Each comparison inside another one: the evaluation must not double.
    let nested = (0..60).fold("1".to_owned(), |inner, _| format!("(0 < {inner} < 2) is true and 1"));
    assert!(Filter::compile(&nested).is_ok());
}

#[test]
fn the_same_text_is_kept_once() {
    let (one, other) = (Filter::compile("event == 'kept'").unwrap(), Filter::compile("event == 'kept'").unwrap());
    assert!(std::ptr::eq(one.source, other.source) && one == other);
}

/// An expression of these tests, with its expected result.
#[derive(Debug, Clone)]
enum Term {
    Compare(Leaf, usize, Leaf),
    Within(Leaf, bool, Vec<Leaf>),
    Not(Box<Term>),
    And(Box<Term>, Box<Term>),
    Or(Box<Term>, Box<Term>),
}

#[derive(Debug, Clone)]
enum Leaf {
    Field(usize),
    Number(i8),
    Text(u8),
    Truth(bool),
}

const OPERATORS: [&str; 6] = ["==", "!=", "<", "<=", ">", ">="];
const FIELDS: [&str; 5] = ["data.a", "data['b']", "data.c", "data.d.e", "data.list[1]"];

impl Leaf {
    fn text(&self) -> String {
        match self {
            Leaf::Field(which) => FIELDS[*which].to_owned(),
            Leaf::Number(number) => number.to_string(),
            Leaf::Text(digit) => format!("'{digit} or'"),
            Leaf::Truth(truth) => truth.to_string(),
        }
    }

    /// `None`: missing.
    fn value(&self, body: &serde_json::Value) -> Option<serde_json::Value> {
        let pointers = ["/data/a", "/data/b", "/data/c", "/data/d/e", "/data/list/1"];
        match self {
            Leaf::Field(which) => body.pointer(pointers[*which]).filter(|value| !value.is_null()).cloned(),
            Leaf::Number(number) => Some(json!(number)),
            Leaf::Text(digit) => Some(json!(format!("{digit} or"))),
            Leaf::Truth(truth) => Some(json!(truth)),
        }
    }
}

/// `None`: the values are not compared.
fn order(one: &serde_json::Value, other: &serde_json::Value) -> Option<std::cmp::Ordering> {
    use serde_json::Value::{Array, Bool, Number, Object, String};
    match (one, other) {
        // The bodies below contain one list and one object.
        (Array(_), Array(_)) | (Object(_), Object(_)) => Some(std::cmp::Ordering::Equal),
        (Number(one), Number(other)) => one.as_f64().unwrap().partial_cmp(&other.as_f64().unwrap()),
        (String(one), String(other)) => Some(one.cmp(other)),
        (Bool(one), Bool(other)) => Some(one.cmp(other)),
        _ => None,
    }
}

impl Term {
    fn text(&self) -> String {
        match self {
            Term::Compare(left, operator, right) => {
                format!("{} {} {}", left.text(), OPERATORS[*operator], right.text())
            }
            Term::Within(value, is_in, list) => {
                let list: Vec<_> = list.iter().map(Leaf::text).collect();
                format!("{} {} [{}]", value.text(), if *is_in { "in" } else { "not in" }, list.join(", "))
            }
            Term::Not(term) => format!("not ({})", term.text()),
            Term::And(left, right) => format!("({}) and ({})", left.text(), right.text()),
            Term::Or(left, right) => format!("({}) or ({})", left.text(), right.text()),
        }
    }

    /// `None`: it has read something missing, or compared values of different kinds.
    fn value(&self, body: &serde_json::Value) -> Option<bool> {
        match self {
            Term::Compare(left, operator, right) => {
                let order = order(&left.value(body)?, &right.value(body)?)?;
                Some(
                    [order.is_eq(), order.is_ne(), order.is_lt(), order.is_le(), order.is_gt(), order.is_ge()]
                        [*operator],
                )
            }
            Term::Within(value, is_in, list) => {
                let value = value.value(body)?;
                // Each item is read when the list is created.
                let list: Option<Vec<_>> = list.iter().map(|item| item.value(body)).collect();
                let orders: Vec<_> = list?.iter().map(|item| order(&value, item)).collect();
                if orders.iter().flatten().any(|order| order.is_eq()) {
                    Some(*is_in)
                } else if orders.is_empty() || orders.iter().any(Option::is_some) {
                    Some(!*is_in)
                } else {
                    None
                }
            }
            Term::Not(term) => term.value(body).map(|truth| !truth),
            Term::And(left, right) => {
                if left.value(body)? {
                    right.value(body)
                } else {
                    Some(false)
                }
            }
            Term::Or(left, right) => {
                if left.value(body)? {
                    Some(true)
                } else {
                    right.value(body)
                }
            }
        }
    }
}

fn leaf() -> impl Strategy<Value = Leaf> {
    prop_oneof![
        4 => (0..FIELDS.len()).prop_map(Leaf::Field),
        2 => (-3..3_i8).prop_map(Leaf::Number),
        2 => (0..3_u8).prop_map(Leaf::Text),
        1 => any::<bool>().prop_map(Leaf::Truth),
    ]
}

fn term() -> impl Strategy<Value = Term> {
    let comparison = prop_oneof![
        3 => (leaf(), 0..OPERATORS.len(), leaf()).prop_map(|(left, operator, right)| Term::Compare(left, operator, right)),
        1 => (leaf(), any::<bool>(), prop::collection::vec(leaf(), 0..4))
            .prop_map(|(value, is_in, list)| Term::Within(value, is_in, list)),
    ];
    comparison.prop_recursive(4, 16, 2, |inner| {
        prop_oneof![
            inner.clone().prop_map(|term| Term::Not(term.into())),
            (inner.clone(), inner.clone()).prop_map(|(left, right)| Term::And(left.into(), right.into())),
            (inner.clone(), inner).prop_map(|(left, right)| Term::Or(left.into(), right.into())),
        ]
    })
}

fn scalar() -> impl Strategy<Value = serde_json::Value> {
    prop_oneof![
        3 => (-3..3_i8).prop_map(|number| json!(number)),
        1 => (-3..3_i8).prop_map(|number| json!(f64::from(number) + 0.5)),
        2 => (0..3_u8).prop_map(|digit| json!(format!("{digit} or"))),
        1 => any::<bool>().prop_map(|truth| json!(truth)),
        1 => Just(json!(null)),
        1 => Just(json!([1, "2"])),
        1 => Just(json!({"e": 1})),
    ]
}

fn body() -> impl Strategy<Value = serde_json::Value> {
    (prop::collection::vec(prop::option::of(scalar()), 4), prop::collection::vec(scalar(), 0..3)).prop_map(
        |(fields, list)| {
            let mut data = serde_json::Map::new();
            for (name, value) in ["a", "b", "c", "d"].into_iter().zip(fields) {
                if let Some(value) = value {
                    data.insert(name.to_owned(), value);
                }
            }
            data.insert("list".to_owned(), json!(list));
            json!({"event": "e", "data": data})
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// A single alternative: the result of the rules, regardless of how it is used.
    #[test]
    fn one_alternative_is_what_the_rules_say(term in term(), body in body()) {
        let filter = format!("({})", term.text());
        let told = Filter::compile(&filter).unwrap().matches(&body);
        prop_assert_eq!(told == Ok(true), term.value(&body) == Some(true), "{} of {}: {:?}", filter, body, told);
    }

    /// Several alternatives: the result of one of them alone.
    #[test]
    fn alternatives_are_judged_each_by_itself(terms in prop::collection::vec(term(), 1..5), body in body()) {
        // `and` binds closer than `or`; only an `or` at the top of a part would give further parts.
        let texts: Vec<_> = terms.iter().map(|term| format!("({})", term.text())).collect();
        let filter = texts.join(" or ");
        let told = Filter::compile(&filter).unwrap().matches(&body);
        let expected = terms.iter().any(|term| term.value(&body) == Some(true));
        prop_assert_eq!(told == Ok(true), expected, "{} of {}: {:?}", filter, body, told);
    }

    /// Any text that an operator writes gives a filter or a message, never a panic.
    #[test]
    fn any_text_is_an_expression_or_a_problem(text in "[a-c.'\"()\\[\\]{}<>=!~|, 0-9orandtisf-]{0,40}", body in body()) {
        if let Ok(filter) = Filter::compile(&text) {
            let _ = filter.matches(&body);
        }
    }
}
