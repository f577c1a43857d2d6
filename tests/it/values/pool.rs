//! What the tests ask Postgres about: for each type, edge values and random ones.

use std::fmt::Write;

use fastrand::Rng;
use readside::value::Type;

pub(crate) const SCHEMA: &str = r#"
    CREATE EXTENSION hstore; CREATE EXTENSION citext; CREATE EXTENSION ltree;
    CREATE TYPE mood AS ENUM ('sad', 'ok', 'very "happy", {really}', '');
    CREATE TYPE inner_row AS (t text, a text[]);
    CREATE TYPE deep AS (i int, "inner" inner_row, j numeric[]);
    CREATE TYPE nothing AS ();
    CREATE TYPE every AS (
        "a" int, "B b" text, "a""quote\" numeric, d date, at timestamptz, j json, jb jsonb, f float8,
        raw bytea, flag boolean, list int[], o oid);
    CREATE DOMAIN positive AS int CHECK (VALUE > 0);
    CREATE DOMAIN more_positive AS positive CHECK (VALUE > 1);
    CREATE DOMAIN price AS numeric(12, 3);
    CREATE DOMAIN words AS text[];
    CREATE DOMAIN place AS inner_row;
    CREATE DOMAIN written AS json;
    CREATE DOMAIN moment AS timestamptz;
    CREATE DOMAIN feeling AS mood;
    CREATE TYPE span AS RANGE (subtype = float8);
"#;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// Ours is the order of the text alone, or the type has none.
    None,
    /// Datums are ordered as ORDER BY orders the values.
    Natural,
    /// As ORDER BY ... COLLATE "C".
    Bytes,
}

pub(crate) struct Case {
    pub(crate) sql_type: String,
    pub(crate) expected: Type,
    pub(crate) order: Order,
    /// The value's number in SQL.
    pub(crate) score: Option<&'static str>,
    /// Input texts.
    pub(crate) values: Vec<String>,
}

const AS_NUMBER: Option<&str> = Some("x::float8");
const AS_SECONDS: Option<&str> = Some("extract(epoch FROM x)");
/// The cast refuses what is beyond its range.
const AS_NEAREST_NUMBER: Option<&str> = Some(
    "CASE WHEN x <> 'NaN' AND abs(x) > 1e308 THEN sign(x)::float8 * 'Infinity'
          WHEN abs(x) < 1e-320 THEN 0 ELSE x::float8 END",
);

pub(crate) fn cases(rng: &mut Rng, server_version: u32) -> Vec<Case> {
    let mut cases = numbers(rng);
    cases.extend(times(rng, server_version));
    cases.extend(texts(rng));
    cases.extend(kept_as_text(rng));
    cases
}

fn case(
    sql_type: &str,
    expected: Type,
    order: Order,
    score: Option<&'static str>,
    values: impl IntoIterator<Item = impl Into<String>>,
) -> Case {
    let values = values.into_iter().map(Into::into).collect();
    Case { sql_type: sql_type.into(), expected, order, score, values }
}

/// `edges`, separated by blanks, and `random` made `count` times.
fn with_edges(edges: &str, count: usize, random: impl FnMut() -> String) -> Vec<String> {
    edges.split(' ').map(Into::into).chain(std::iter::repeat_with(random).take(count)).collect()
}

