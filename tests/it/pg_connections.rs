//! Connections to Postgres as libpq makes them: every sslmode, every kind of password, several hosts.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use readside::config::Secret;
use readside::pg::{self, Error, Kind, Params, Session};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::harness::process::{RunAs, run};
use crate::harness::scratch::Scratch;
use crate::harness::{Certificates, Postgres, PostgresOptions, beside, wait};

/// Users by what they may do.
const HBA: &str = "
local   all all                        trust
hostssl all tls_user   127.0.0.1/32    trust
hostnossl all plain_user 127.0.0.1/32  trust
host    all scram_user 127.0.0.1/32    scram-sha-256
host    all md5_user   127.0.0.1/32    md5
host    all clear_user 127.0.0.1/32    password
hostssl all readside   127.0.0.1/32    cert
host    all postgres   127.0.0.1/32    trust
";

const USERS: &str = "
CREATE ROLE tls_user LOGIN;
CREATE ROLE plain_user LOGIN;
CREATE ROLE readside LOGIN;
SET password_encryption = 'scram-sha-256';
CREATE ROLE scram_user LOGIN PASSWORD 's3:cr\\et';
CREATE ROLE clear_user LOGIN PASSWORD 'clear';
SET password_encryption = 'md5';
CREATE ROLE md5_user LOGIN PASSWORD 'hashed';
";

async fn server(tls: Option<&Certificates>) -> Postgres {
    let options = PostgresOptions { hba: Some(HBA), tls, ..Default::default() };
    let postgres = Postgres::start(&options).await;
    postgres.client("postgres").await.batch_execute(USERS).await.unwrap();
    postgres
}

/// Both kinds of connection are opened by one code; the ordinary one can be asked.
async fn open(url: &str) -> Result<Session, Error> {
    pg::connect(&Params::parse(url, None)?, "readside test").await
}

/// Whether the session is encrypted.
async fn tls(url: &str) -> Result<bool, Error> {
    let session = open(url).await?;
    let sql = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
    Ok(session.query_one(sql, &[]).await.unwrap().get(0))
}

async fn refusal(url: &str) -> Error {
    match open(url).await {
        Ok(_) => panic!("connected: {url}"),
        Err(error) => error,
    }
}

fn url(postgres: &Postgres, user: &str, query: &str) -> String {
    format!("{}?{query}", postgres.url_as(user, "postgres"))
}

/// An error with its causes.
fn chain(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text += &format!(": {error}");
        cause = error.source();
    }
    text
}

#[tokio::test]
async fn sslmodes_where_tls_is_offered() {
    let certificates = Certificates::make();
    let postgres = server(Some(&certificates)).await;
    let ca = certificates.authority.display();
    for (user, query, encrypted) in [
        ("postgres", "sslmode=disable".to_string(), false),
        ("postgres", "sslmode=allow".into(), false),
        ("postgres", "".into(), true),
        ("postgres", "sslmode=prefer".into(), true),
        ("postgres", "sslmode=require".into(), true),
        ("postgres", format!("sslmode=require&sslrootcert={ca}"), true),
        ("postgres", format!("sslmode=verify-ca&sslrootcert={ca}"), true),
        ("postgres", format!("sslmode=verify-full&sslrootcert={ca}"), true),
        (
            "postgres",
            format!("sslmode=verify-full&sslrootcert={ca}&host=localhost&hostaddr=127.0.0.1"),
            true,
        ),
        // The second attempt meets another line of pg_hba.conf.
        ("tls_user", "sslmode=allow".into(), true),
        ("tls_user", "sslmode=prefer".into(), true),
        ("plain_user", "sslmode=prefer".into(), false),
        ("plain_user", "sslmode=allow".into(), false),
    ] {
        let url = url(&postgres, user, &query);
        match tls(&url).await {
            Ok(found) => assert_eq!(found, encrypted, "{url}"),
            Err(error) => panic!("{url}: {}", chain(&error)),
        }
    }
    for (user, mode) in [("tls_user", "disable"), ("plain_user", "require")] {
        let error = refusal(&url(&postgres, user, &format!("sslmode={mode}"))).await;
        assert_eq!((error.kind(), error.code()), (Kind::Authentication, Some("28000")));
        assert!(error.to_string().contains("pg_hba.conf"), "{error}");
        assert!(error.to_string().contains(&format!("127.0.0.1:{}", postgres.port())), "{error}");
    }
}

