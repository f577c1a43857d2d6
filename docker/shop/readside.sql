-- What Readside needs of the source, made once by the tables' owner.
CREATE ROLE readside LOGIN REPLICATION PASSWORD 'readside';
GRANT SELECT ON ALL TABLES IN SCHEMA public TO readside;
CREATE PUBLICATION readside FOR ALL TABLES;
