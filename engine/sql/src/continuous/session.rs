//! stub
use super::operator::Operator;
use super::time::Bound;
use arrow::datatypes::SchemaRef;
use datafusion::common::{Result, plan_err};
use datafusion::physical_expr::PhysicalExpr;
use std::sync::Arc;
#[derive(Clone, Debug)]
pub(crate) struct SessionPlan {
    pub(crate) input: SchemaRef,
    pub(crate) partition: Vec<Arc<dyn PhysicalExpr>>,
    pub(crate) time: usize,
    pub(crate) bound: Bound,
    pub(crate) gap: i64,
    pub(crate) output: SchemaRef,
    pub(crate) waits: bool,
}
impl SessionPlan {
    pub(crate) fn operator(&self) -> Result<Box<dyn Operator>> {
        plan_err!("missing")
    }
}
