//! Queries of a shape of their own: values taken apart, sets, FULL JOIN, running totals, ANY and ALL.

use super::Generator;

impl Generator<'_> {
    /// What is inside a value beside its row, and groups of that.
    pub(super) fn expanded(&mut self) -> String {
        const ARRAY: &str = "CASE WHEN jsonb_typeof(t.j) = 'array' THEN t.j END";
        let (call, value) = match self.rng.u8(0..4) {
            0 => ("unnest(t.arr)".to_owned(), "e.x"),
            1 => ("unnest(t.words)".to_owned(), "e.x"),
            2 => (format!("jsonb_array_elements({ARRAY})"), "(e.x #>> '{}')"),
            _ => (format!("jsonb_array_elements_text({ARRAY})"), "e.x"),
        };
        let (join, on) = self.pick(&[
            (",", ""),
            (" CROSS JOIN LATERAL", ""),
            (" JOIN LATERAL", " ON e.at < 3"),
            (" LEFT JOIN LATERAL", " ON true"),
        ]);
        let filter = self.pick(&["", "", " WHERE t.a > 1", " WHERE e.x IS NOT NULL OR e.at = 1"]);
        let from = format!("things t{join} {call} WITH ORDINALITY AS e (x, at){on}{filter}");
        match self.rng.u8(0..4) {
            0 | 1 => format!("SELECT t.id, e.at, {value} AS v, t.b FROM {from}"),
            2 => format!(
                "SELECT t.id, count(e.x) AS n, max(e.at) AS last, array_agg({value} ORDER BY e.at) AS every \
                 FROM {from} GROUP BY t.id"
            ),
            _ => {
                format!("SELECT {value} AS v, count(*) AS n, min(t.a) AS a FROM {from} GROUP BY 1")
            }
        }
    }

    pub(super) fn set(&mut self) -> String {
        let (left, right) = (self.alias(1), self.alias(0));
        let (of_left, of_right) =
            (self.filter(std::slice::from_ref(&left)), self.filter(std::slice::from_ref(&right)));
        let op = self.pick(&["INTERSECT", "EXCEPT", "UNION"]);
        let (left, right) = (left.alias, right.alias);
        let sides = [
            format!("SELECT {left}.customer_id AS id FROM orders {left}{of_left}"),
            format!("SELECT {right}.id FROM customers {right}{of_right}"),
        ];
        match self.chance(2) {
            true => sides.join(&format!(" {op} ")),
            false => format!("{} {op} {}", sides[1], sides[0]),
        }
    }

    pub(super) fn full(&mut self) -> String {
        let aggregate = self.pick(&["count(*)", "sum(quantity)", "max(price)"]);
        format!(
            "SELECT id, o.status, o.total, i.n FROM orders o FULL JOIN \
             (SELECT order_id AS id, {aggregate} AS n FROM items GROUP BY order_id) i USING (id)"
        )
    }

    /// An aggregate over the rows up to this one, and comparisons with all of them.
    pub(super) fn running(&mut self) -> String {
        let source = self.alias(1);
        let filter = self.filter(std::slice::from_ref(&source));
        let o = source.alias;
        let aggregate =
            self.pick(&["sum(p.total)", "count(*)", "max(p.total)", "stddev_pop(p.total)"]);
        let (op, any) = (self.pick(&["<", ">=", "<>", "="]), self.pick(&["ANY", "ALL"]));
        let upto = self.pick(&["<=", "<", ">="]);
        format!(
            "SELECT {o}.id, (SELECT {aggregate} FROM orders p WHERE p.customer_id = {o}.customer_id \
             AND p.total {upto} {o}.total) AS running, {o}.total {op} {any} (SELECT i.quantity FROM items i \
             WHERE i.order_id = {o}.id) AS compared FROM orders {o}{filter}"
        )
    }
}
