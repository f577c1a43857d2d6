//! What a JSON value is made of that an expression builds: the types of its parts, as far as they are the
//! same for every row. An object is written as a composite type here, an array as one of arrays.

use crate::value::{Scalar, Type};

use super::Expr;
use super::node::{Call, Node};

/// Deeper ones are not looked into.
const DEPTH_MAX: usize = 10;

impl Expr {
    /// `None`: it is no JSON, or may be any. `inputs`: the same of the row's columns.
    pub fn json_shape(&self, inputs: &[Option<Type>]) -> Option<Type> {
        if !is_json(&self.ty.stored) {
            return None;
        }
        match shape(&self.node, &self.ty.stored, inputs, 0) {
            Shape::Of(ty) if !is_json(&ty) => Some(ty),
            Shape::Of(_) | Shape::Empty | Shape::Unknown => None,
        }
    }
}

/// What is common to values of several origins; `None`: nothing.
pub fn common_shape(a: &Type, b: &Type) -> Option<Type> {
    match (a, b) {
        _ if a == b => Some(a.clone()),
        (Type::Array(a, delimiter), Type::Array(b, _)) => {
            Some(Type::Array(Box::new(common_shape(a, b)?), *delimiter))
        }
        (Type::Composite(a), Type::Composite(b)) => {
            let mut parts = a.to_vec();
            for (name, ty) in b.iter() {
                match parts.iter_mut().find(|(known, _)| known == name) {
                    Some((_, known)) => *known = common_shape(known, ty)?,
                    None => parts.push((name.clone(), ty.clone())),
                }
            }
            Some(Type::Composite(parts.into()))
        }
        _ => None,
    }
}

enum Shape {
    /// NULL, or an object or array without parts: it fits any.
    Empty,
    Of(Type),
    Unknown,
}

impl Shape {
    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Shape::Empty, shape) | (shape, Shape::Empty) => shape,
            (Shape::Of(a), Shape::Of(b)) => common_shape(&a, &b).map_or(Shape::Unknown, Shape::Of),
            _ => Shape::Unknown,
        }
    }

    fn part(self) -> Type {
        match self {
            Shape::Of(ty) => ty,
            Shape::Empty | Shape::Unknown => Type::Jsonb,
        }
    }
}

fn is_json(ty: &Type) -> bool {
    matches!(ty, Type::Json | Type::Jsonb)
}

fn shape(node: &Node, ty: &Type, inputs: &[Option<Type>], depth: usize) -> Shape {
    if !is_json(ty) {
        return Shape::Of(ty.clone());
    }
    if depth > DEPTH_MAX {
        return Shape::Unknown;
    }
    let below = |node: &Node| shape(node, ty, inputs, depth + 1);
    match node {
        Node::Const(Scalar::Null) => Shape::Empty,
        Node::Const(Scalar::Text(text)) if matches!(text.trim(), "[]" | "{}" | "null") => {
            Shape::Empty
        }
        Node::Column { position, .. } => {
            inputs.get(*position).cloned().flatten().map_or(Shape::Unknown, Shape::Of)
        }
        Node::Coalesce(of) => of.iter().map(below).fold(Shape::Empty, Shape::and),
        Node::NullIf(of) => below(&of.left),
        Node::Case { branches, otherwise, .. } => {
            branches.iter().map(|(_, result)| below(result)).fold(below(otherwise), Shape::and)
        }
        Node::Call(call) => built(call, inputs, depth + 1),
        _ => Shape::Unknown,
    }
}

fn built(call: &Call, inputs: &[Option<Type>], depth: usize) -> Shape {
    let mut parts = std::iter::zip(&call.arguments, &call.types.arguments)
        .map(|(node, ty)| shape(node, ty, inputs, depth));
    match call.name {
        "to_jsonb" | "to_json" | "jsonb_strip_nulls" | "json_strip_nulls" => {
            parts.next().unwrap_or(Shape::Unknown)
        }
        "jsonb_build_array" | "json_build_array" => match parts.fold(Shape::Empty, Shape::and) {
            Shape::Of(element) => Shape::Of(Type::Array(Box::new(element), b',')),
            other => other,
        },
        "jsonb_build_object" | "json_build_object" | "row_to_json" => {
            let names = call.arguments.iter().step_by(2).map(|node| match node {
                Node::Const(Scalar::Text(name)) if is_field(name) => Some(name.to_string()),
                _ => None,
            });
            let Some(mut names) = names.collect::<Option<Vec<String>>>() else {
                return Shape::Unknown;
            };
            let types = parts.skip(1).step_by(2).map(Shape::part);
            let object: Vec<(String, Type)> = names.iter().cloned().zip(types).collect();
            names.sort_unstable();
            names.dedup();
            if names.len() != object.len() {
                return Shape::Unknown;
            }
            Shape::Of(Type::Composite(object.into()))
        }
        _ => Shape::Unknown,
    }
}

/// A name that every store of documents takes for a field's.
fn is_field(name: &str) -> bool {
    !name.trim().is_empty() && !name.contains(['.', '\0'])
}