#[tokio::test]
async fn sslmodes_where_tls_is_not_offered() {
    let postgres = server(None).await;
    for mode in ["disable", "allow", "prefer"] {
        let url = url(&postgres, "postgres", &format!("sslmode={mode}"));
        assert!(!tls(&url).await.unwrap(), "{mode}");
    }
    let certificates = Certificates::make();
    let ca = certificates.authority.display();
    for mode in ["require", "verify-ca", "verify-full"] {
        let query = format!("sslmode={mode}&sslrootcert={ca}");
        let error = refusal(&url(&postgres, "postgres", &query)).await;
        assert_eq!(error.kind(), Kind::Tls, "{error}");
    }
    // A Unix socket needs no TLS: sslmode says nothing there.
    let socket = postgres.socket_url("postgres");
    assert!(!tls(&format!("{socket}&sslmode=verify-full")).await.unwrap());
}

#[tokio::test]
async fn certificates_are_verified() {
    let (right, wrong) = (Certificates::make(), Certificates::make());
    let postgres = server(Some(&right)).await;
    let (ca, other) = (right.authority.display(), wrong.authority.display());
    for mode in ["require", "verify-ca", "verify-full"] {
        let query = format!("sslmode={mode}&sslrootcert={other}");
        let error = refusal(&url(&postgres, "postgres", &query)).await;
        assert_eq!(error.kind(), Kind::Tls, "{error}");
        assert!(chain(&error).contains("certificate"), "{}", chain(&error));
    }
    // As in libpq: prefer goes on without TLS.
    let query = format!("sslmode=prefer&sslrootcert={other}");
    assert!(!tls(&url(&postgres, "postgres", &query)).await.unwrap());

    let elsewhere = format!("host=elsewhere.example&hostaddr=127.0.0.1&sslrootcert={ca}");
    let full = url(&postgres, "postgres", &format!("sslmode=verify-full&{elsewhere}"));
    let error = refusal(&full).await;
    assert_eq!(error.kind(), Kind::Tls, "{error}");
    assert!(chain(&error).contains("elsewhere.example"), "{}", chain(&error));
    assert!(
        tls(&url(&postgres, "postgres", &format!("sslmode=verify-ca&{elsewhere}"))).await.unwrap()
    );

    for (query, what) in [
        ("sslmode=verify-full&sslrootcert=/nowhere.crt".to_string(), "/nowhere.crt"),
        (format!("sslmode=require&sslrootcert={}", right.server_key.display()), "PEM"),
        ("sslrootcert=system".into(), "certificate"),
    ] {
        let error = refusal(&url(&postgres, "postgres", &query)).await;
        assert!(matches!(error.kind(), Kind::Configuration | Kind::Tls), "{error}");
        assert!(chain(&error).contains(what), "{}", chain(&error));
    }
}

#[tokio::test]
async fn client_certificates() {
    let certificates = Certificates::make();
    let postgres = server(Some(&certificates)).await;
    let cert = certificates.client.display();
    let with = |key: &Path| {
        url(
            &postgres,
            "readside",
            &format!("sslmode=require&sslcert={cert}&sslkey={}", key.display()),
        )
    };
    assert!(tls(&with(&certificates.client_key)).await.unwrap());

    // PKCS8 was it; now SEC1.
    let scratch = Scratch::new("key");
    let sec1 = scratch.path().join("sec1.key");
    let mut openssl = Command::new("openssl");
    openssl.args(["pkey", "-traditional", "-in"]).arg(&certificates.client_key);
    fs::write(&sec1, run("openssl pkey", openssl)).unwrap();
    fs::set_permissions(&sec1, fs::Permissions::from_mode(0o600)).unwrap();
    assert!(fs::read_to_string(&sec1).unwrap().contains("BEGIN EC PRIVATE KEY"));
    assert!(tls(&with(&sec1)).await.unwrap());

    fs::set_permissions(&sec1, fs::Permissions::from_mode(0o644)).unwrap();
    let error = refusal(&with(&sec1)).await;
    assert_eq!(error.kind(), Kind::Configuration);
    assert!(error.to_string().contains("chmod 0600"), "{error}");
    let error = refusal(&with(&certificates.server_key)).await;
    assert!(error.to_string().contains("is not the certificate's"), "{error}");
    let error = refusal(&with(Path::new("/nowhere.key"))).await;
    assert!(error.to_string().contains("/nowhere.key"), "{error}");

    let error = refusal(&url(&postgres, "readside", "sslmode=require")).await;
    assert_eq!((error.kind(), error.code()), (Kind::Authentication, Some("28000")), "{error}");
}

