//! Rewrites the library's tree of an expression: the [`rules`](super::rules) replace the operators.

use minijinja::{
    machinery::{
        Span,
        ast::{
            BinOp, BinOpKind, Call, CallArg, Compare, CompareOpKind, Const, Expr, Filter, GetAttr, IfExpr, List, Map,
            Slice, Spanned, Test, Tuple, UnaryOp, UnaryOpKind, Var,
        },
    },
    value::Value,
};

use super::rules::{CHAIN, FIELD};

/// The same expression, with comparisons and field accesses that follow the rules.
///
/// The library's nodes can be read but not changed, so each one is built again.
pub(super) fn strict<'a>(expr: &Expr<'a>) -> Expr<'a> {
    let span = expr.span();
    match expr {
        Expr::Var(var) => Expr::Var(Spanned::new(Var { id: var.id }, span)),
        Expr::Const(value) => constant(value.value.clone(), span),
        Expr::Slice(slice) => {
            let part = |part: &Option<Expr<'a>>| part.as_ref().map(strict);
            let (start, stop, step) = (part(&slice.start), part(&slice.stop), part(&slice.step));
            Expr::Slice(Spanned::new(Slice { expr: strict(&slice.expr), start, stop, step }, span))
        }
        Expr::UnaryOp(unary) => {
            #[expect(clippy::needless_match, reason = "the library's type can be neither copied nor cloned")]
            let op = match unary.op {
                UnaryOpKind::Not => UnaryOpKind::Not,
                UnaryOpKind::Neg => UnaryOpKind::Neg,
            };
            Expr::UnaryOp(Spanned::new(UnaryOp { op, expr: strict(&unary.expr) }, span))
        }
        Expr::BinOp(binary) => {
            let (left, right) = (strict(&binary.left), strict(&binary.right));
            match rule(binary.op) {
                Some(name) => test(name, left, vec![CallArg::Pos(right)], span),
                None => Expr::BinOp(Spanned::new(BinOp { op: binary.op, left, right }, span)),
            }
        }
        Expr::Compare(chain) => chained(chain, span),
        Expr::IfExpr(choice) => Expr::IfExpr(Spanned::new(
            IfExpr {
                test_expr: strict(&choice.test_expr),
                true_expr: strict(&choice.true_expr),
                false_expr: choice.false_expr.as_ref().map(strict),
            },
            span,
        )),
        Expr::Filter(filter) => Expr::Filter(Spanned::new(
            Filter { name: filter.name, expr: filter.expr.as_ref().map(strict), args: arguments(&filter.args) },
            span,
        )),
        Expr::Test(asked) => test(asked.name, strict(&asked.expr), arguments(&asked.args), span),
        Expr::GetAttr(field) => look_up(strict(&field.expr), constant(Value::from(field.name), span), span),
        Expr::GetItem(item) => look_up(strict(&item.expr), strict(&item.subscript_expr), span),
        Expr::Call(call) => {
            // The name of a method is not a field.
            let callee = match &call.expr {
                Expr::GetAttr(method) => Expr::GetAttr(Spanned::new(
                    GetAttr { expr: strict(&method.expr), name: method.name },
                    method.span(),
                )),
                other => strict(other),
            };
            Expr::Call(Spanned::new(Call { expr: callee, args: arguments(&call.args) }, span))
        }
        Expr::List(list) => Expr::List(Spanned::new(List { items: all(&list.items) }, span)),
        Expr::Tuple(tuple) => Expr::Tuple(Spanned::new(Tuple { items: all(&tuple.items) }, span)),
        Expr::Map(map) => Expr::Map(Spanned::new(Map { keys: all(&map.keys), values: all(&map.values) }, span)),
    }
}

/// The test that replaces a comparison; `None` for an operator that does not compare.
const fn rule(op: BinOpKind) -> Option<&'static str> {
    match op {
        BinOpKind::Eq => Some("=="),
        BinOpKind::Ne => Some("!="),
        BinOpKind::Lt => Some("<"),
        BinOpKind::Lte => Some("<="),
        BinOpKind::Gt => Some(">"),
        BinOpKind::Gte => Some(">="),
        BinOpKind::In => Some("in"),
        BinOpKind::ScAnd
        | BinOpKind::ScOr
        | BinOpKind::Add
        | BinOpKind::Sub
        | BinOpKind::Mul
        | BinOpKind::Div
        | BinOpKind::FloorDiv
        | BinOpKind::Rem
        | BinOpKind::Pow
        | BinOpKind::Concat => None,
    }
}

/// `a < b <= c`: one test for the whole chain, so that no part is written or evaluated twice.
fn chained<'a>(chain: &Compare<'a>, span: Span) -> Expr<'a> {
    let mut rest = Vec::with_capacity(2 * chain.ops.len());
    for next in &chain.ops {
        let name = match next.op {
            CompareOpKind::Eq => "==",
            CompareOpKind::Ne => "!=",
            CompareOpKind::Lt => "<",
            CompareOpKind::Lte => "<=",
            CompareOpKind::Gt => ">",
            CompareOpKind::Gte => ">=",
            CompareOpKind::In => "in",
            CompareOpKind::NotIn => "not in",
        };
        rest.push(CallArg::Pos(constant(Value::from(name), span)));
        rest.push(CallArg::Pos(strict(&next.expr)));
    }
    test(CHAIN, strict(&chain.expr), rest, span)
}

fn constant<'a>(value: Value, span: Span) -> Expr<'a> {
    Expr::Const(Spanned::new(Const { value }, span))
}

fn test<'a>(name: &'a str, expr: Expr<'a>, args: Vec<CallArg<'a>>, span: Span) -> Expr<'a> {
    Expr::Test(Spanned::new(Test { name, expr, args }, span))
}

fn look_up<'a>(whole: Expr<'a>, key: Expr<'a>, span: Span) -> Expr<'a> {
    Expr::Filter(Spanned::new(Filter { name: FIELD, expr: Some(whole), args: vec![CallArg::Pos(key)] }, span))
}

fn all<'a>(exprs: &[Expr<'a>]) -> Vec<Expr<'a>> {
    exprs.iter().map(strict).collect()
}

fn arguments<'a>(args: &[CallArg<'a>]) -> Vec<CallArg<'a>> {
    let argument = |arg: &CallArg<'a>| match arg {
        CallArg::Pos(expr) => CallArg::Pos(strict(expr)),
        CallArg::Kwarg(name, expr) => CallArg::Kwarg(name, strict(expr)),
        CallArg::PosSplat(expr) => CallArg::PosSplat(strict(expr)),
        CallArg::KwargSplat(expr) => CallArg::KwargSplat(strict(expr)),
    };
    args.iter().map(argument).collect()
}
