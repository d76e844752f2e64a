//! What the parser reads in another way than people do: `->` and `->>` bind tighter than any other operator, and what stands
//! behind a dot is a member's name.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    AccessExpr, BinaryOperator, Expr, Value, ValueWithSpan, VisitMut, VisitorMut,
};

/// Reads expressions as people do.
pub(super) fn read_anew<T: VisitMut>(part: &mut T) {
    let _ = part.visit(&mut Anew);
}

struct Anew;

impl VisitorMut for Anew {
    type Break = ();

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        members(expr);
        if is_arrow(expr) {
            from_the_right(expr);
            from_the_left(expr);
        }
        ControlFlow::Continue(())
    }
}

/// `items[1].sku` is `items[1]['sku']`.
fn members(expr: &mut Expr) {
    let Expr::CompoundFieldAccess { access_chain, .. } = expr else {
        return;
    };
    for access in access_chain {
        if let AccessExpr::Dot(Expr::Identifier(name)) = access {
            let text = Value::SingleQuotedString(name.value.clone());
            *access = AccessExpr::Dot(Expr::Value(ValueWithSpan {
                value: text,
                span: name.span,
            }));
        }
    }
}

fn is_arrow(expr: &Expr) -> bool {
    let arrow =
        |op: &BinaryOperator| matches!(op, BinaryOperator::Arrow | BinaryOperator::LongArrow);
    matches!(expr, Expr::BinaryOp { op, .. } if arrow(op))
}

/// `a -> ('b' = c)` without parentheses is `(a -> 'b') = c`.
fn from_the_right(expr: &mut Expr) {
    let Expr::BinaryOp { right, .. } = expr else {
        return;
    };
    if first_operand(right).is_none() {
        return;
    }
    let whole = std::mem::replace(&mut **right, Expr::Identifier("x".into()));
    let mut arrow = std::mem::replace(expr, whole);
    let mut leaf = &mut *expr;
    while first_operand(leaf).is_some() {
        leaf = match first_operand(leaf) {
            Some(inner) => inner,
            None => return,
        };
    }
    if let Expr::BinaryOp { right, .. } = &mut arrow {
        **right = std::mem::replace(leaf, Expr::Identifier("x".into()));
    }
    *leaf = arrow;
    from_the_left(leaf);
}

/// `(a = b) -> 'c'` without parentheses is `a = (b -> 'c')`.
fn from_the_left(expr: &mut Expr) {
    if !is_arrow(expr) {
        return;
    }
    let Expr::BinaryOp { left, .. } = expr else {
        return;
    };
    if is_arrow(left) || last_operand(left).is_none() {
        return;
    }
    let whole = std::mem::replace(&mut **left, Expr::Identifier("x".into()));
    let mut arrow = std::mem::replace(expr, whole);
    let mut leaf = &mut *expr;
    while !is_arrow(leaf) && last_operand(leaf).is_some() {
        leaf = match last_operand(leaf) {
            Some(inner) => inner,
            None => return,
        };
    }
    if let Expr::BinaryOp { left, .. } = &mut arrow {
        **left = std::mem::replace(leaf, Expr::Identifier("x".into()));
    }
    *leaf = arrow;
}

fn first_operand(expr: &mut Expr) -> Option<&mut Expr> {
    match expr {
        Expr::BinaryOp { left, .. } => Some(left),
        Expr::IsNull(inner)
        | Expr::IsNotNull(inner)
        | Expr::IsTrue(inner)
        | Expr::IsNotTrue(inner)
        | Expr::IsFalse(inner)
        | Expr::IsNotFalse(inner)
        | Expr::IsDistinctFrom(inner, _)
        | Expr::IsNotDistinctFrom(inner, _)
        | Expr::Like { expr: inner, .. }
        | Expr::ILike { expr: inner, .. }
        | Expr::SimilarTo { expr: inner, .. }
        | Expr::InList { expr: inner, .. }
        | Expr::Between { expr: inner, .. } => Some(inner),
        _ => None,
    }
}

fn last_operand(expr: &mut Expr) -> Option<&mut Expr> {
    match expr {
        Expr::BinaryOp { right, .. } => Some(right),
        Expr::IsDistinctFrom(_, inner)
        | Expr::IsNotDistinctFrom(_, inner)
        | Expr::Like { pattern: inner, .. }
        | Expr::ILike { pattern: inner, .. }
        | Expr::SimilarTo { pattern: inner, .. }
        | Expr::Between { high: inner, .. }
        | Expr::UnaryOp { expr: inner, .. } => Some(inner),
        _ => None,
    }
}