fn numbers(rng: &mut Rng) -> Vec<Case> {
    let natural = Order::Natural;
    let mut integers = |bits: u32, edges: &str| {
        with_edges(edges, 200, || (rng.i64(..) >> (64 - rng.u32(1..=bits))).to_string())
    };
    let int2 = integers(16, "0 -1 1 -8 -9 230 231 255 256 -32768 32767");
    let int4 = integers(32, "0 -1 1 65535 65536 -2147483648 2147483647");
    let int8 =
        integers(64, "0 -1 -256 -257 -65536 -65537 -9223372036854775808 9223372036854775807");
    let oid = with_edges("0 1 4294967295", 50, || rng.u32(..).to_string());
    let positive = with_edges("1 2 2147483647", 20, || rng.u32(2..1 << 31).to_string());
    let more_positive = positive[1..].to_vec();

    let edges = "0 -0 NaN Infinity -Infinity 1 0.1 100000 999999 1000000 9999995 1e14 1e15 -1e15 123456789012345 \
         1234567890123456 0.0001 0.00001 0.00012345 9.5367431640625e-07 3e-5";
    let powers = |exponents: std::ops::Range<i32>| exponents.map(|exponent| 2f64.powi(exponent));
    let mut float8 = with_edges(edges, 400, || {
        loop {
            let value = f64::from_bits(rng.u64(..));
            if value.is_finite() {
                break format!("{value:e}");
            }
        }
    });
    float8.extend(
        "1e20 -1e20 1e-7 5e-324 1.7976931348623157e308 2.2250738585072014e-308 9007199254740993"
            .split(' ')
            .map(Into::into),
    );
    float8.extend(powers(-1074..1024).map(|value| format!("{value:e}")));
    float8
        .extend(std::iter::repeat_with(|| format!("{}", f64::from(rng.i32(..)) / 100.0)).take(100));
    let mut float4 = with_edges(edges, 400, || {
        loop {
            let value = f32::from_bits(rng.u32(..));
            if value.is_finite() {
                break format!("{value:e}");
            }
        }
    });
    float4.extend("3.4028235e38 1e-45 1.1754944e-38 16777217 1e10".split(' ').map(Into::into));
    float4.extend(powers(-149..128).map(|value| format!("{value:e}")));

    let mut numeric = with_edges(
        "0 0.0 0.000 1 1.0 1.00 -1 -1.0 -1.00 0.1 0.01 0.001 -0.001 9 10 99 100 101 999 1000 10000 99.99 0.99 \
         NaN Infinity -Infinity 1e131071 -1e131071 1e-16383 -1e-16383 12345678901234567890123456789.0123456789 \
         1e64 1e-64 1e-65 1e-66 1e178 1e179 1e180 0e-127 0e-128 0e-16383",
        400,
        || {
            let mut digits = |max: usize| {
                (0..rng.usize(1..=max)).map(|_| char::from(b'0' + rng.u8(..10))).collect::<String>()
            };
            let (integer, fraction) = (digits(12), digits(8));
            let sign = if rng.bool() { "-" } else { "" };
            match rng.u8(..3) {
                0 => format!("{sign}{integer}"),
                1 => format!("{sign}{integer}.{fraction}"),
                _ => format!("{sign}{integer}.{fraction}e{}", rng.i32(-200..200)),
            }
        },
    );
    numeric.push(format!("{}.{}", "9".repeat(131_072), "9".repeat(16_383)));
    let price = with_edges("0 -0.001 1.5 999999999.999", 50, || {
        (f64::from(rng.i32(..)) / 1000.0).to_string()
    });

    vec![
        case("boolean", Type::Bool, natural, None, ["t", "f"]),
        case("int2", Type::Int2, natural, AS_NUMBER, int2),
        case("int4", Type::Int4, natural, AS_NUMBER, int4),
        case("int8", Type::Int8, natural, AS_NUMBER, int8),
        case("oid", Type::Oid, natural, Some("x::int8::float8"), oid),
        case("positive", Type::Int4, natural, AS_NUMBER, positive),
        case("more_positive", Type::Int4, natural, AS_NUMBER, more_positive),
        case("float4", Type::Float4, natural, AS_NUMBER, float4),
        case("float8", Type::Float8, natural, AS_NUMBER, float8),
        case("numeric", Type::Numeric, natural, AS_NEAREST_NUMBER, numeric),
        case("price", Type::Numeric, natural, AS_NEAREST_NUMBER, price),
    ]
}

