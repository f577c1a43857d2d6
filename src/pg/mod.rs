//! What two rooms need of Postgres: libpq's connection parameters, TLS, authentication, and ordinary
//! connections by tokio-postgres. The replication protocol is `source`'s.
