//! stub
use super::operator::Operator;
use super::time::Bound;
use arrow::datatypes::SchemaRef;
use datafusion::common::{DFSchema, Result, config::ConfigOptions, plan_err};
use datafusion::logical_expr::Expr;
use std::sync::Arc;
#[derive(Clone, Debug)]
pub(crate) struct OverPlan {
    pub(crate) updating: bool,
    pub(crate) output: SchemaRef,
    pub(crate) close: Option<(usize, Bound)>,
    pub(crate) waits: bool,
    pub(crate) ttl: Option<i64>,
}
impl OverPlan {
    pub(crate) fn new(_: &[Expr], _: &DFSchema, _: &Arc<ConfigOptions>) -> Result<Self> {
        plan_err!("missing")
    }
    pub(crate) fn operator(&self) -> Result<Box<dyn Operator>> {
        plan_err!("missing")
    }
}
