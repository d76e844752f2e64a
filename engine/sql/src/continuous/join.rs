//! stub
use super::operator::Operator;
use super::time::Bound;
use arrow::datatypes::SchemaRef;
use datafusion::common::{JoinType, Result, plan_err};
use datafusion::physical_expr::PhysicalExpr;
use std::sync::Arc;
#[derive(Clone, Debug)]
pub(crate) struct JoinPlan {
    pub(crate) kind: JoinType,
    pub(crate) on: Vec<(Arc<dyn PhysicalExpr>, Arc<dyn PhysicalExpr>)>,
    pub(crate) null_equals_null: bool,
    pub(crate) null_aware: bool,
    pub(crate) filter: Option<Arc<dyn PhysicalExpr>>,
    pub(crate) sides: [SidePlan; 2],
    pub(crate) output: SchemaRef,
    pub(crate) waits: bool,
    pub(crate) ttl: Option<i64>,
}
#[derive(Clone, Debug)]
pub(crate) struct SidePlan {
    pub(crate) schema: SchemaRef,
    pub(crate) updating: bool,
    pub(crate) expiry: Vec<Expiry>,
}
#[derive(Clone, Debug)]
pub(crate) struct Expiry {
    pub(crate) column: usize,
    pub(crate) bound: Bound,
    pub(crate) slack: i64,
}
#[derive(Clone, Debug)]
pub(crate) struct LookupPlan {
    pub(crate) kind: JoinType,
    pub(crate) on: Vec<(Arc<dyn PhysicalExpr>, Arc<dyn PhysicalExpr>)>,
    pub(crate) null_equals_null: bool,
    pub(crate) filter: Option<Arc<dyn PhysicalExpr>>,
    pub(crate) left: SchemaRef,
    pub(crate) right: SchemaRef,
    pub(crate) output: SchemaRef,
}
impl JoinPlan {
    pub(crate) fn operator(&self) -> Result<Box<dyn Operator>> {
        plan_err!("joins are missing")
    }
}
impl LookupPlan {
    pub(crate) fn operator(&self) -> Result<Box<dyn Operator>> {
        plan_err!("joins are missing")
    }
}
