//! Columns of each type, with values of which many are at some edge.

use readside::value::Type;

/// The labels of the enum.
pub(super) const MOOD: [&str; 4] = ["sad", "ok", "happy", "so-so"];

pub(super) struct Pool {
    pub(super) name: &'static str,
    pub(super) ty: Type,
    /// 0 stands for the enum.
    pub(super) oid: u32,
    /// pg_type's name.
    pub(super) type_name: &'static str,
    pub(super) declared: &'static str,
    pub(super) values: &'static [&'static str],
}

fn array(of: Type) -> Type {
    Type::Array(Box::new(of), b',')
}

pub(super) fn pools() -> Vec<Pool> {
    let pool = |name, ty, oid, type_name, declared, values| Pool {
        name,
        ty,
        oid,
        type_name,
        declared,
        values,
    };
    vec![
        // Its values are the rows' numbers.
        pool("id", Type::Int4, 23, "int4", "int PRIMARY KEY", &[]),
        pool("i2", Type::Int2, 21, "int2", "smallint", INT2),
        pool("i4", Type::Int4, 23, "int4", "int", INT4),
        pool("i8", Type::Int8, 20, "int8", "bigint", INT8),
        pool("n", Type::Numeric, 1700, "numeric", "numeric", NUMERIC),
        pool("n2", Type::Numeric, 1700, "numeric", "numeric(12,4)", NUMERIC2),
        pool("f4", Type::Float4, 700, "float4", "real", FLOAT4),
        pool("f8", Type::Float8, 701, "float8", "double precision", FLOAT8),
        pool("b", Type::Bool, 16, "bool", "boolean", &["t", "f"]),
        pool("s", Type::Text, 25, "text", "text", TEXT),
        pool("s2", Type::Text, 25, "text", "text", TEXT2),
        pool("v", Type::Text, 1043, "varchar", "varchar(20)", &["a", "b", "ab", "a ", "", "12"]),
        pool("c", Type::Bpchar, 1042, "bpchar", "char(5)", &["a", "b", "ab", "", "abcde", " x"]),
        pool("d", Type::Date, 1082, "date", "date", DATE),
        pool("ts", Type::Timestamp, 1114, "timestamp", "timestamp", TIMESTAMP),
        pool("tz", Type::TimestampTz, 1184, "timestamptz", "timestamptz", TIMESTAMPTZ),
        pool("ti", Type::Time, 1083, "time", "time", TIME),
        pool("tt", Type::TimeTz, 1266, "timetz", "timetz", TIMETZ),
        pool("iv", Type::Interval, 1186, "interval", "interval", INTERVAL),
        pool("u", Type::Uuid, 2950, "uuid", "uuid", UUID),
        pool("y", Type::Bytea, 17, "bytea", "bytea", BYTEA),
        pool("j", Type::Json, 114, "json", "json", JSON),
        pool("jb", Type::Jsonb, 3802, "jsonb", "jsonb", JSONB),
        pool("jb2", Type::Jsonb, 3802, "jsonb", "jsonb", JSONB),
        pool("ai", array(Type::Int4), 1007, "_int4", "int[]", INTS),
        pool("at", array(Type::Text), 1009, "_text", "text[]", TEXTS),
        pool(
            "an",
            array(Type::Numeric),
            1231,
            "_numeric",
            "numeric[]",
            &["{}", "{1,1.0,2.50}", "{NaN}"],
        ),
        pool("m", Type::Text, 0, "mood", "mood", &MOOD),
    ]
}

/// Regular expressions.
pub(super) const PATTERNS: &[&str] = &[
    "a",
    "^a",
    "b$",
    "^$",
    "",
    "^[a-z]+$",
    "[^a-z]",
    "\\d+",
    "^\\s+|\\s+$",
    "\\W+",
    "[[:alpha:]]+",
    "[[:space:]]",
    "[[:digit:]]{2,}",
    "(a)(b)?",
    "(\\w+)@(\\w+)",
    "^(.*)b(.*)$",
    "^(.)",
    "(.)$",
    "o(.)e",
    "a|b|c",
    "(foo|bar)[-_](\\w+)",
    "(abc)+",
    "(?:ab|a)c?",
    "a.*?b",
    "a+?",
    "\\mhello\\M",
    "\\y\\w",
    "\\.",
    "[.,;]",
    "[]a]",
    "[a-]",
    "[\\d-]",
    "(?i)A",
    "(?:,)",
    ",",
    ",+",
    "[äöü]",
    "Ä",
    ".",
    "..",
    "x*",
    "(x*)",
    "b*",
    "\\",
    "a{2",
    "a**",
    "(a",
    "[a",
    "*a",
    "a{3,1}",
    "(a)\\1",
    "a(?=b)",
    "\\u0061",
    "a{,2}",
    "^*",
    "()",
    "a||b",
    "(|a)b",
];
const INT2: &[&str] = &["0", "1", "-1", "7", "2", "3", "12", "32767", "-32768"];
const INT4: &[&str] =
    &["0", "1", "-1", "2", "3", "5", "-2", "12", "1000", "2147483647", "-2147483648"];
