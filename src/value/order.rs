//! What of a datum decides equality and order: numeric 1.0 and 1.00 have it in common.

use super::{Type, ValueError, datum_len, float, interval, numeric, text};

/// The leading bytes of a datum by which Postgres compares: of two values of one type neither's are a
/// prefix of the other's, unless they are equal.
pub fn order_part<'a>(ty: &Type, datum: &'a [u8]) -> Result<&'a [u8], ValueError> {
    if super::is_null(datum) || super::is_error(datum) {
        return datum_len(ty, datum).map(|len| datum.get(..len).unwrap_or(datum));
    }
    let part = match ty {
        Type::Numeric => numeric::order_part(datum),
        Type::Float4 => float::order_part::<f32>(datum),
        Type::Float8 => float::order_part::<f64>(datum),
        Type::Bpchar => text::len(datum).and_then(|len| datum.get(..len)),
        Type::Interval => interval::order_part(datum),
        _ => return Ok(datum),
    };
    part.ok_or_else(|| ValueError::new(ty, datum))
}

/// Appends bytes that compare as the values do in an ORDER BY.
pub fn order_key(
    ty: &Type,
    datum: &[u8],
    descending: bool,
    nulls_first: bool,
    out: &mut Vec<u8>,
) -> Result<(), ValueError> {
    let part = order_part(ty, datum)?;
    // NULL sorts last by itself, and first when complemented; elsewhere a byte in front decides.
    if descending != nulls_first {
        out.push(u8::from(super::is_null(datum) != nulls_first));
    }
    match descending {
        false => out.extend_from_slice(part),
        true => out.extend(part.iter().map(|byte| !byte)),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::{NULL, encode};

    fn datum(ty: &Type, text: &str) -> Vec<u8> {
        let mut out = Vec::new();
        encode(ty, text.as_bytes(), &mut out).unwrap();
        out
    }

    #[test]
    fn equal_values_have_one_order_part() {
        let same = [
            (Type::Numeric, "1.0", "1.00"),
            (Type::Numeric, "0", "0.000"),
            (Type::Numeric, "-120", "-120.0"),
            (Type::Float8, "0", "-0"),
            (Type::Float4, "9007199254740993.00", "9.007199e+15"),
            (Type::Bpchar, "a ", "a   "),
            (Type::Interval, "1 mon", "30 days"),
        ];
        for (ty, a, b) in same {
            let (a, b) = (datum(&ty, a), datum(&ty, b));
            assert_ne!(a, b);
            assert_eq!(order_part(&ty, &a), order_part(&ty, &b));
        }
        for (ty, a, b) in [(Type::Numeric, "1", "1.01"), (Type::Text, "a", "a ")] {
            let (a, b) = (datum(&ty, a), datum(&ty, b));
            assert_ne!(order_part(&ty, &a), order_part(&ty, &b));
        }
    }

    #[test]
    fn every_direction_has_its_nulls_where_they_are_wanted() {
        let values = ["-Infinity", "-1.5", "0", "0.5", "1", "100", "NaN"];
        for (descending, nulls_first) in
            [(false, false), (false, true), (true, false), (true, true)]
        {
            let mut expected: Vec<Vec<u8>> =
                values.iter().map(|text| datum(&Type::Numeric, text)).collect();
            if descending {
                expected.reverse();
            }
            let at = if nulls_first { 0 } else { expected.len() };
            expected.insert(at, vec![NULL]);
            let mut sorted = expected.clone();
            sorted.sort_by_key(|datum| {
                let mut key = Vec::new();
                order_key(&Type::Numeric, datum, descending, nulls_first, &mut key).unwrap();
                key
            });
            assert_eq!(sorted, expected, "descending {descending}, nulls first {nulls_first}");
        }
    }
}