#[tokio::test]
async fn passwords() {
    let certificates = Certificates::make();
    let postgres = server(Some(&certificates)).await;
    let scram = "scram_user:s3%3Acr%5Cet";
    for (user, query) in [
        (scram, "sslmode=disable"),
        (scram, "sslmode=require"),
        (scram, "sslmode=require&channel_binding=require"),
        (scram, "sslmode=require&channel_binding=disable"),
        (scram, "sslmode=disable&require_auth=scram-sha-256"),
        ("md5_user:hashed", "sslmode=disable"),
        ("md5_user:hashed", "sslmode=require&require_auth=!password,!none"),
        ("clear_user:clear", "sslmode=disable"),
        ("clear_user:clear", "sslmode=prefer"),
    ] {
        let url = url(&postgres, user, query);
        if let Err(error) = open(&url).await {
            panic!("{url}: {}", chain(&error));
        }
    }
    for user in ["scram_user:wrong", "md5_user:wrong", "clear_user:wrong"] {
        for mode in ["disable", "prefer"] {
            let error = refusal(&url(&postgres, user, &format!("sslmode={mode}"))).await;
            assert_eq!((error.kind(), error.code()), (Kind::Authentication, Some("28P01")));
            assert!(!chain(&error).contains("wrong"), "{}", chain(&error));
        }
    }
    for (user, query, what) in [
        (scram, "sslmode=disable&channel_binding=require", "channel_binding"),
        ("md5_user:hashed", "sslmode=require&channel_binding=require", "channel_binding"),
        ("postgres", "channel_binding=require", "channel_binding"),
        ("md5_user:hashed", "require_auth=scram-sha-256", "md5, which require_auth forbids"),
        ("postgres", "require_auth=!none", "none, which require_auth forbids"),
        ("md5_user", "passfile=/nowhere", "the password of \"md5_user\""),
    ] {
        let error = refusal(&url(&postgres, user, query)).await;
        assert_eq!(error.kind(), Kind::Authentication, "{error}");
        assert!(error.to_string().contains(what), "{error}");
    }
    // The caller's password wins over the URL's.
    let params = Params::parse(
        &url(&postgres, "scram_user:wrong", "sslmode=disable"),
        Some(&Secret::new("s3:cr\\et")),
    );
    pg::connect(&params.unwrap(), "readside test").await.unwrap();
}

#[tokio::test]
async fn password_files() {
    let postgres = server(None).await;
    let scratch = Scratch::new("pgpass");
    let file = scratch.path().join("pgpass");
    let port = postgres.port();
    fs::write(
        &file,
        format!(
            "127.0.0.1:1:*:*:wrong\n127.0.0.1:{port}:other:*:wrong\n\
             127.0.0.1:{port}:postgres:scram_user:s3\\:cr\\\\et\n*:*:*:md5_user:hashed\n"
        ),
    )
    .unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let with = |user: &str| url(&postgres, user, &format!("passfile={}", file.display()));
    open(&with("scram_user")).await.unwrap();
    open(&with("md5_user")).await.unwrap();
    let error = refusal(&with("clear_user")).await;
    assert_eq!(error.kind(), Kind::Authentication, "{error}");
    // The URL's comes first.
    open(&with("clear_user:clear")).await.unwrap();

    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    let error = refusal(&with("scram_user")).await;
    assert!(error.to_string().contains("chmod 0600"), "{error}");
    // Nobody asks for a password: the file does not matter.
    open(&with("postgres")).await.unwrap();
}

