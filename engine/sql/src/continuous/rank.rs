//! stub
use super::operator::Operator;
use super::time::Bound;
use arrow::datatypes::SchemaRef;
use datafusion::common::{Result, plan_err};
use datafusion::physical_expr::{PhysicalExpr, PhysicalSortExpr};
use std::sync::Arc;
#[derive(Clone, Copy, Debug)]
pub(crate) enum RankFunction {
    RowNumber,
    Rank,
    DenseRank,
}
#[derive(Clone, Debug)]
pub(crate) struct RankPlan {
    pub(crate) input: SchemaRef,
    pub(crate) updating: bool,
    pub(crate) partition: Vec<Arc<dyn PhysicalExpr>>,
    pub(crate) order: Vec<PhysicalSortExpr>,
    pub(crate) function: RankFunction,
    pub(crate) skip: u64,
    pub(crate) limit: u64,
    pub(crate) numbered: bool,
    pub(crate) output: SchemaRef,
    pub(crate) close: Option<(usize, Bound)>,
    pub(crate) waits: bool,
    pub(crate) ttl: Option<i64>,
}
impl RankPlan {
    pub(crate) fn operator(&self) -> Result<Box<dyn Operator>> {
        plan_err!("ranks are missing")
    }
}