fn times(rng: &mut Rng, server_version: u32) -> Vec<Case> {
    let natural = Order::Natural;
    let bc = |rng: &mut Rng| if rng.u8(..4) == 0 { " BC" } else { "" };
    let day = |rng: &mut Rng, year_max: i32| {
        let year = if rng.bool() { rng.i32(1..year_max) } else { rng.i32(1900..2100) };
        format!("{year:04}-{:02}-{:02}", rng.u8(1..=12), rng.u8(1..=28))
    };
    let clock = |rng: &mut Rng| {
        let fraction = match rng.u8(..4) {
            0 => format!(".{:06}", rng.u32(..1_000_000)),
            1 => format!(".{:03}", rng.u32(..1_000)),
            _ => String::new(),
        };
        format!("{:02}:{:02}:{:02}{fraction}", rng.u8(..24), rng.u8(..60), rng.u8(..60))
    };
    let zone = |rng: &mut Rng| {
        let sign = if rng.bool() { '+' } else { '-' };
        match rng.u8(..3) {
            0 => format!("{sign}{:02}", rng.u8(..16)),
            1 => format!("{sign}{:02}:{:02}", rng.u8(..15), rng.u8(..60)),
            _ => format!("{sign}{:02}:{:02}:{:02}", rng.u8(..15), rng.u8(..60), rng.u8(..60)),
        }
    };
    let lines = |edges: &str| edges.split(", ").map(str::to_owned).collect::<Vec<_>>();

    let mut dates = lines(
        "-infinity, infinity, 4714-11-24 BC, 0001-12-31 BC, 0001-01-01, 1582-10-15, 1970-01-01, 1999-12-31, \
         2000-01-01, 2000-02-29, 1900-02-28, 9999-12-31, 10000-01-01, 5874897-12-31, 0005-02-29 BC",
    );
    dates.extend((0..200).map(|_| format!("{}{}", day(rng, 4_000), bc(rng))));
    dates.extend((0..50).map(|_| day(rng, 5_874_897)));

    let mut timestamps = lines(
        "-infinity, infinity, 4714-11-24 00:00:00 BC, 0044-03-15 12:00:00.5 BC, 0001-12-31 23:59:59.999999 BC, \
         0001-01-01 00:00:00, 1969-12-31 23:59:59.999999, 1970-01-01 00:00:00, 1999-12-31 23:59:59.999999, \
         2000-01-01 00:00:00, 2000-01-01 00:00:00.000001, 2024-02-29 24:00:00, 9999-12-31 23:59:59.999999, \
         10000-01-01 00:00:00, 292277-01-09 04:00:54.775807, 294276-12-31 23:59:59.999999",
    );
    timestamps.extend((0..300).map(|_| format!("{} {}{}", day(rng, 4_000), clock(rng), bc(rng))));
    timestamps.extend((0..50).map(|_| format!("{} {}", day(rng, 294_276), clock(rng))));

    let mut time =
        lines("00:00:00, 24:00:00, 23:59:59.999999, 00:00:00.000001, 12:30:00.1, 23:59:60");
    time.extend((0..200).map(|_| clock(rng)));
    let mut time_tz = lines(
        "00:00:00+00, 24:00:00+00, 24:00:00-15:59, 24:00:00+15:59:59, 00:00:00+15:59:59, 00:00:00-15:59:59, \
         12:00:00+02, 10:00:00+00, 09:00:00-01, 10:30:00+00:30, 10:00:00-00:00:01",
    );
    time_tz.extend((0..200).map(|_| format!("{}{}", clock(rng), zone(rng))));

    let mut intervals = lines(
        "0, 1 mon, 30 days, 720:00:00, 29 days 24:00:00, 1 year, 12 mons, 360 days, -1 day, -1 mon 30 days, \
         1 day -00:00:01, -1 day +00:00:01, -00:00:00.000001, 1 year 2 mons -3 days 04:05:06.789, -1 year 1 mon, \
         178956970 years 7 mons 2147483647 days 2562047788:00:54.775807, \
         -178956970 years -8 mons -2147483648 days -2562047788:00:54.775807, 99:59:59, 100:00:00, -1 year 1 day 00:00:01",
    );
    if server_version >= 170_000 {
        intervals.extend(["infinity".into(), "-infinity".into()]);
    }
    intervals.extend((0..300).map(|_| {
        let mut field = |unit: &str, max: i64| match rng.u8(..4) {
            0 => format!("{} {unit} ", rng.i64(-max..max)),
            1 => format!("{} {unit} ", rng.i64(-2..=2)),
            _ => String::new(),
        };
        let text = field("mons", 1 << 31)
            + &field("days", 1 << 31)
            + &field("microseconds", 1 << 60)
            + &field("hours", 100);
        if text.is_empty() { "0".to_owned() } else { text }
    }));

    vec![
        case("date", Type::Date, natural, AS_SECONDS, dates),
        case("time", Type::Time, natural, AS_SECONDS, time),
        case("timetz", Type::TimeTz, natural, AS_SECONDS, time_tz),
        case("timestamp", Type::Timestamp, natural, AS_SECONDS, timestamps.clone()),
        case("timestamptz", Type::TimestampTz, natural, AS_SECONDS, timestamps.clone()),
        case("moment", Type::TimestampTz, natural, AS_SECONDS, timestamps),
        case("interval", Type::Interval, natural, AS_SECONDS, intervals),
    ]
}

