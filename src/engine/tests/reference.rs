//! Each operator computed out of whole relations, as its definition reads: what the engine is held to.

use std::collections::BTreeMap;

use crate::engine::row::{Key, RowLayout, Verdict, evaluate, judge};
use crate::sql::expr::{Series, SeriesRows};
use crate::sql::plan::{self, Expr, Function, JoinKind, Node, Plan};
use crate::value::{self, Column, Type};

/// Rows and how often each is there.
pub(super) type Bag = BTreeMap<Vec<u8>, i64>;

struct Relation {
    layout: RowLayout,
    rows: Bag,
}

/// The output's rows by key: what is to be shown, and the keys that cannot be.
pub(super) struct Answer {
    pub(super) shown: BTreeMap<Vec<u8>, Vec<u8>>,
    pub(super) withheld: Vec<Vec<u8>>,
}

pub(super) fn answer(plan: &Plan, tables: &[(Vec<Column>, Bag)]) -> Answer {
    let mut relations: Vec<Relation> = Vec::new();
    for node in &plan.nodes {
        if let Node::Output { input, key } = node {
            return output(&relations[*input], key);
        }
        let inputs: Vec<&Relation> = node.inputs().iter().map(|&input| &relations[input]).collect();
        let columns: Vec<&[Column]> =
            inputs.iter().map(|relation| relation.layout.columns.as_slice()).collect();
        let (columns, rows) = match node {
            Node::Scan { table } => (tables[*table].0.clone(), tables[*table].1.clone()),
            node => (node.columns(&columns), rows(node, &inputs)),
        };
        relations.push(Relation { layout: RowLayout::new(columns), rows });
    }
    unreachable!("a plan ends with its output")
}

fn rows(node: &Node, inputs: &[&Relation]) -> Bag {
    match node {
        Node::Filter { condition, .. } => filter(inputs[0], condition),
        Node::Map { exprs, .. } => map(inputs[0], exprs),
        Node::Expand { list, series, outer, columns, .. } => {
            expand(inputs[0], list, series, *outer, columns.len())
        }
        Node::Union { .. } => union(inputs),
        Node::Join { kind, on, residual, .. } => {
            join(inputs[0], inputs[1], *kind, on, residual.as_ref())
        }
        Node::Aggregate { group, aggregates, scalar, .. } => {
            aggregate(inputs[0], group, aggregates, *scalar)
        }
        Node::TopN { partition, order, limit, offset, .. } => {
            top_n(inputs[0], partition, order, *limit, *offset)
        }
        Node::Scan { .. } | Node::Output { .. } => unreachable!("made apart"),
    }
}

/// Where columns and a row's own error are.
fn parts(layout: &RowLayout, row: &[u8]) -> (Vec<std::ops::Range<usize>>, usize) {
    let mut ranges = Vec::new();
    let end = layout.split(row, &mut ranges).expect("a row");
    (ranges, end)
}

fn key_of(layout: &RowLayout, row: &[u8], key: &Key) -> Option<Vec<u8>> {
    let (ranges, mut bytes) = (parts(layout, row).0, Vec::new());
    key.write(row, &ranges, &mut bytes).expect("a row");
    key.error(row, &ranges).is_none().then_some(bytes)
}

fn add(bag: &mut Bag, row: Vec<u8>, weight: i64) {
    *bag.entry(row).or_default() += weight;
    bag.retain(|_, weight| *weight != 0);
}

fn filter(input: &Relation, condition: &Expr) -> Bag {
    let mut out = Bag::new();
    for (row, &weight) in &input.rows {
        let (ranges, end) = parts(&input.layout, row);
        let mut buffer = Vec::new();
        let error = match judge(condition, row, &ranges, &mut buffer) {
            Verdict::False => continue,
            Verdict::True => Vec::new(),
            Verdict::Error(error) => error.to_vec(),
        };
        let error = if end < row.len() { Vec::new() } else { error };
        add(&mut out, [row.as_slice(), &error].concat(), weight);
    }
    out
}

fn map(input: &Relation, exprs: &[Expr]) -> Bag {
    let mut out = Bag::new();
    for (row, &weight) in &input.rows {
        let (ranges, end) = parts(&input.layout, row);
        let mut new = Vec::new();
        exprs.iter().for_each(|expr| evaluate(expr, row, &ranges, &mut new));
        new.extend_from_slice(&row[end..]);
        add(&mut out, new, weight);
    }
    out
}

