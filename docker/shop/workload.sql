-- One round of the shop's customers, for pgbench: an order of up to three products, and now and then a step
-- of an older one, another price, another name.
\set customer random(1, 1000)
\set product random(1, 200)
\set quantity random(1, 4)
\set chance random(1, 10)
WITH picked AS MATERIALIZED (
  SELECT product_id, price_cents FROM products WHERE product_id IN (:product, 1 + :product % 200, 1 + (:product + 7) % 200)),
placed AS (
  INSERT INTO orders (customer_id, total_cents)
  SELECT c.customer_id, (SELECT sum(:quantity * price_cents) FROM picked)
  FROM customers c WHERE c.customer_id = :customer
  RETURNING order_id)
INSERT INTO order_items (order_id, product_id, quantity, price_cents)
SELECT order_id, product_id, :quantity, price_cents FROM placed, picked;
\if :chance <= 5
UPDATE orders SET status = CASE status WHEN 'pending' THEN 'confirmed' ELSE 'shipped' END
WHERE order_id = (SELECT order_id FROM orders WHERE status IN ('pending', 'confirmed') ORDER BY order_id LIMIT 1);
\elif :chance <= 7
UPDATE products SET price_cents = 100 + :customer * 9 WHERE product_id = :product;
\elif :chance <= 8
UPDATE customers SET full_name = 'Customer ' || :customer || ', moved' WHERE customer_id = :customer;
\endif
