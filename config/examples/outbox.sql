-- A transactional outbox: what the application has to tell is written in the transaction that did it, and
-- may be deleted in the same one. The write-ahead log has it all the same.
CREATE TABLE domain_events (
    event_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    aggregate_type text NOT NULL,
    aggregate_id text NOT NULL,
    event_type text NOT NULL,
    payload jsonb NOT NULL
);

-- As the application writes it:
--   BEGIN;
--   UPDATE orders SET status = 'confirmed' WHERE order_id = 7;
--   INSERT INTO domain_events (aggregate_type, aggregate_id, event_type, payload)
--     VALUES ('order', '7', 'OrderConfirmed', '{"order_id": 7}');
--   DELETE FROM domain_events;
--   COMMIT;