#[tokio::test]
async fn several_hosts() {
    let mut writable = server(None).await;
    let read_only = PostgresOptions {
        settings: &[("default_transaction_read_only", "on")],
        ..Default::default()
    };
    let read_only = Postgres::start(&read_only).await;
    let (first, second) = (read_only.port(), writable.port());
    // Bound and closed again: nobody listens.
    let dead = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let hosts = |ports: &[u16], query: &str| {
        let hosts: Vec<String> = ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
        format!("postgres://postgres@{}/postgres?{query}", hosts.join(","))
    };
    let reached = async |url: String| {
        let session = open(&url).await?;
        let row = session.query_one("SELECT current_setting('port')::int4", &[]).await.unwrap();
        Ok::<_, Error>(u16::try_from(row.get::<_, i32>(0)).unwrap())
    };
    assert_eq!(reached(hosts(&[dead, second], "")).await.unwrap(), second);
    for (attrs, expected) in [
        ("any", first),
        ("read-write", second),
        ("read-only", first),
        ("primary", first),
        ("prefer-standby", first),
    ] {
        let url = hosts(&[dead, first, second], &format!("target_session_attrs={attrs}"));
        assert_eq!(reached(url).await.unwrap(), expected, "{attrs}");
    }
    let random = hosts(&[dead, second], "load_balance_hosts=random");
    assert_eq!(reached(random).await.unwrap(), second);

    let error = refusal(&hosts(&[first, second], "target_session_attrs=standby")).await;
    assert_eq!(error.kind(), Kind::Unsuitable);
    let error = refusal(&hosts(&[first], "target_session_attrs=read-write")).await;
    assert!(error.to_string().ends_with("the server is read-only"), "{error}");

    writable.kill9();
    let error = refusal(&hosts(&[dead, second], "")).await;
    assert_eq!(error.kind(), Kind::Unreachable);
    for port in [dead, second] {
        assert!(
            error.to_string().contains(&format!("127.0.0.1:{port}: cannot connect")),
            "{error}"
        );
    }
    let error = refusal("postgres://postgres@no.such.host.invalid/").await;
    assert_eq!(error.kind(), Kind::Unreachable, "{error}");
    let error = refusal("postgres://postgres@/?host=/nowhere").await;
    assert!(error.to_string().contains("/nowhere/.s.PGSQL.5432"), "{error}");
}

#[tokio::test]
async fn a_standby_is_known() {
    let primary = server(None).await;
    let standby = Postgres::start(&PostgresOptions::default()).await;
    // A server that stays in recovery for want of WAL is a hot standby to its clients.
    let conninfo = format!("host=127.0.0.1 port={} user=postgres", primary.port());
    standby.configure(&[("primary_conninfo", &conninfo)]);
    fs::write(standby.data_dir().join("standby.signal"), "").unwrap();
    let mut standby = standby;
    standby.stop_fast().await;
    standby.restart().await;

    let hosts = format!("127.0.0.1:{},127.0.0.1:{}", primary.port(), standby.port());
    for (attrs, recovering) in
        [("standby", true), ("prefer-standby", true), ("primary", false), ("read-write", false)]
    {
        let url = format!("postgres://postgres@{hosts}/postgres?target_session_attrs={attrs}");
        let session = open(&url).await.unwrap();
        let row = session.query_one("SELECT pg_is_in_recovery()", &[]).await.unwrap();
        assert_eq!(row.get::<_, bool>(0), recovering, "{attrs}");
    }
}

#[tokio::test]
async fn settings_are_pinned() {
    let postgres = server(None).await;
    let client = postgres.client("postgres").await;
    client
        .batch_execute(
            "ALTER ROLE postgres SET search_path = 'evil';
             ALTER ROLE postgres SET DateStyle = 'German';
             ALTER ROLE postgres SET statement_timeout = '1ms';
             ALTER DATABASE postgres SET bytea_output = 'escape'",
        )
        .await
        .unwrap();
    let session = open(&url(
        &postgres,
        "postgres",
        "options=-c%20TimeZone%3DAsia/Tokyo%20-c%20work_mem%3D1MB",
    ))
    .await
    .unwrap();
    for (name, value) in [
        ("client_encoding", "UTF8"),
        ("search_path", "pg_catalog"),
        ("row_security", "off"),
        ("datestyle", "ISO, MDY"),
        ("intervalstyle", "postgres"),
        ("timezone", "UTC"),
        ("extra_float_digits", "1"),
        ("bytea_output", "hex"),
        ("statement_timeout", "0"),
        // Not pinned: as the URL has it.
        ("work_mem", "1MB"),
        ("application_name", "readside test"),
    ] {
        let row = session.query_one("SELECT current_setting($1)", &[&name]).await.unwrap();
        assert_eq!(row.get::<_, String>(0), value, "{name}");
    }
    assert!(session.version() >= 140_000, "{}", session.version());
    let named = open(&url(&postgres, "postgres", "application_name=mine")).await.unwrap();
    let row = named.query_one("SELECT current_setting('application_name')", &[]).await.unwrap();
    assert_eq!(row.get::<_, String>(0), "mine");
}

