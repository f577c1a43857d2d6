//! The compiler's files of types, casts, operators and functions hold what a server has.

use std::collections::BTreeSet;

use tokio_postgres::{Client, SimpleQueryMessage};

use crate::harness::{Postgres, PostgresOptions};

const TYPES: &str = "
    SELECT concat_ws(' ', oid, typname, typcategory, typispreferred, typarray,
                     replace(format_type(oid, NULL), ' ', '_'))
    FROM pg_type WHERE typcategory <> 'A'
    UNION ALL
    SELECT concat_ws(' ', oid, typname, 'P', typispreferred, 0, typname)
    FROM pg_type WHERE typname IN ('anyarray', 'anycompatiblearray')";

const CASTS: &str = "
    SELECT concat_ws(' ', s.typname, t.typname, castcontext, castmethod, coalesce(provolatile, 'i'))
    FROM pg_cast
    JOIN pg_type s ON s.oid = castsource
    JOIN pg_type t ON t.oid = casttarget
    LEFT JOIN pg_proc p ON p.oid = castfunc";

const OPERATORS: &str = "
    SELECT concat_ws(' ', oprname, coalesce(l.typname, '-'), r.typname, t.typname, provolatile,
                     CASE WHEN proisstrict THEN 's' ELSE '-' END)
    FROM pg_operator
    JOIN pg_proc p ON p.oid = oprcode
    JOIN pg_type r ON r.oid = oprright
    JOIN pg_type t ON t.oid = oprresult
    LEFT JOIN pg_type l ON l.oid = oprleft";

const FUNCTIONS: &str = "
    SELECT concat_ws(' ', proname, provolatile, CASE WHEN proisstrict THEN 's' ELSE '-' END,
                     CASE WHEN provariadic <> 0 THEN 'v' ELSE '-' END, pronargdefaults, t.typname,
                     (SELECT string_agg(a.typname, ' ' ORDER BY n)
                      FROM unnest(proargtypes::oid[]) WITH ORDINALITY of(oid, n)
                      JOIN pg_type a ON a.oid = of.oid))
    FROM pg_proc p JOIN pg_type t ON t.oid = prorettype
    WHERE prokind = 'f' AND NOT proretset AND pronamespace = 'pg_catalog'::regnamespace
        AND t.typname NOT IN ('internal', 'cstring', 'trigger', 'void')
        AND NOT EXISTS (SELECT FROM unnest(proargtypes::oid[]) of(oid) JOIN pg_type a USING (oid)
                        WHERE a.typname IN ('internal', 'cstring', 'trigger'))";

#[tokio::test]
async fn the_files_hold_what_the_server_has() {
    let postgres = Postgres::start(&PostgresOptions::default()).await;
    let client = postgres.client("postgres").await;
    let version = lines(&client, "SELECT current_setting('server_version_num')::int / 10000").await;
    // They are of this version; a newer one has more.
    let same_version = version.contains("15");
    let mut faults = Vec::new();
    for (name, file, query) in [
        ("types", include_str!("../../../src/sql/expr/catalog/types.txt"), TYPES),
        ("casts", include_str!("../../../src/sql/expr/catalog/casts.txt"), CASTS),
        ("operators", include_str!("../../../src/sql/expr/catalog/operators.txt"), OPERATORS),
        ("functions", include_str!("../../../src/sql/expr/catalog/functions.txt"), FUNCTIONS),
    ] {
        let ours: BTreeSet<String> = file.lines().map(|line| line.trim_end().to_owned()).collect();
        let theirs = lines(&client, query).await;
        if same_version {
            faults
                .extend(ours.difference(&theirs).map(|line| format!("{name}: not there: {line}")));
        }
        // All signatures of a name are candidates.
        let names: BTreeSet<&str> = ours.iter().filter_map(|line| line.split(' ').next()).collect();
        let missing = theirs.difference(&ours).filter(|line| {
            let named = line.split(' ').next().is_some_and(|name| names.contains(name));
            same_version && (name == "operators" || (name == "functions" && named))
        });
        faults.extend(missing.map(|line| format!("{name}: missing: {line}")));
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

async fn lines(client: &Client, query: &str) -> BTreeSet<String> {
    let messages = client.simple_query(query).await.unwrap();
    let rows = messages.into_iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
        _ => None,
    });
    rows.collect()
}
