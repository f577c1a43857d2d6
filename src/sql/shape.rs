//! What the JSON columns of a plan's nodes are made of, followed from where they are built.

use super::expr::common_shape;
use super::plan::{Aggregate, Expr, Function, JoinKind, Node};
use crate::value::{Column, Type};

/// Of the last node's columns; `None`: no JSON, or nothing is known of it. `columns`: by node.
pub fn of_plan(nodes: &[Node], columns: &[Vec<Column>]) -> Vec<Option<Type>> {
    let mut shapes: Vec<Vec<Option<Type>>> = Vec::with_capacity(nodes.len());
    for (node, columns_of) in nodes.iter().zip(columns) {
        let of = match node {
            Node::Scan { .. } => vec![None; columns_of.len()],
            Node::Filter { input, .. } | Node::TopN { input, .. } | Node::Output { input, .. } => {
                shapes[*input].clone()
            }
            Node::Map { input, exprs, .. } => {
                exprs.iter().map(|expr| of_expr(expr, &shapes[*input])).collect()
            }
            Node::Expand { input, .. } => {
                let mut all = shapes[*input].clone();
                all.resize(columns_of.len(), None);
                all
            }
            Node::Join { left, right, kind: JoinKind::Inner | JoinKind::Left, .. } => {
                [shapes[*left].as_slice(), &shapes[*right]].concat()
            }
            Node::Join { left, .. } => shapes[*left].clone(),
            Node::Union { inputs } => {
                let common = |at: usize| {
                    let mut all = inputs.iter().map(|input| shapes[*input].get(at)?.clone());
                    let first = all.next()??;
                    all.try_fold(first, |known, other| common_shape(&known, &other?))
                };
                (0..columns_of.len()).map(common).collect()
            }
            Node::Aggregate { input, group, aggregates, .. } => {
                let (shapes, columns) = (&shapes[*input], &columns[*input]);
                let groups = group.iter().map(|at| shapes.get(*at).cloned().flatten());
                let of = |aggregate: &Aggregate| of_aggregate(aggregate, shapes, columns);
                groups.chain(aggregates.iter().map(of)).collect()
            }
        };
        shapes.push(of);
    }
    shapes.pop().unwrap_or_default()
}

fn of_expr(expr: &Expr, inputs: &[Option<Type>]) -> Option<Type> {
    match expr {
        Expr::Column(at) => inputs.get(*at).cloned().flatten(),
        Expr::Computed(expr) => expr.json_shape(inputs),
    }
}

fn of_aggregate(
    aggregate: &Aggregate,
    inputs: &[Option<Type>],
    columns: &[Column],
) -> Option<Type> {
    let at = *aggregate.arguments.first()?;
    let known = inputs.get(at).cloned().flatten();
    match aggregate.function {
        Function::Single => known,
        Function::JsonAgg | Function::JsonAggRows | Function::JsonbAgg => {
            let element = match &columns.get(at)?.ty {
                Type::Json | Type::Jsonb => known?,
                ty => ty.clone(),
            };
            Some(Type::Array(Box::new(element), b','))
        }
        _ => None,
    }
}