const INT8: &[&str] =
    &["0", "1", "-1", "12", "9007199254740993", "9223372036854775807", "-9223372036854775808"];
const NUMERIC: &[&str] = &[
    "0",
    "0.00",
    "1",
    "-1.0",
    "2.5",
    "-2.5",
    "0.5",
    "0.00000000000000000001",
    "1e-30",
    "99999.9999",
    "123456789012345678901234567890.123456789",
    "1e60",
    "-1e40",
    "9223372036854775807.5",
    "NaN",
    "Infinity",
    "-Infinity",
    "1e400",
    "1e-400",
    "10000",
    "9999",
    "0.0001",
    "1234.5678",
];
const NUMERIC2: &[&str] = &["0.0000", "1.2345", "-99999999.9999", "0.5000", "33.3333", "2"];
const FLOAT4: &[&str] =
    &["0", "-0", "1", "-1.5", "0.1", "16777216", "1e-45", "3.4e38", "-3.4e38", "NaN", "Infinity"];
const FLOAT8: &[&str] = &[
    "0",
    "-0",
    "1",
    "-1.5",
    "0.1",
    "2.5",
    "3.5",
    "1e15",
    "1e23",
    "9007199254740993",
    "123456789.123456789",
    "5e-324",
    "1e308",
    "-1e308",
    "NaN",
    "Infinity",
    "-Infinity",
    "1e-7",
    "1234567890.5",
];
const TEXT: &[&str] = &[
    "",
    "a",
    "b",
    "A",
    "a ",
    " b  ",
    "Ä",
    "äöü ß Éa",
    "abcabc",
    "%_\\",
    "a%c",
    "x'y\"z\\",
    "12",
    " -3.5 ",
    "true",
    "2024-02-29",
    "日本語テキスト",
    "😀a😀",
    "one,two,,three",
    "hello World foo_bar-baz 1st",
    "{1,2}",
    "null",
];
const TEXT2: &[&str] =
    &["a", "", ",", "b", "%", "a_c", "_%", "\\%", "bc", "Ä", "o", "😀", "hex", "base64"];
const DATE: &[&str] = &[
    "2024-02-29",
    "1970-01-01",
    "2000-01-01",
    "2020-12-31",
    "2021-01-01",
    "0044-03-15 BC",
    "0001-01-01",
    "0001-12-31 BC",
    "4714-11-24 BC",
    "5874897-12-31",
    "infinity",
    "-infinity",
    "1999-12-31",
    "1900-01-31",
];
const TIMESTAMP: &[&str] = &[
    "2024-02-29 12:34:56.789012",
    "2000-01-01 00:00:00",
    "1969-12-31 23:59:59.999999",
    "2024-03-31 01:30:00",
    "2021-01-03 23:59:59.5",
    "0044-03-15 05:06:07 BC",
    "0001-01-01 00:00:00",
    "294276-12-31 23:59:59.999999",
    "4714-11-24 00:00:00 BC",
    "infinity",
    "-infinity",
];
const TIMESTAMPTZ: &[&str] = &[
    "2024-02-29 12:34:56.789012+00",
    "2000-01-01 00:00:00+00",
    "2024-03-31 00:59:59.999999+00",
    "2024-10-27 01:30:00+00",
    "1883-11-18 17:00:00+00",
    "0044-03-15 05:06:07+00 BC",
    "infinity",
    "-infinity",
];
const TIME: &[&str] = &["00:00:00", "12:34:56.789", "23:59:59.999999", "24:00:00", "01:02:03"];
const TIMETZ: &[&str] = &["00:00:00+00", "12:34:56.789-05:30", "12:34:56.789+02", "24:00:00-11"];
const INTERVAL: &[&str] = &[
    "00:00:00",
    "1 mon",
    "30 days",
    "-1 years +2 mons 3 days -04:05:06.789",
    "178000000 years",
    "1 day",
    "36:00:00",
    "00:00:00.000001",
    "-35 days +12:00:00",
    "14 mons 3 days",
    "10 years 5 mons 45 days 25:00:00",
];
const UUID: &[&str] = &[
    "00000000-0000-0000-0000-000000000000",
    "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
    "ffffffff-ffff-ffff-ffff-ffffffffffff",
    "fe000000-0000-0000-0000-000000000001",
];
const BYTEA: &[&str] = &["\\x", "\\x00", "\\xdeadbeef", "\\xfe00ff", "\\x616263", "\\x5c0a27"];
const JSON: &[&str] = &[
    "null",
    "1",
    "\"a\"",
    "[1, 2.50,  null, \"x\"]",
    "{\"a\": 1,  \"b\": {\"c\": [1,2,{\"d\":null}]}, \"a\": 2}",
    "{}",
    "[]",
    "  {\"a\" : \"\\u00e4\\n\" }  ",
    "true",
    "[[1],[2,[3]]]",
    "1e5",
];
const JSONB: &[&str] = &[
    "null",
    "1",
    "1.0",
    "\"a\"",
    "[1, 2.50, null, \"x\", \"a\"]",
    "{\"a\": 1, \"b\": {\"c\": [1, 2, {\"d\": null}]}}",
    "{}",
    "[]",
    "{\"a\": \"ä\\n\", \"bb\": [], \"b\": null}",
    "true",
    "[[1], [2, [3]]]",
    "100000",
    "-12.5",
    "{\"a\": null, \"0\": 1}",
    "1e400",
];
const INTS: &[&str] =
    &["{}", "{1}", "{1,2,3}", "{1,NULL,2}", "{{1,2},{3,4}}", "[0:1]={5,6}", "{NULL}"];
