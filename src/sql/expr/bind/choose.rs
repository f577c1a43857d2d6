//! Which operator or function is meant: Postgres' own choice among all that have the name (manual,
//! chapter 10; parse_func.c).

use super::super::catalog::{
    ANY, ANYARRAY, ANYCOMPATIBLE, ANYCOMPATIBLEARRAY, ANYCOMPATIBLENONARRAY, ANYELEMENT, ANYENUM,
    ANYMULTIRANGE, ANYNONARRAY, ANYRANGE, CATALOG, Cast, Method, Oid, Signature, TEXT, UNKNOWN,
};
use super::types::Known;

/// A signature for a certain number of arguments.
#[derive(Clone, Debug)]
pub(super) struct Candidate {
    pub(super) signature: &'static Signature,
    /// As many as there are arguments: the variadic one repeated, those with defaults left out.
    pub(super) arguments: Vec<Oid>,
}

/// What came of a choice.
pub(super) enum Choice {
    One(Candidate),
    None,
    Several,
}

pub(super) const STRING: u8 = b'S';

/// From `func_get_detail`, the exact match first.
pub(super) fn choose(known: Known<'_>, inputs: &[Oid], candidates: &[Candidate]) -> Choice {
    if let Some(exact) = candidates.iter().find(|candidate| candidate.arguments == inputs) {
        return Choice::One(exact.clone());
    }
    let matching: Vec<&Candidate> =
        candidates.iter().filter(|candidate| takes(known, candidate, inputs)).collect();
    match matching.as_slice() {
        [] => Choice::None,
        [one] => Choice::One((*one).clone()),
        _ => match select(known, inputs, matching) {
            Some(one) => Choice::One(one.clone()),
            None => Choice::Several,
        },
    }
}

/// `func_match_argtypes`.
fn takes(known: Known<'_>, candidate: &Candidate, inputs: &[Oid]) -> bool {
    candidate.arguments.len() == inputs.len()
        && inputs.iter().zip(&candidate.arguments).all(|(&input, &to)| converts(known, input, to))
        && resolve(known, &candidate.arguments, candidate.signature.result, inputs).is_some()
}

/// `func_select_candidate`.
fn select<'c>(
    known: Known<'_>,
    inputs: &[Oid],
    mut candidates: Vec<&'c Candidate>,
) -> Option<&'c Candidate> {
    let bases: Vec<Oid> = inputs
        .iter()
        .map(|&input| if input == UNKNOWN { UNKNOWN } else { known.base(input).0 })
        .collect();
    let unknown: Vec<usize> = (0..bases.len()).filter(|at| bases[*at] == UNKNOWN).collect();
    let known_at: Vec<usize> = (0..bases.len()).filter(|at| bases[*at] != UNKNOWN).collect();
    let exact = |candidate: &&Candidate| {
        known_at.iter().filter(|&&at| candidate.arguments[at] == bases[at]).count()
    };
    keep_best(&mut candidates, exact);
    if let [one] = candidates.as_slice() {
        return Some(one);
    }
    let preferred = |candidate: &&Candidate| {
        let good = |&&at: &&usize| {
            let (ty, (category, _)) = (candidate.arguments[at], known.category(bases[at]));
            ty == bases[at] || known.category(ty) == (category, true)
        };
        known_at.iter().filter(good).count()
    };
    keep_best(&mut candidates, preferred);
    if let [one] = candidates.as_slice() {
        return Some(one);
    }
    if unknown.is_empty() {
        return None;
    }
    if let Some(slots) = categories(known, &unknown, &candidates) {
        let fits = |candidate: &&&Candidate| {
            unknown.iter().zip(&slots).all(|(&at, &(wanted, has_preferred))| {
                let (category, is_preferred) = known.category(candidate.arguments[at]);
                category == wanted && (!has_preferred || is_preferred)
            })
        };
        let fitting: Vec<&Candidate> = candidates.iter().filter(fits).copied().collect();
        if !fitting.is_empty() {
            candidates = fitting;
        }
        if let [one] = candidates.as_slice() {
            return Some(one);
        }
    }
    // The unknown ones may be of the one type that the known ones are of.
    let mut types = known_at.iter().map(|&at| bases[at]);
    let ty = types.next()?;
    if types.any(|other| other != ty) {
        return None;
    }
    let all_of_it = vec![ty; inputs.len()];
    let mut taking = candidates.into_iter().filter(|candidate| takes(known, candidate, &all_of_it));
    let one = taking.next()?;
    taking.next().is_none().then_some(one)
}

fn keep_best(candidates: &mut Vec<&Candidate>, rank: impl Fn(&&Candidate) -> usize) {
    let best = candidates.iter().map(&rank).max().unwrap_or(0);
    candidates.retain(|candidate| rank(candidate) == best);
}

/// For each unknown argument the category of types that it should have, if there is one.
fn categories(
    known: Known<'_>,
    unknown: &[usize],
    candidates: &[&Candidate],
) -> Option<Vec<(u8, bool)>> {
    let mut slots = Vec::new();
    for &at in unknown {
        let mut slot: Option<(u8, bool)> = None;
        let mut conflict = false;
        for candidate in candidates {
            let (category, preferred) = known.category(candidate.arguments[at]);
            slot = Some(match slot {
                None => (category, preferred),
                Some((found, any)) if found == category => (found, any || preferred),
                Some(_) if category == STRING => (STRING, preferred),
                Some(found) => {
                    conflict = true;
                    found
                }
            });
        }
        let slot = slot?;
        if conflict && slot.0 != STRING {
            return None;
        }
        slots.push(slot);
    }
    Some(slots)
}