fn text(rng: &mut Rng, len_max: usize) -> String {
    const SPECIAL: [&str; 24] = [
        "\"", "\\", "'", ",", ";", "{", "}", "(", ")", "=>", " ", "\n", "\t", "\u{1}", "\u{1f}",
        "\u{7f}", "\u{8}", "\u{c}", "\r", "é", "😀", "\u{2028}", "NULL", "/",
    ];
    let mut text = String::new();
    for _ in 0..rng.usize(..=len_max) {
        match rng.u8(..3) {
            0 => text.push_str(SPECIAL[rng.usize(..SPECIAL.len())]),
            _ => text.push(rng.alphanumeric()),
        }
    }
    text
}

fn texts(rng: &mut Rng) -> Vec<Case> {
    let bytes = Order::Bytes;
    let edges = [
        "",
        " ",
        "a",
        "a ",
        "a\n",
        "ab",
        "A",
        "NULL",
        "null",
        "\"\"",
        "\\",
        "{}",
        "()",
        "\u{10ffff}",
        "\u{1}",
    ];
    let mut some = |len_max: usize| {
        let random = std::iter::repeat_with(|| text(rng, len_max)).take(200);
        edges.iter().map(|&edge| edge.to_owned()).chain(random).collect::<Vec<_>>()
    };
    let (long, short, five) = (some(40), some(9), some(5));
    let bytea = [
        "", "00", "0000", "0001", "01", "ff", "fe", "fd", "fe00", "ff00", "ffff", "00ff", "00ff00",
    ]
    .map(|hex| format!("\\x{hex}"));
    let random = (0..200).map(|_| {
        let mut hex = "\\x".to_owned();
        for _ in 0..rng.u8(..6) {
            let byte = if rng.bool() { rng.u8(..) } else { [0, 1, 0xFE, 0xFF][rng.usize(..4)] };
            write!(hex, "{byte:02x}").unwrap();
        }
        hex
    });
    let bytea: Vec<_> = bytea.into_iter().chain(random).collect();
    let uuids = (0..100).map(|_| format!("{:032x}", rng.u128(..)));
    let uuids = uuids.chain(["0".repeat(32), "f".repeat(32), "fe".repeat(16), "fd".repeat(16)]);
    vec![
        case("text", Type::Text, bytes, None, long),
        case("varchar(60)", Type::Text, bytes, None, short.clone()),
        case("name", Type::Text, bytes, None, short.clone()),
        case(
            "char(30)",
            Type::Bpchar,
            bytes,
            None,
            five.iter().map(|text| text.chars().take(30).collect::<String>()),
        ),
        case("bpchar", Type::Bpchar, bytes, None, short.clone()),
        case("citext", Type::Text, Order::None, None, short),
        case("bytea", Type::Bytea, Order::Natural, None, bytea),
        case("uuid", Type::Uuid, Order::Natural, None, uuids.collect::<Vec<_>>()),
        case(
            "pg_lsn",
            Type::PgLsn,
            Order::Natural,
            None,
            ["0/0", "0/FFFFFFFF", "1/0", "16/B374D848", "FFFFFFFF/FFFFFFFF"],
        ),
    ]
}