const TEXTS: &[&str] =
    &["{}", "{a}", "{a,b,c}", "{\"a b\",NULL,\"\",\"NULL\"}", "{b,c}", "{0}", "{\"x\\\"y\\\\\"}"];

/// Times as they are written, and the patterns that they are read by.
pub(super) const READ: &[(&str, &str)] = &[
    ("2024-02-29", "YYYY-MM-DD"),
    ("2023-02-29", "YYYY-MM-DD"),
    ("20240131", "YYYYMMDD"),
    ("31.01.2024", "DD.MM.YYYY"),
    ("1/5/2024", "MM/DD/YYYY"),
    ("1/5/2024", "FMMM/FMDD/YYYY"),
    ("05 Dec 2000", "DD Mon YYYY"),
    ("5th december 1999", "DDth Month YYYY"),
    ("2024-01-31 23:59:58", "YYYY-MM-DD HH24:MI:SS"),
    ("2024-01-31T23:59:58Z", "YYYY-MM-DD\"T\"HH24:MI:SS\"Z\""),
    ("2024-01-31 11:59:58 pm", "YYYY-MM-DD HH12:MI:SS AM"),
    ("2024-01-31 12:00 a.m.", "YYYY-MM-DD HH:MI P.M."),
    ("2024-01-31 00:00:00.25", "YYYY-MM-DD HH24:MI:SS.MS"),
    ("2024-01-31 00:00:00.123456", "YYYY-MM-DD HH24:MI:SS.US"),
    ("2024-01-31 00:00:00.12", "YYYY-MM-DD HH24:MI:SS.FF2"),
    ("20240131235958", "YYYYMMDDHH24MISS"),
    ("99-12-31", "YY-MM-DD"),
    ("24-1-1", "YY-MM-DD"),
    ("999-1-1", "YYY-MM-DD"),
    ("2024", "YYYY"),
    ("2024-5", "YYYY-MM"),
    ("  2024 - 05 -  6 ", "YYYY-MM-DD"),
    ("2024/05*06", "YYYY-MM-DD"),
    ("2024  05", "FXYYYY MM"),
    ("2024 05", "FXYYYY  MM"),
    ("2024", "YYYY-MM-DD"),
    ("", "YYYY-MM-DD"),
    ("-44-03-15", "YYYY-MM-DD"),
    ("0000-01-01", "YYYY-MM-DD"),
    ("12345-01-01", "YYYY-MM-DD"),
    ("2024-13-01", "YYYY-MM-DD"),
    ("2024-01-01 25:00", "YYYY-MM-DD HH24:MI"),
    ("2024-01-01 13:00", "YYYY-MM-DD HH12:MI"),
    ("day 12 of 2024", "\"day \"DD\" of \"YYYY"),
    ("2024-01-02 2024", "YYYY-MM-DD YYYY"),
    ("2024 ä 05", "YYYY \"ä\" MM"),
    ("2024ä05", "YYYYäMM"),
];