#[tokio::test]
async fn a_session_knows_when_it_has_ended() {
    let mut postgres = server(None).await;
    let session = open(&postgres.url("postgres")).await.unwrap();
    let closing = open(&postgres.url("postgres")).await.unwrap();
    let row = closing.query_one("SELECT pg_backend_pid()", &[]).await.unwrap();
    let pid: i32 = row.get(0);
    closing.close().await;
    wait::until("the backend to have gone", async || {
        let sql = "SELECT count(*) FROM pg_stat_activity WHERE pid = $1";
        let left: i64 = session.query_one(sql, &[&pid]).await.unwrap().get(0);
        if left == 0 { Ok(()) } else { Err("still there") }
    })
    .await;
    postgres.stop_immediate().await;
    let error = session.closed().await;
    assert_eq!(error.kind(), Kind::Closed, "{error}");
    assert!(error.to_string().contains(&format!("127.0.0.1:{}", postgres.port())));
}

/// Listens and does `answer` on every connection.
async fn fake(answer: &'static [u8], then_close: bool) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    beside(async move {
        let mut open = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 8];
            let _ = stream.read_exact(&mut request).await;
            let _ = stream.write_all(answer).await;
            if !then_close {
                open.push(stream);
            }
        }
    });
    port
}

#[tokio::test]
async fn what_is_no_postgres_is_told_apart() {
    let at = |port: u16, query: &str| format!("postgres://u@127.0.0.1:{port}/d?{query}");
    let http = fake(b"HTTP/1.1 400 Bad Request\r\n\r\n", true).await;
    for mode in ["disable", "require"] {
        let error = refusal(&at(http, &format!("sslmode={mode}"))).await;
        assert_eq!(error.kind(), Kind::Protocol, "{error}");
    }
    let closing = fake(b"", true).await;
    let error = refusal(&at(closing, "sslmode=disable")).await;
    assert_eq!(error.kind(), Kind::Closed, "{error}");
    // More than the one byte, before any TLS: nothing of it may be believed (CVE-2021-23222).
    let stuffed = fake(b"SR\0\0\0\x08\0\0\0\0Z\0\0\0\x05I", false).await;
    let error = refusal(&at(stuffed, "sslmode=require&connect_timeout=2")).await;
    assert_eq!(error.kind(), Kind::Tls, "{error}");
    for bytes in [
        &b"R\0\0\0\x03"[..],
        b"R\xff\xff\xff\xff",
        b"R\x7f\xff\xff\xff",
        b"R\0\0\0\x08\0\0\0\x63",
        b"R\0\0\0\x09\0\0\0\x0a\0",
        b"R\0\0\0\x12\0\0\0\x0aMAGIC\0\0\0\0",
        b"E\0\0\0\x05\0",
        b"E\0\0\0\x06SX",
        b"S\0\0\0\x05x",
        b"Z\0\0\0\x05I",
        b"!\0\0\0\x04",
    ] {
        let port = fake(Box::leak(bytes.to_vec().into_boxed_slice()), true).await;
        let error = refusal(&at(port, "sslmode=disable")).await;
        assert!(
            !matches!(error.kind(), Kind::Unreachable | Kind::Configuration),
            "{bytes:?}: {error}"
        );
    }
    let silent = fake(b"", false).await;
    let error = refusal(&at(silent, "sslmode=disable&connect_timeout=1")).await;
    assert_eq!(error.kind(), Kind::Unreachable, "{error}");
    assert!(error.to_string().contains("connect_timeout"), "{error}");
    // The next host is asked.
    let postgres = server(None).await;
    let hosts = format!("127.0.0.1:{silent},127.0.0.1:{}", postgres.port());
    open(&format!("postgres://postgres@{hosts}/postgres?connect_timeout=2")).await.unwrap();
}