fn expand(input: &Relation, list: &Expr, series: &Series, outer: bool, width: usize) -> Bag {
    let (mut out, mut made) = (Bag::new(), SeriesRows::default());
    for (row, &weight) in &input.rows {
        let (ranges, end) = parts(&input.layout, row);
        let mut value = Vec::new();
        evaluate(list, row, &ranges, &mut value);
        let more: Vec<Vec<u8>> = match series.write(&value, &mut made) {
            _ if value::is_error(&value) => vec![value.repeat(width)],
            Ok(()) => made.iter().map(<[u8]>::to_vec).collect(),
            Err(failed) => {
                let mut error = Vec::new();
                value::encode_error(&failed.to_string(), &mut error);
                vec![error.repeat(width)]
            }
        };
        let none = (more.is_empty() && outer).then(|| vec![value::NULL; width]);
        for more in more.iter().chain(&none) {
            add(&mut out, [&row[..end], more, &row[end..]].concat(), weight);
        }
    }
    out
}

fn union(inputs: &[&Relation]) -> Bag {
    let mut out = Bag::new();
    for (row, &weight) in inputs.iter().flat_map(|input| &input.rows) {
        add(&mut out, row.clone(), weight);
    }
    out
}

fn join(
    left: &Relation,
    right: &Relation,
    kind: JoinKind,
    on: &[(usize, usize)],
    residual: Option<&Expr>,
) -> Bag {
    let (left_on, right_on): (Vec<_>, Vec<_>) = on.iter().copied().unzip();
    let (by_left, by_right) =
        (Key::new(&left.layout, &left_on), Key::new(&right.layout, &right_on));
    let has_null = |relation: &Relation, key: &Key, row: &[u8]| {
        key.has_null(row, &parts(&relation.layout, row).0)
    };
    let pair_layout =
        RowLayout::new([left.layout.columns.clone(), right.layout.columns.clone()].concat());
    let right_has_null = right.rows.keys().any(|row| has_null(right, &by_right, row));
    let mut out = Bag::new();
    for (row, &weight) in &left.rows {
        let Some(key) = key_of(&left.layout, row, &by_left) else { continue };
        let null = has_null(left, &by_left, row);
        let (row, own_error) = row.split_at(parts(&left.layout, row).1);
        let (mut partners, mut unknown) = (0, 0);
        for (partner, &times) in &right.rows {
            if null || key_of(&right.layout, partner, &by_right) != Some(key.clone()) {
                continue;
            }
            let (partner, error) = partner.split_at(parts(&right.layout, partner).1);
            let pair = [row, partner].concat();
            let mut buffer = Vec::new();
            let verdict = match residual {
                None => Verdict::True,
                Some(residual) => {
                    judge(residual, &pair, &parts(&pair_layout, &pair).0, &mut buffer)
                }
            };
            let verdict_error = match verdict {
                Verdict::False => continue,
                Verdict::True => {
                    partners += times;
                    &[][..]
                }
                Verdict::Error(error) => {
                    unknown += times;
                    error
                }
            };
            if matches!(kind, JoinKind::Inner | JoinKind::Left) {
                let errors = [own_error, error, verdict_error];
                let error = errors.into_iter().find(|error| !error.is_empty()).unwrap_or_default();
                add(&mut out, [&pair, error].concat(), weight * times);
            }
        }
        let mut refused = row.to_vec();
        value::encode_error("the condition cannot be evaluated", &mut refused);
        let whole = [row, own_error].concat();
        let alone = match kind {
            JoinKind::Inner => None,
            JoinKind::Left if partners + unknown > 0 => None,
            JoinKind::Left => {
                let nulls = vec![value::NULL; right.layout.columns.len()];
                Some([row, &nulls, own_error].concat())
            }
            JoinKind::Semi if partners > 0 => Some(whole),
            JoinKind::Semi if unknown > 0 => Some(refused),
            JoinKind::Semi => None,
            JoinKind::Anti if partners > 0 => None,
            JoinKind::Anti if unknown > 0 => Some(refused),
            JoinKind::Anti => Some(whole),
            JoinKind::AntiNull if right.rows.is_empty() => Some(whole),
            JoinKind::AntiNull if right_has_null || null || partners > 0 => None,
            JoinKind::AntiNull => Some(whole),
        };
        if let Some(alone) = alone {
            add(&mut out, alone, weight);
        }
    }
    out
}