/// A JSON text in one of the many ways to write it.
fn json(rng: &mut Rng, depth: usize) -> String {
    let blank = |rng: &mut Rng| ["", "", "", " ", "\n", "\t \r"][rng.usize(..6)];
    let string = |rng: &mut Rng| {
        const PARTS: [&str; 14] = [
            "a",
            "b",
            "é",
            "😀",
            r"\u00e9",
            r"\ud83d\ude00",
            r"\u001f",
            r"\n",
            r"\/",
            r#"\""#,
            r"\\",
            "\u{7f}",
            r"\u0061",
            "zz",
        ];
        let parts: String = (0..rng.usize(..4)).map(|_| PARTS[rng.usize(..PARTS.len())]).collect();
        format!("\"{parts}\"")
    };
    let (before, after) = (blank(rng), blank(rng));
    let value = match if depth == 0 { rng.u8(..5) } else { rng.u8(..9) } {
        0 => ["null", "true", "false"][rng.usize(..3)].to_owned(),
        1 => rng.i64(..).to_string(),
        2 => {
            let sign = if rng.bool() { "-" } else { "" };
            let exponent = ["e", "E", "e+", "e-"][rng.usize(..4)];
            format!("{sign}{}.{:03}{exponent}{}", rng.u32(..1_000), rng.u32(..1_000), rng.u8(..40))
        }
        3 => ["0", "-0", "0.0", "-0.00", "0e5", "0e-5", "1.10", "1e2", "100e-2", "0.1e1"]
            [rng.usize(..10)]
        .to_owned(),
        4 => string(rng),
        5 | 6 => {
            let elements: Vec<_> = (0..rng.usize(..4)).map(|_| json(rng, depth - 1)).collect();
            format!("[{}{}]", blank(rng), elements.join(","))
        }
        _ => {
            let members: Vec<_> = (0..rng.usize(..6))
                .map(|_| {
                    format!("{}{}{}:{}", blank(rng), string(rng), blank(rng), json(rng, depth - 1))
                })
                .collect();
            format!("{{{}{}}}", members.join(","), blank(rng))
        }
    };
    format!("{before}{value}{after}")
}

