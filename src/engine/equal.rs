//! Keys that Postgres calls equal: 1.0 and 1.00 are one key to it, and two to a map of bytes.

use super::{Arrangement, Entry};
use crate::value::{self, Type, ValueError};

impl Arrangement {
    /// The keys here, of deleted rows included, whose columns all equal those of `key`. One for each way
    /// that an equal value is written in: a handful, found without a look at any other key.
    pub fn equal_keys(&self, types: &[&Type], key: &[u8]) -> Result<Vec<Vec<u8>>, ValueError> {
        let mut found = Vec::new();
        self.gather_equal(types, &mut Vec::new(), key, &mut found)?;
        Ok(found)
    }

    /// `exact`: the bytes of the columns before, as they are here.
    fn gather_equal(
        &self,
        types: &[&Type],
        exact: &mut Vec<u8>,
        key: &[u8],
        found: &mut Vec<Vec<u8>>,
    ) -> Result<(), ValueError> {
        let Some((ty, types)) = types.split_first() else {
            if self.version(exact).is_some() {
                found.push(exact.clone());
            }
            return Ok(());
        };
        let (datum, rest) = key.split_at(value::datum_len(ty, key)?);
        let part = value::order_part(ty, datum)?;
        let start = exact.len();
        if part.len() == datum.len() {
            exact.extend_from_slice(datum);
            self.gather_equal(types, exact, rest, found)?;
            exact.truncate(start);
            return Ok(());
        }
        let mut after = [exact.as_slice(), part].concat();
        let within = after.len();
        // No key ends where an equal value's suffix is still to come, so that none is passed over.
        loop {
            let next = self.scan_after(Some(&after)).next().map(Entry::key);
            let Some(next) = next.filter(|next| next.starts_with(&after[..within])) else { break };
            let here = &next[start..];
            let here = &here[..value::datum_len(ty, here)?];
            exact.extend_from_slice(here);
            self.gather_equal(types, exact, rest, found)?;
            after.clone_from(exact);
            // Behind all keys that begin so: no datum but NULL begins with its byte.
            after.resize(after.len() + types.len() + 1, value::NULL);
            exact.truncate(start);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lsn::Lsn;

    const TYPES: [Type; 3] = [Type::Numeric, Type::Text, Type::Interval];

    fn key(texts: [Option<&str>; 3]) -> Vec<u8> {
        let mut key = Vec::new();
        for (ty, text) in std::iter::zip(&TYPES, texts) {
            match text {
                Some(text) => value::encode(ty, text.as_bytes(), &mut key).expect("a value"),
                None => value::encode_null(&mut key),
            }
        }
        key
    }

    #[test]
    fn whatever_they_are_written_like() {
        let mut arrangement = Arrangement::default();
        let keys = [
            [Some("1"), Some("a"), Some("1 mon")],
            [Some("1.0"), Some("a"), Some("30 days")],
            [Some("1.0"), Some("b"), Some("30 days")],
            [Some("1.00"), Some("a"), None],
            [Some("1.00"), None, Some("1 mon")],
            [Some("1.01"), Some("a"), Some("1 mon")],
            [None, Some("a"), Some("1 mon")],
            [Some("NaN"), Some("a"), Some("1 mon")],
        ];
        for (at, of) in keys.iter().enumerate() {
            arrangement.put(Entry::row(Lsn(at as u64 + 1), &key(*of), b"row"));
        }
        arrangement.delete(Lsn(100), &key(keys[1]));
        let types: Vec<&Type> = TYPES.iter().collect();
        let equal = |texts| arrangement.equal_keys(&types, &key(texts)).expect("whole keys");
        let both = [key(keys[0]), key(keys[1])];
        assert_eq!(equal([Some("1.000"), Some("a"), Some("1 mon")]), both);
        assert_eq!(equal([Some("1"), Some("b"), Some("1 mon")]), [key(keys[2])]);
        assert_eq!(equal([Some("1"), Some("a"), None]), [key(keys[3])]);
        assert_eq!(equal([Some("1"), None, Some("30 days")]), [key(keys[4])]);
        assert_eq!(equal([Some("1.010"), Some("a"), Some("30 days")]), [key(keys[5])]);
        assert_eq!(equal([None, Some("a"), Some("30 days")]), [key(keys[6])]);
        assert_eq!(equal([Some("NaN"), Some("a"), Some("30 days")]), [key(keys[7])]);
        assert_eq!(equal([Some("2"), Some("a"), Some("1 mon")]), Vec::<Vec<u8>>::new());
    }
}