/// Groups' rows, one by one as often as they are there, in the order of the rows' bytes.
fn groups(input: &Relation, key: &Key) -> BTreeMap<Vec<u8>, Vec<Vec<u8>>> {
    let mut groups: BTreeMap<Vec<u8>, Vec<Vec<u8>>> = BTreeMap::new();
    for (row, &weight) in &input.rows {
        if let Some(key) = key_of(&input.layout, row, key) {
            let rows = groups.entry(key).or_default();
            rows.extend((0..weight).map(|_| row.clone()));
        }
    }
    groups
}

fn aggregate(input: &Relation, group: &[usize], of: &[plan::Aggregate], scalar: bool) -> Bag {
    let mut groups = groups(input, &Key::new(&input.layout, group));
    if scalar {
        groups.entry(Vec::new()).or_default();
    }
    let mut out = Bag::new();
    for rows in groups.into_values() {
        let mut new = Vec::new();
        if let Some(first) = rows.first() {
            let ranges = parts(&input.layout, first).0;
            group.iter().for_each(|&at| new.extend_from_slice(&first[ranges[at].clone()]));
        }
        for aggregate in of {
            match call(input, aggregate, &rows) {
                Ok(datum) => new.extend_from_slice(&datum),
                Err(error) => new.extend_from_slice(&error),
            }
        }
        let own_errors = rows.iter().map(|row| &row[parts(&input.layout, row).1..]);
        new.extend_from_slice(
            own_errors.filter(|error| !error.is_empty()).min().unwrap_or_default(),
        );
        add(&mut out, new, 1);
    }
    out
}

