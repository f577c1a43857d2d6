-- What capture.py lets PostgreSQL say: each kind of message of pgoutput, in few bytes. It runs in an
-- empty database on a server with wal_level = logical and max_prepared_transactions > 0.
CREATE SCHEMA shop;
CREATE TYPE shop.mood AS ENUM ('sad', 'glad', 'größer');
CREATE TYPE shop.pair AS (a int, b text);
CREATE DOMAIN shop.cents AS bigint CHECK (VALUE >= 0);
CREATE TABLE shop.plain (id int PRIMARY KEY, name text, amount numeric(10,2));
CREATE TABLE shop.composite (b text, a int, c text, PRIMARY KEY (a, b));
CREATE TABLE shop.whole (id int, note text);
ALTER TABLE shop.whole REPLICA IDENTITY FULL;
CREATE TABLE shop.by_index (id int PRIMARY KEY, code text NOT NULL UNIQUE, note text);
ALTER TABLE shop.by_index REPLICA IDENTITY USING INDEX by_index_code_key;
CREATE TABLE shop.keyless (note text);
CREATE TABLE shop.empty ();
CREATE TABLE "Mixed ""Case""" ("select" int PRIMARY KEY, "Über" text);
CREATE TABLE shop.toasted (id int PRIMARY KEY, big text, small text);
ALTER TABLE shop.toasted ALTER big SET STORAGE EXTERNAL;
CREATE TABLE shop.toasted_whole (id int PRIMARY KEY, big text, small text);
ALTER TABLE shop.toasted_whole ALTER big SET STORAGE EXTERNAL, REPLICA IDENTITY FULL;
CREATE TABLE shop.types (
    id int PRIMARY KEY, flag bool, i2 int2, i8 int8, f4 float4, f8 float8, num numeric, ch char(4),
    bin bytea, d date, t time, tz timetz, ts timestamp, tstz timestamptz, iv interval, u uuid,
    j json, jb jsonb, mood shop.mood, cents shop.cents, pair shop.pair, ints int[], texts text[],
    r int4range, mr int4multirange, ip inet, net cidr, mac macaddr, bits bit varying, p point, x xml,
    v tsvector, l pg_lsn);
CREATE TABLE shop.part (id int, region text, PRIMARY KEY (id, region)) PARTITION BY LIST (region);
CREATE TABLE shop.part_eu PARTITION OF shop.part FOR VALUES IN ('eu');
CREATE TABLE shop.part_us PARTITION OF shop.part FOR VALUES IN ('us');
CREATE TABLE shop.parent (id int PRIMARY KEY);
CREATE TABLE shop.child (id int PRIMARY KEY, parent int REFERENCES shop.parent);
CREATE TABLE shop.wide_names (id int PRIMARY KEY, generated int GENERATED ALWAYS AS (id * 2) STORED, gone int, kept int);
ALTER TABLE shop.wide_names DROP gone;
CREATE PUBLICATION capture FOR ALL TABLES;
SELECT pg_create_logical_replication_slot('capture', 'pgoutput');
SELECT pg_replication_origin_create('elsewhere');

-- Inserts, updates with and without a changed key, deletes.
BEGIN;
INSERT INTO shop.plain VALUES (1, 'one', 1.50), (2, NULL, 'NaN'), (3, 'ünïcödé 🦀', -0.01);
UPDATE shop.plain SET name = 'eins' WHERE id = 1;
UPDATE shop.plain SET id = 20 WHERE id = 2;
DELETE FROM shop.plain WHERE id = 3;
COMMIT;
BEGIN;
INSERT INTO shop.composite VALUES ('x', 1, 'c'), ('y', 2, NULL);
UPDATE shop.composite SET a = 3 - a;
DELETE FROM shop.composite WHERE b = 'x';
COMMIT;