/// Kept as their text: what matters is their JSON.
fn kept_as_text(rng: &mut Rng) -> Vec<Case> {
    let jsons: Vec<_> = (0..400).map(|_| json(rng, 4)).collect();
    let written = jsons.iter().take(50).cloned().collect::<Vec<_>>();
    let array = |element: Type| Type::Array(Box::new(element), b',');
    let row = |attributes: &[(&str, Type)]| {
        Type::Composite(
            attributes.iter().map(|(name, ty)| ((*name).to_owned(), ty.clone())).collect(),
        )
    };
    let inner = row(&[("t", Type::Text), ("a", array(Type::Text))]);
    let deep = row(&[("i", Type::Int4), ("inner", inner.clone()), ("j", array(Type::Numeric))]);
    let every = row(&[
        ("a", Type::Int4),
        ("B b", Type::Text),
        ("a\"quote\\", Type::Numeric),
        ("d", Type::Date),
        ("at", Type::TimestampTz),
        ("j", Type::Json),
        ("jb", Type::Jsonb),
        ("f", Type::Float8),
        ("raw", Type::Bytea),
        ("flag", Type::Bool),
        ("list", array(Type::Int4)),
        ("o", Type::Oid),
    ]);
    let inner_values = [
        r#"(a,"{b,c}")"#,
        "(,)",
        r#"("","{}")"#,
        r#"("a ""quoted"" (b), \\","{NULL,""x y"",""\\""""}")"#,
    ];
    let mut cases = vec![
        case("json", Type::Json, Order::None, None, jsons.clone()),
        case("jsonb", Type::Jsonb, Order::None, None, jsons),
        case("written", Type::Json, Order::None, None, written),
        case(
            "hstore",
            Type::Hstore,
            Order::None,
            None,
            ["", "a=>1", r#"b=>NULL,aa=>"x\"\\y",a=>"NULL",""=>"""#, "é=>\"\n\""],
        ),
        case(
            "int2vector",
            Type::Array(Box::new(Type::Int2), b' '),
            Order::None,
            None,
            ["", "1", "1 -2 3"],
        ),
        case(
            "oidvector",
            Type::Array(Box::new(Type::Oid), b' '),
            Order::None,
            None,
            ["", "1", "1 4294967295"],
        ),
        case(
            "words",
            array(Type::Text),
            Order::None,
            None,
            ["{}", "{a,NULL,\"NULL\",\"\"}", "[0:1]={x,y}", "{{a,b},{c,\"d e\"}}"],
        ),
        case("inner_row", inner.clone(), Order::None, None, inner_values),
        case("place", inner, Order::None, None, inner_values),
        case(
            "deep",
            deep,
            Order::None,
            None,
            [r#"(1,"(x,""{a,NULL}"")","{1.0,1.00,NaN}")"#, "(,,)", r#"(2,"(,)",{})"#],
        ),
        case("nothing", row(&[]), Order::None, None, ["()"]),
        case(
            "every",
            every,
            Order::None,
            None,
            [
                r#"(1,"x, ""y""",1.50,0044-03-15 BC,2024-01-01 00:00:00.5+00,"{""b"":1e2,""a"":[1,{}],""b"":2}","{""k"": ""v""}",1e+20,"\\x00ff",t,"[0:1]={1,2}",7)"#,
                r#"(,,NaN,infinity,-infinity,null,"[]",-Infinity,"\\x",f,"{}",0)"#,
                "(,,,,,,,,,,,)",
            ],
        ),
    ];
    let others: [(&str, &[&str]); 37] = [
        ("mood", &["sad", "ok", "very \"happy\", {really}", ""]),
        ("feeling", &["sad", "ok"]),
        ("\"char\"", &["a", "\\", "\"", ""]),
        ("money", &["0", "1234.56", "-1234.56"]),
        ("bit(5)", &["10101", "00000"]),
        ("varbit", &["1", "", "1010"]),
        ("inet", &["10.0.0.1", "10.0.0.0/8", "::1", "2001:db8::/32"]),
        ("cidr", &["10.0.0.0/8", "::/0"]),
        ("macaddr", &["08:00:2b:01:02:03"]),
        ("macaddr8", &["08:00:2b:01:02:03:04:05"]),
        ("int4range", &["[1,5)", "empty", "(,)", "[,3]"]),
        ("int8range", &["[1,5)"]),
        ("numrange", &["[1.0,1.50]", "(,1)"]),
        ("tsrange", &["[2024-01-01,infinity)", "(,)"]),
        ("tstzrange", &["[2024-01-01 00:00+00,2024-01-02 00:00:00.5+00)"]),
        ("daterange", &["[2024-01-01,2024-02-01]", "empty"]),
        ("span", &["[1e20,1e30)"]),
        ("int4multirange", &["{}", "{[1,2],[5,9)}"]),
        ("tstzmultirange", &["{[2024-01-01 00:00+00,2024-01-02 00:00+00)}"]),
        ("span_multirange", &["{[1,2],[3,4]}"]),
        ("xml", &["<a b=\"c\">d &amp; e</a>", "text"]),
        ("tsvector", &["a:1A 'it''s':2 \"\\\"", ""]),
        ("tsquery", &["a & !b | 'c d'"]),
        ("point", &["(1,2.5)", "(1e20,-0)"]),
        ("line", &["{1,2,3}"]),
        ("lseg", &["[(1,2),(3,4)]"]),
        ("box", &["(3,4),(1,2)"]),
        ("path", &["((1,2),(3,4))", "[(1,2),(3,4)]"]),
        ("polygon", &["((1,2),(3,4),(5,6))"]),
        ("circle", &["<(1,2),3>"]),
        ("xid", &["0", "4294967295"]),
        ("xid8", &["0", "18446744073709551615"]),
        ("tid", &["(0,1)"]),
        ("pg_snapshot", &["10:20:10,14,15"]),
        ("jsonpath", &["$.a[*] ? (@ > 1)"]),
        ("regclass", &["pg_class", "pg_type"]),
        ("ltree", &["a.b.c", ""]),
    ];
    for (sql_type, values) in others {
        cases.push(case(sql_type, Type::Text, Order::None, None, values.iter().copied()));
    }
    cases
}