/// How one type becomes another.
#[derive(Clone, Copy)]
pub(super) enum Path {
    Same,
    Cast(Cast),
    /// Element by element.
    Array,
    /// By way of the text.
    Text,
}

/// In which way a conversion is asked for; each allows what the ones before it do.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Asked {
    Implicit,
    Explicit,
}

/// `find_coercion_pathway`.
pub(super) fn path(known: Known<'_>, from: Oid, to: Oid, asked: Asked) -> Option<Path> {
    let (from, to) = (known.base(from).0, known.base(to).0);
    if from == to {
        return Some(Path::Same);
    }
    if let Some(cast) = CATALOG.casts.get(&(from, to)) {
        let allowed = cast.context == b'i' || asked == Asked::Explicit;
        return allowed.then_some(match cast.method {
            Method::Text => Path::Text,
            _ => Path::Cast(*cast),
        });
    }
    if let (Some(from), Some(to)) = (known.element(from), known.element(to)) {
        return path(known, from, to, asked).map(|_| Path::Array);
    }
    let string = |oid| known.category(oid).0 == STRING;
    (asked == Asked::Explicit && (string(from) || string(to))).then_some(Path::Text)
}

/// `can_coerce_type`, implicitly.
pub(super) fn converts(known: Known<'_>, from: Oid, to: Oid) -> bool {
    from == to
        || from == UNKNOWN
        || to == ANY
        || is_generic(to)
        || (known.is_row(from) && known.is_row(to))
        || path(known, from, to, Asked::Implicit).is_some()
}

pub(super) fn is_generic(oid: Oid) -> bool {
    matches!(
        oid,
        ANYELEMENT
            | ANYARRAY
            | ANYNONARRAY
            | ANYENUM
            | ANYRANGE
            | ANYMULTIRANGE
            | ANYCOMPATIBLE
            | ANYCOMPATIBLEARRAY
            | ANYCOMPATIBLENONARRAY
            | 5080
            | 4538
    )
}

fn is_compatible(oid: Oid) -> bool {
    matches!(oid, ANYCOMPATIBLE | ANYCOMPATIBLEARRAY | ANYCOMPATIBLENONARRAY)
}

/// The types that the arguments and the result of a generic signature come to with these inputs;
/// `None` where they do not go together.
pub(super) fn resolve(
    known: Known<'_>,
    arguments: &[Oid],
    result: Oid,
    inputs: &[Oid],
) -> Option<(Vec<Oid>, Oid)> {
    if !arguments.iter().any(|&ty| is_generic(ty)) {
        return Some((arguments.to_vec(), result));
    }
    let pairs = || arguments.iter().copied().zip(inputs.iter().map(|&input| known.base(input).0));
    let mut element = None;
    let mut compatible = Vec::new();
    for (declared, input) in pairs() {
        if input == UNKNOWN {
            continue;
        }
        let mut same = |ty: Oid| *element.get_or_insert(ty) == ty;
        match declared {
            ANYELEMENT => same(input).then_some(())?,
            ANYNONARRAY => (!known.is_array(input) && same(input)).then_some(())?,
            ANYENUM => (known.is_enum(input) && same(input)).then_some(())?,
            ANYARRAY => same(known.element(input)?).then_some(())?,
            ANYCOMPATIBLE => compatible.push(input),
            ANYCOMPATIBLENONARRAY => {
                (!known.is_array(input)).then_some(())?;
                compatible.push(input);
            }
            ANYCOMPATIBLEARRAY => compatible.push(known.element(input)?),
            ANYRANGE | ANYMULTIRANGE | 5080 | 4538 => return None,
            _ => {}
        }
    }
    let common = match compatible.is_empty() {
        true if pairs().any(|(declared, _)| is_compatible(declared)) => TEXT,
        true => UNKNOWN,
        false => common_type(known, &compatible)?,
    };
    let concrete = |ty: Oid| {
        Some(match ty {
            ANYELEMENT | ANYNONARRAY | ANYENUM => element?,
            ANYARRAY => known.array_of(element?)?,
            ANYCOMPATIBLE | ANYCOMPATIBLENONARRAY if common != UNKNOWN => common,
            ANYCOMPATIBLEARRAY if common != UNKNOWN => known.array_of(common)?,
            ty if is_generic(ty) => return None,
            ty => ty,
        })
    };
    let arguments: Option<Vec<Oid>> = arguments.iter().map(|&ty| concrete(ty)).collect();
    Some((arguments?, concrete(result)?))
}

/// `select_common_type`; `None` where there is none.
pub(super) fn common_type(known: Known<'_>, types: &[Oid]) -> Option<Oid> {
    let mut types = types.iter().copied();
    let Some(first) = types.next() else { return Some(TEXT) };
    if first != UNKNOWN && types.clone().all(|ty| ty == first) {
        return Some(first);
    }
    let mut found = known.base(first).0;
    for ty in types.map(|ty| known.base(ty).0) {
        if ty == UNKNOWN || ty == found {
            continue;
        }
        if found == UNKNOWN {
            found = ty;
            continue;
        }
        let ((category, preferred), (other, _)) = (known.category(found), known.category(ty));
        if category != other {
            return None;
        }
        if !preferred && converts(known, found, ty) && !converts(known, ty, found) {
            found = ty;
        }
    }
    Some(if found == UNKNOWN { TEXT } else { found })
}