/// One aggregate over one group's rows: its datum, or the error's.
fn call(input: &Relation, of: &plan::Aggregate, rows: &[Vec<u8>]) -> Result<Vec<u8>, Vec<u8>> {
    let datum = |row: &[u8], at: usize| row[parts(&input.layout, row).0[at].clone()].to_vec();
    let lists = !matches!(
        of.function,
        Function::Count
            | Function::Sum
            | Function::Avg
            | Function::VarSamp
            | Function::VarPop
            | Function::StddevSamp
            | Function::StddevPop
            | Function::Min
            | Function::Max
            | Function::BoolAnd
            | Function::BoolOr
            | Function::BitAnd
            | Function::BitOr
            | Function::BitXor
    );
    let order = if lists { of.order.as_slice() } else { &[] };
    // (order, arguments) of each row that counts.
    let mut counted: Vec<(Vec<u8>, Vec<Vec<u8>>)> = Vec::new();
    let mut errors = Vec::new();
    let by = Key::ordered(&input.layout, order.iter().copied());
    for row in rows {
        match of.filter.map(|at| datum(row, at)) {
            Some(filter) if value::is_error(&filter) => {
                errors.push(filter);
                continue;
            }
            Some(filter) if filter != [1] => continue,
            _ => {}
        }
        let arguments: Vec<Vec<u8>> = of.arguments.iter().map(|&at| datum(row, at)).collect();
        let ordering = order.iter().map(|order| datum(row, order.column));
        if let Some(e) = arguments.iter().cloned().chain(ordering).find(|d| value::is_error(d)) {
            errors.push(e);
            continue;
        }
        let mut key = Vec::new();
        by.write(row, &parts(&input.layout, row).0, &mut key).expect("a row");
        counted.push((key, arguments));
    }
    if let Some(error) = errors.into_iter().min() {
        return Err(error);
    }
    counted.sort();
    if of.distinct {
        let mut seen = std::collections::BTreeSet::new();
        counted.retain(|(_, arguments)| seen.insert(arguments.clone()));
    }
    let ty = of.arguments.first().map(|&at| input.layout.ty(at).clone());
    let values: Vec<&Vec<u8>> = match ty {
        Some(_) => counted.iter().map(|(_, arguments)| &arguments[0]).collect(),
        None => Vec::new(),
    };
    let known: Vec<&Vec<u8>> = values.iter().copied().filter(|v| !value::is_null(v)).collect();
    let numbers =
        || known.iter().map(|datum| value::int_of(&Type::Int4, datum).expect("an integer"));
    let datum_of = |ty: &Type, text: String| {
        let mut out = Vec::new();
        value::encode(ty, text.as_bytes(), &mut out).expect("a value");
        out
    };
    let texts = || {
        values.iter().map(|datum| match value::is_null(datum) {
            true => None,
            false => {
                let mut text = Vec::new();
                value::write_text(&Type::Int4, datum, &mut text).expect("an integer");
                Some(String::from_utf8(text).expect("digits"))
            }
        })
    };
    let null = vec![value::NULL];
    Ok(match of.function {
        Function::Count if ty.is_none() => datum_of(&Type::Int8, counted.len().to_string()),
        Function::Count => datum_of(&Type::Int8, known.len().to_string()),
        _ if known.is_empty() && !lists => null,
        Function::Sum => datum_of(&Type::Int8, numbers().sum::<i64>().to_string()),
        Function::Avg => {
            let sum = value::Decimal::of_int(numbers().sum());
            let avg = sum.div(&value::Decimal::of_int(known.len() as i64)).expect("not zero");
            datum_of(&Type::Numeric, avg.to_string())
        }
        Function::Min => (*known.iter().min().expect("not empty")).clone(),
        Function::Max => (*known.iter().max().expect("not empty")).clone(),
        Function::BoolAnd | Function::BoolOr => {
            let all = matches!(of.function, Function::BoolAnd);
            let is_true = |datum: &&Vec<u8>| datum.as_slice() == [1];
            vec![u8::from(if all { known.iter().all(is_true) } else { known.iter().any(is_true) })]
        }
        Function::Single => match values.as_slice() {
            [] => null,
            [one] => (*one).clone(),
            _ => {
                let mut error = Vec::new();
                let text = "more than one row returned by a subquery used as an expression";
                value::encode_error(text, &mut error);
                return Err(error);
            }
        },
        _ if values.is_empty() => null,
        Function::ArrayAgg => {
            let texts: Vec<String> = texts().map(|t| t.unwrap_or("NULL".into())).collect();
            datum_of(&of.column.ty, format!("{{{}}}", texts.join(",")))
        }
        Function::JsonbAgg => {
            let texts: Vec<String> = texts().map(|t| t.unwrap_or("null".into())).collect();
            datum_of(&Type::Jsonb, format!("[{}]", texts.join(", ")))
        }
        function => unreachable!("{function:?} is not among the random ones"),
    })
}

fn top_n(
    input: &Relation,
    partition: &[usize],
    order: &[plan::Order],
    limit: Option<u64>,
    offset: u64,
) -> Bag {
    let by = Key::ordered(&input.layout, order.iter().copied());
    let mut out = Bag::new();
    for mut rows in groups(input, &Key::new(&input.layout, partition)).into_values() {
        rows.sort_by_key(|row| {
            let mut key = Vec::new();
            by.write(row, &parts(&input.layout, row).0, &mut key).expect("a row");
            (key, row.clone())
        });
        let limit = limit.map_or(usize::MAX, |limit| limit as usize);
        for row in rows.into_iter().skip(offset as usize).take(limit) {
            add(&mut out, row, 1);
        }
    }
    out
}

fn output(input: &Relation, key: &[usize]) -> Answer {
    let mut by_key: BTreeMap<Vec<u8>, Vec<&[u8]>> = BTreeMap::new();
    for (row, &weight) in &input.rows {
        let ranges = parts(&input.layout, row).0;
        let key = key.iter().flat_map(|&at| row[ranges[at].clone()].to_vec()).collect();
        by_key.entry(key).or_default().extend((0..weight).map(|_| row.as_slice()));
    }
    let mut answer = Answer { shown: BTreeMap::new(), withheld: Vec::new() };
    for (key, rows) in by_key {
        let (ranges, end) = parts(&input.layout, rows[0]);
        let good = end == rows[0].len()
            && !ranges.iter().any(|range| value::is_error(&rows[0][range.clone()]));
        if rows.len() == 1 && good {
            answer.shown.insert(key, rows[0].to_vec());
        } else {
            answer.withheld.push(key);
        }
    }
    answer
}