/// A server with the certificate at `certificate`, which `make` leaves there with its key.
async fn server_with(scratch: &Scratch) -> Postgres {
    let (certificate, key) = (scratch.path().join("server.crt"), scratch.path().join("server.key"));
    RunAs::unprivileged(&["postgres", "nobody"]).own(&key);
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    let settings = [
        ("ssl", "on"),
        ("ssl_cert_file", certificate.to_str().unwrap()),
        ("ssl_key_file", key.to_str().unwrap()),
    ];
    let options = PostgresOptions { hba: Some(HBA), settings: &settings, ..Default::default() };
    let postgres = Postgres::start(&options).await;
    postgres.client("postgres").await.batch_execute(USERS).await.unwrap();
    postgres
}

fn openssl(dir: &Path, args: &str) {
    let mut command = Command::new("openssl");
    command.args(args.split_whitespace()).current_dir(dir);
    run("openssl", command);
}

async fn accepts(postgres: &Postgres, root: &Path) {
    let root = root.display();
    for query in [
        "sslmode=require&channel_binding=require".to_string(),
        format!("sslmode=verify-ca&channel_binding=require&sslrootcert={root}"),
        format!("sslmode=verify-full&sslrootcert={root}&host=localhost&hostaddr=127.0.0.1"),
    ] {
        let url = url(postgres, "scram_user:s3%3Acr%5Cet", &query);
        match tls(&url).await {
            Ok(encrypted) => assert!(encrypted),
            Err(error) => panic!("{url}: {}", chain(&error)),
        }
    }
    let query = format!("sslmode=verify-full&sslrootcert={root}&host=other&hostaddr=127.0.0.1");
    let error = refusal(&url(postgres, "scram_user:s3%3Acr%5Cet", &query)).await;
    assert_eq!(error.kind(), Kind::Tls, "{error}");
}

/// The recipes of the Postgres manual, 18.9.5: no subjectAltName, version 1, self-signed.
#[tokio::test]
async fn certificates_of_the_manuals_recipes() {
    let scratch = Scratch::new("self-signed");
    openssl(
        scratch.path(),
        "req -new -x509 -days 365 -nodes -out server.crt -keyout server.key -subj /CN=localhost",
    );
    let postgres = server_with(&scratch).await;
    accepts(&postgres, &scratch.path().join("server.crt")).await;

    let scratch = Scratch::new("version-1");
    let dir = scratch.path();
    openssl(dir, "req -new -x509 -days 365 -nodes -out root.crt -keyout root.key -subj /CN=root");
    openssl(dir, "req -new -nodes -out server.csr -keyout server.key -subj /CN=localhost");
    openssl(
        dir,
        "x509 -req -in server.csr -days 365 -sha384 -CA root.crt -CAkey root.key \
         -CAcreateserial -out server.crt",
    );
    let postgres = server_with(&scratch).await;
    accepts(&postgres, &dir.join("root.crt")).await;
    // TLS 1.2 signs the handshake in another way.
    let client = postgres.client("postgres").await;
    client.batch_execute("ALTER SYSTEM SET ssl_max_protocol_version = 'TLSv1.2'").await.unwrap();
    client.batch_execute("SELECT pg_reload_conf()").await.unwrap();
    wait::until("TLS 1.2", async || {
        let url = url(&postgres, "postgres", "sslmode=require");
        let session = open(&url).await.map_err(|error| chain(&error))?;
        let sql = "SELECT version FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
        let version: String = session.query_one(sql, &[]).await.unwrap().get(0);
        if version == "TLSv1.2" { Ok(()) } else { Err(version) }
    })
    .await;
    accepts(&postgres, &dir.join("root.crt")).await;

    // Another root of the same name did not sign it.
    openssl(
        dir,
        "req -new -x509 -days 365 -nodes -out forged.crt -keyout forged.key -subj /CN=root",
    );
    let forged = format!("sslmode=verify-ca&sslrootcert={}", dir.join("forged.crt").display());
    let error = refusal(&url(&postgres, "postgres", &forged)).await;
    assert_eq!(error.kind(), Kind::Tls, "{error}");
}