-- The other replica identities.
INSERT INTO shop.whole VALUES (1, 'a'), (NULL, NULL);
UPDATE shop.whole SET note = 'b' WHERE id = 1;
DELETE FROM shop.whole WHERE id IS NULL;
INSERT INTO shop.by_index VALUES (1, 'A', NULL);
UPDATE shop.by_index SET note = 'same key' WHERE id = 1;
UPDATE shop.by_index SET code = 'B' WHERE id = 1;
DELETE FROM shop.by_index;
INSERT INTO shop.keyless VALUES ('');
INSERT INTO shop.empty DEFAULT VALUES;
INSERT INTO "Mixed ""Case""" VALUES (1, E'tab\tand\nnewline');

-- Values out of line, touched and untouched.
INSERT INTO shop.toasted VALUES (1, repeat('0123456789', 210), 's');
UPDATE shop.toasted SET small = 't';
UPDATE shop.toasted SET id = 2;
UPDATE shop.toasted SET big = 'short';
INSERT INTO shop.toasted_whole VALUES (1, repeat('9876543210', 210), 's');
UPDATE shop.toasted_whole SET small = 't';

INSERT INTO shop.types VALUES (
    1, true, -32768, 9223372036854775807, 'Infinity', 'NaN', 123456789012345678901234567890.123, 'ab',
    '\x00ff10', '-infinity', '23:59:59.999999', '12:00+05:30', '0044-03-15 BC', 'infinity',
    '1 year 2 mons -3 days 04:05:06.7', '00112233-4455-6677-8899-aabbccddeeff', '{"b": 1, "a": [ ]}',
    '{"b": 1.50, "a": null}', 'größer', 99, '(1,"x,y")', '{1,NULL,3}', '{"a b",NULL,"NULL","\""}',
    '[1,5)', '{[1,3),[5,8)}', '10.0.0.1/8', '10.0.0.0/8', '08:00:2b:01:02:03', B'10101', '(1.5,-2)',
    '<a>b</a>', 'fat:1 cat:2', '16/B374D848');
INSERT INTO shop.types (id) VALUES (2);

-- Partitions: a row that moves is a delete and an insert.
INSERT INTO shop.part VALUES (1, 'eu'), (2, 'us');
UPDATE shop.part SET region = 'us' WHERE id = 1;

-- TRUNCATE of one, of several, and all that it can be told.
TRUNCATE shop.keyless;
INSERT INTO shop.parent VALUES (1);
INSERT INTO shop.child VALUES (1, 1);
TRUNCATE shop.parent, shop.plain RESTART IDENTITY CASCADE;
TRUNCATE shop.part;

-- Columns that come and go.
INSERT INTO shop.wide_names (id, kept) VALUES (1, 2);
ALTER TABLE shop.wide_names ADD added text DEFAULT 'd';
UPDATE shop.wide_names SET kept = 3;
ALTER TABLE shop.wide_names RENAME kept TO "kept still";
ALTER TABLE shop.wide_names ALTER added TYPE varchar(7);
DELETE FROM shop.wide_names;

-- Subtransactions; nothing of what was rolled back is sent.
BEGIN;
INSERT INTO shop.plain VALUES (5, 'kept', 0);
SAVEPOINT s;
INSERT INTO shop.plain VALUES (6, 'not kept', 0);
ROLLBACK TO s;
SAVEPOINT s2;
INSERT INTO shop.plain VALUES (7, 'kept too', 0);
COMMIT;
BEGIN;
INSERT INTO shop.plain VALUES (8, 'never', 0);
ROLLBACK;

-- Prepared, messages, and a transaction that came from elsewhere.
BEGIN;
INSERT INTO shop.plain VALUES (9, 'prepared', 0);
PREPARE TRANSACTION 'capture';
COMMIT PREPARED 'capture';
SELECT pg_logical_emit_message(false, 'outside', 'of any transaction');
BEGIN;
SELECT pg_logical_emit_message(true, 'inside', '\x00ff'::bytea);
INSERT INTO shop.plain VALUES (10, 'between', 0);
SELECT pg_logical_emit_message(true, '', '');
COMMIT;
SELECT pg_replication_origin_session_setup('elsewhere');
BEGIN;
SELECT pg_replication_origin_xact_setup('0/ABCDEF', '2020-01-01 00:00:00+00');
INSERT INTO shop.plain VALUES (11, 'from elsewhere', 0);
COMMIT;
SELECT pg_replication_origin_session_reset();
