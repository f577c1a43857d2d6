SELECT id FROM orders WHERE parent_id NOT IN (SELECT product_id FROM items)

SELECT id FROM orders o WHERE parent_id NOT IN (SELECT product_id FROM items i WHERE i.order_id = o.id)

SELECT id FROM orders o WHERE customer_id NOT IN (SELECT i.product_id FROM items i WHERE i.order_id = o.id)

SELECT id FROM orders o WHERE parent_id IN (SELECT product_id FROM items i WHERE i.order_id = o.id) OR total >
3

SELECT id FROM orders o WHERE total > 3 OR id IN (SELECT order_id FROM items)

SELECT id FROM orders o WHERE total > 3 OR parent_id NOT IN (SELECT product_id FROM items)

SELECT id, parent_id IN (SELECT product_id FROM items) AS x FROM orders

SELECT id, parent_id NOT IN (SELECT product_id FROM items) AS x FROM orders

SELECT id, parent_id IN (SELECT product_id FROM items i WHERE i.order_id = o.id) AS x FROM orders o

SELECT id, CASE WHEN id IN (SELECT order_id FROM items) THEN 'a' ELSE 'b' END AS x FROM orders

SELECT id, CASE WHEN EXISTS (SELECT 1 FROM items i WHERE i.order_id = o.id) THEN 1 ELSE 2 END AS x FROM orders
o

SELECT id FROM orders o WHERE EXISTS (SELECT 1 FROM items i WHERE i.order_id = o.id) OR EXISTS (SELECT 1 FROM
tags t WHERE t.order_id = o.id)

SELECT id FROM orders o WHERE NOT (EXISTS (SELECT 1 FROM items i WHERE i.order_id = o.id) AND total > 2)

SELECT c.id FROM customers c WHERE EXISTS (SELECT 1 FROM orders o WHERE o.customer_id = c.id AND EXISTS
(SELECT 1 FROM items i WHERE i.order_id = o.id AND i.product_id = c.id))

SELECT c.id FROM customers c WHERE EXISTS (SELECT 1 FROM orders o WHERE o.customer_id = c.id AND NOT EXISTS
(SELECT 1 FROM items i WHERE i.order_id = o.id AND i.product_id = c.id))

SELECT c.id, (SELECT count(*) FROM orders o WHERE o.customer_id = c.id AND EXISTS (SELECT 1 FROM items i WHERE
i.order_id = o.id AND i.quantity > c.id)) AS n FROM customers c

SELECT c.id, (SELECT sum((SELECT count(*) FROM items i WHERE i.order_id = o.id AND i.product_id = c.id)) FROM
orders o WHERE o.customer_id = c.id) AS n FROM customers c

SELECT c.id, (SELECT count(*) FROM orders o WHERE o.customer_id = c.id HAVING count(*) > 1) AS n FROM
customers c

SELECT c.id, (SELECT DISTINCT region FROM customers d WHERE d.id = c.id) AS n FROM customers c

SELECT c.id, (SELECT count(DISTINCT status) FROM orders o WHERE o.customer_id = c.id) AS n, (SELECT
coalesce(max(total), -1) FROM orders o WHERE o.customer_id = c.id) AS m FROM customers c

SELECT c.id, (SELECT o.status || c.region FROM orders o WHERE o.customer_id = c.id ORDER BY o.id LIMIT 1) AS m
FROM customers c

SELECT status, count(*) AS n FROM orders GROUP BY status HAVING count(*) > (SELECT count(*) FROM customers)

SELECT status, count(*) AS n FROM orders GROUP BY status HAVING status IN (SELECT region FROM customers)

SELECT status, count(*) AS n FROM orders o GROUP BY status HAVING EXISTS (SELECT 1 FROM customers c WHERE
c.region = o.status)

SELECT status, count(*) AS n FROM orders o GROUP BY status HAVING max(o.total) = (SELECT max(o2.total) FROM
orders o2 WHERE o2.status = o.status)

SELECT o.id, c.id AS c FROM orders o JOIN customers c ON c.id = o.customer_id AND EXISTS (SELECT 1 FROM items
i WHERE i.order_id = o.id)

SELECT o.id, c.id AS c FROM orders o LEFT JOIN customers c ON c.id = o.customer_id AND EXISTS (SELECT 1 FROM
items i WHERE i.order_id = o.id)

SELECT o.id, c.id AS c FROM orders o LEFT JOIN customers c ON c.id = o.customer_id AND c.id IN (SELECT
product_id FROM items)

SELECT o.id, c.id AS c FROM orders o LEFT JOIN customers c ON c.id = (SELECT max(i.product_id) FROM items i
WHERE i.order_id = o.id)

SELECT o.id, c.id AS c FROM orders o JOIN customers c ON c.id = (SELECT max(i.product_id) FROM items i WHERE
i.order_id = o.id)

SELECT c.id, l.id AS o FROM customers c CROSS JOIN LATERAL (SELECT * FROM orders o WHERE o.customer_id = c.id)
l

SELECT c.id, l.id AS o, l.d FROM customers c CROSS JOIN LATERAL (SELECT o.id, o.total - c.id AS d FROM orders
o WHERE o.customer_id = c.id) l

SELECT c.id, l.id AS o, l.d FROM customers c LEFT JOIN LATERAL (SELECT o.id, o.total - c.id AS d FROM orders o
WHERE o.customer_id = c.id) l ON true

SELECT c.id, l.id AS o FROM customers c LEFT JOIN LATERAL (SELECT o.id FROM orders o WHERE o.customer_id =
c.id AND o.total > c.id) l ON true

SELECT c.id, l.status, l.n FROM customers c CROSS JOIN LATERAL (SELECT o.status, count(*) AS n FROM orders o
WHERE o.customer_id = c.id GROUP BY o.status) l

SELECT c.id, l.status FROM customers c CROSS JOIN LATERAL (SELECT DISTINCT o.status FROM orders o WHERE
o.customer_id = c.id) l

SELECT c.id, v.label FROM customers c JOIN (VALUES ('EU', 'Europe'), ('a', 'A')) v (code, label) ON v.code =
c.region

SELECT o.id, v.n FROM orders o LEFT JOIN (VALUES (1, 10), (2, NULL)) v (id, n) ON v.id = o.id

WITH v (code, label) AS (VALUES ('EU', 'Europe'), ('a', 'A')) SELECT c.id, v.label FROM customers c JOIN v ON
v.code = c.region

SELECT * FROM tags JOIN orders ON orders.id = tags.order_id

SELECT tag, order_id, status FROM tags JOIN (SELECT id AS order_id, status FROM orders) o USING (order_id)

SELECT id, arr[1:2] AS x, arr[2:] AS y, arr[:1] AS z FROM things

SELECT id, json_agg(arr) AS x FROM things GROUP BY id

SELECT a, json_agg(arr ORDER BY id) AS x, jsonb_agg(j ORDER BY id) AS y FROM things GROUP BY a

SELECT a, jsonb_agg(t ORDER BY t.id) AS x FROM things t GROUP BY a

SELECT a, count(*) FILTER (WHERE bl) AS x, count(n) FILTER (WHERE t LIKE 'a%' OR b = 2) AS y FROM things GROUP
BY a

SELECT DISTINCT ON (a) a, id, t FROM things ORDER BY a, n DESC NULLS LAST, id

SELECT DISTINCT ON (a, b) a, b, id FROM things ORDER BY b DESC, a, f, id DESC

SELECT id FROM things ORDER BY n, t

SELECT id FROM things WHERE a IS DISTINCT FROM b

SELECT id, n IS NOT DISTINCT FROM a AS x FROM things

SELECT id FROM things WHERE (a, b) IN ((1, 1), (2, 3))

SELECT id FROM things WHERE (a, b) NOT IN ((1, 1), (2, 3))

SELECT id FROM things WHERE (a, b) IN (SELECT id, product_id FROM items)

SELECT id FROM things WHERE (a, b) < (2, 2)

SELECT id FROM things WHERE a = ANY (arr)

SELECT id FROM things WHERE a <> ALL (arr)

SELECT id FROM things WHERE a > ANY (arr) OR a <= ALL (arr)

SELECT id FROM things WHERE t = ANY (ARRAY['a', 'b'])

SELECT id FROM things WHERE t = ANY ('{a,b}')

SELECT id FROM things WHERE a = ANY (SELECT product_id FROM items)

SELECT id FROM things WHERE a <> ALL (SELECT product_id FROM items)

SELECT id, a::text || coalesce(t, '?') AS x, format('%s-%s', a, t) AS y, md5(t) AS z FROM things

SELECT id, initcap(t) AS x, translate(t, 'ab', 'xy') AS y, repeat(t, 2) AS z, strpos(t, 'b') AS w FROM things

SELECT id, string_to_array(t, ' ') AS x, array_to_string(words, ',', '*') AS y FROM things

SELECT id, j ->> 'a' AS x, j -> 'a' -> 'b' AS y, j #>> '{a,b,0}' AS z, j @> '{"a": 1}' AS w, j ? 'a' AS v FROM
things

SELECT n, count(*) AS c, sum(a) AS s FROM things GROUP BY n

SELECT n, n::text AS x, count(*) AS c FROM things GROUP BY n, n::text

SELECT f, f::text AS x, count(*) AS c FROM things GROUP BY f, f::text

SELECT iv, iv::text AS x, count(*) AS c FROM things GROUP BY iv, iv::text

SELECT bp, count(*) AS c FROM things GROUP BY bp

SELECT DISTINCT n, scale(n) AS x FROM things

SELECT arr, count(*) AS c FROM things GROUP BY arr

SELECT by, bl, d, ts, tz, count(*) AS c FROM things GROUP BY by, bl, d, ts, tz

SELECT x.id, y.id AS other FROM things x JOIN things y ON x.n = y.a

SELECT x.id, y.id AS other FROM things x JOIN things y ON x.f = y.n

SELECT x.id, y.id AS other FROM things x JOIN things y ON x.d = y.ts

SELECT x.id, y.id AS other FROM things x JOIN things y ON x.ts = y.tz

SELECT x.id, y.id AS other FROM things x JOIN things y ON x.bp = y.t

SELECT x.id, y.id AS other FROM things x JOIN things y ON x.iv = y.iv AND x.id <> y.id

SELECT x.id, y.id AS other FROM things x LEFT JOIN things y ON x.b = y.a AND x.a > y.b AND y.t = 'a' AND x.bl

SELECT x.id, y.id AS other FROM things x LEFT JOIN things y ON x.bl AND x.b = y.a WHERE y.id IS NULL OR y.a >
1

SELECT x.id, y.id AS other FROM things x LEFT JOIN things y ON x.b = y.a WHERE y.t = 'a'

SELECT string_agg(t, ',' ORDER BY n DESC, id) AS x FROM things

SELECT string_agg(DISTINCT t, ',') AS x, array_agg(DISTINCT n) AS y FROM things

SELECT array_agg(DISTINCT a ORDER BY a DESC NULLS LAST) AS x FROM things

SELECT jsonb_object_agg(id, n) AS x, json_object_agg(id, n ORDER BY id) AS y FROM things

SELECT a, sum(b) + count(*) * 2 AS x, round(avg(n), 2) AS y FROM things WHERE n <> 'NaN' GROUP BY a HAVING
count(*) > 1 AND max(b) IS NOT NULL

SELECT a + 1 AS x, a + 1 + count(*) AS y FROM things GROUP BY a + 1

SELECT CASE WHEN a > 1 THEN 'x' ELSE 'y' END AS k, count(*) AS c FROM things GROUP BY CASE WHEN a > 1 THEN 'x'
ELSE 'y' END

SELECT GREATEST(a, b) AS k, count(*) AS c FROM things GROUP BY 1

SELECT count(*) AS c FROM things HAVING count(*) > 2

SELECT 1 AS one FROM things HAVING true

SELECT sum(x.c) AS s FROM (SELECT a, count(*) AS c FROM things GROUP BY a) x

SELECT x.c, count(*) AS n FROM (SELECT a, count(*) AS c FROM things GROUP BY a) x GROUP BY x.c

SELECT x.a, y.c FROM (SELECT DISTINCT a FROM things) x LEFT JOIN (SELECT a, count(*) AS c FROM things WHERE bl
GROUP BY a) y ON y.a = x.a

-- key: k, id
SELECT 1 AS k, id, a FROM things UNION ALL SELECT 2, id, quantity FROM items

SELECT id FROM orders UNION SELECT id FROM items

SELECT DISTINCT id FROM (SELECT id FROM orders UNION ALL SELECT id FROM items) u

SELECT k, count(*) AS n FROM (SELECT 'o' AS k, total AS v FROM orders UNION ALL SELECT 'i', quantity FROM
items) u GROUP BY k

SELECT id, (SELECT count(*) FROM (SELECT order_id FROM items UNION ALL SELECT order_id FROM tags) u WHERE
u.order_id = o.id) AS n FROM orders o

SELECT o.id, (SELECT jsonb_agg(jsonb_build_object('i', i.id, 'p', (SELECT p.name FROM products p WHERE p.id =
i.product_id)) ORDER BY i.id) FROM items i WHERE i.order_id = o.id) AS items FROM orders o

SELECT c.id, (SELECT jsonb_agg(jsonb_build_object('o', o.id, 'items', (SELECT jsonb_agg(i.id ORDER BY i.id)
FROM items i WHERE i.order_id = o.id)) ORDER BY o.id) FROM orders o WHERE o.customer_id = c.id) AS orders FROM
customers c

SELECT a.id, b.id AS b, c.id AS c FROM orders a LEFT JOIN (orders b JOIN customers c ON c.id = b.customer_id)
ON b.parent_id = a.id

SELECT a.id, b.id AS b, c.id AS c FROM orders a LEFT JOIN orders b ON b.parent_id = a.id LEFT JOIN customers c
ON c.id = coalesce(b.customer_id, a.customer_id)

SELECT o.*, c.region FROM orders o JOIN customers c ON c.id = o.customer_id

SELECT c.id, row_to_json(c) AS j, (SELECT json_agg(o ORDER BY o.id) FROM orders o WHERE o.customer_id = c.id)
AS os FROM customers c

SELECT o.id, to_jsonb(c) AS c FROM orders o LEFT JOIN customers c ON c.id = o.customer_id

SELECT id, t COLLATE "C" < 'b' AS x FROM things

SELECT id, lower(t) = upper(t) AS x, t ILIKE 'A%' AS y FROM things

SELECT id, n / 3 AS x, n % 2 AS y, -n AS z, @ n AS w FROM things

SELECT id, a / b AS x FROM things

SELECT id, (a + b)::numeric / 7 AS x, a::float8 / 3 AS y FROM things

SELECT id, to_char(n, 'FM999,990.00') AS x, to_char(tz, 'YYYY-MM-DD"T"HH24:MI:SS') AS y FROM things WHERE n <>
'NaN'

SELECT id FROM things t WHERE a = (SELECT max(a) FROM things u WHERE u.b = t.b)

SELECT id FROM things t WHERE a = (SELECT b FROM things u WHERE u.id = t.id)

SELECT id FROM things t WHERE (SELECT count(*) FROM things u WHERE u.a = t.a) > 1

SELECT id, (SELECT a FROM things u WHERE u.id = t.id + 1) AS x FROM things t

SELECT id, (SELECT u.n FROM things u WHERE u.n = t.a) AS x FROM things t

SELECT id, ARRAY(SELECT i.id FROM items i WHERE i.order_id = o.id ORDER BY i.id) AS x FROM orders o

SELECT id, array_length(ARRAY(SELECT i.id FROM items i WHERE i.order_id = o.id), 1) AS x FROM orders o

SELECT o.id, s.n FROM orders o, LATERAL (SELECT count(*) AS n FROM items i WHERE i.order_id = o.id) s WHERE
s.n > 1

SELECT o.id, s.n, t.m FROM orders o, LATERAL (SELECT count(*) AS n FROM items i WHERE i.order_id = o.id) s,
LATERAL (SELECT s.n + 1 AS m) t

SELECT o.id, s.n, c.region FROM orders o CROSS JOIN LATERAL (SELECT count(*) AS n FROM items i WHERE
i.order_id = o.id) s JOIN customers c ON c.id = o.customer_id

SELECT p.id, (SELECT count(*) FROM items) AS n FROM products p

SELECT p.id FROM products p WHERE p.price > (SELECT avg(price) FROM products)

SELECT p.id, p.price - (SELECT avg(q.price) FROM products q WHERE q.active = p.active) AS x FROM products p

SELECT o.id FROM orders o WHERE o.total = (SELECT max(x.total) FROM orders x WHERE x.customer_id =
o.customer_id AND x.status = o.status)

SELECT c.id FROM customers c WHERE c.id IN (SELECT customer_id FROM orders GROUP BY customer_id HAVING
count(*) > 1)

SELECT c.id FROM customers c WHERE (SELECT bool_and(o.total > 0) FROM orders o WHERE o.customer_id = c.id)

SELECT c.id FROM customers c WHERE NOT (SELECT bool_or(o.total > 5) FROM orders o WHERE o.customer_id = c.id)
IS TRUE

SELECT date_trunc('day', placed) AS day, count(*) AS n, sum(total) AS s FROM orders GROUP BY 1

SELECT o.status, c.region, count(*) AS n FROM orders o JOIN customers c ON c.id = o.customer_id GROUP BY
o.status, c.region

SELECT c.region, count(DISTINCT o.id) AS n, sum(i.quantity * i.price) AS s FROM customers c JOIN orders o ON
o.customer_id = c.id JOIN items i ON i.order_id = o.id GROUP BY c.region

SELECT c.id, c.name, count(o.id) AS n FROM customers c LEFT JOIN orders o ON o.customer_id = c.id GROUP BY
c.id, c.name

SELECT c.id, max(c.name) AS m, c.region FROM customers c LEFT JOIN orders o ON o.customer_id = c.id GROUP BY
c.id HAVING count(o.id) = 0

SELECT c.region, c.id FROM customers c GROUP BY c.id

SELECT o.customer_id, c.name, count(*) AS n FROM orders o JOIN customers c ON c.id = o.customer_id GROUP BY
o.customer_id, c.name

SELECT o.customer_id, c.name, count(*) AS n FROM orders o JOIN customers c ON c.id = o.customer_id GROUP BY
o.customer_id, c.id

SELECT x.n FROM (SELECT n, count(*) AS c FROM things GROUP BY n) x WHERE x.n = 1

SELECT x.n, x.c FROM (SELECT n, count(*) AS c FROM things GROUP BY n) x WHERE x.c > 1 AND x.n::text = '1.0'

SELECT id FROM things WHERE bl IS NOT TRUE AND bl IS UNKNOWN OR NOT bl

SELECT id, NOT bl AS x, bl AND NULL AS y, bl OR a > 1 AS z FROM things

SELECT id, NULLIF(a, b) AS x, COALESCE(NULL, a, b) AS y, LEAST(n, a) AS z FROM things

SELECT id, CASE a WHEN 1 THEN 'one' WHEN b THEN 'b' END AS x FROM things

SELECT id, NULL AS x FROM things

SELECT id, 'x' AS x, 1 AS y, 1.50 AS z, true AS w FROM things

SELECT id, '2024-01-31'::date + a AS x FROM things

SELECT id, d BETWEEN '2024-01-01' AND '2024-12-31' AS x FROM things

SELECT id, overlay(t placing 'x' from 1 for 1) AS x, substring(t from 2 for 1) AS y, trim(both 'a' from t) AS
z, position('b' in t) AS w FROM things

SELECT id, left(t, -1) AS x, right(t, 1) AS y, lpad(t, 5, '*') AS z, split_part(t, ' ', 1) AS w FROM things

SELECT count(*) AS n FROM orders o WHERE EXISTS (SELECT 1 FROM items i WHERE i.order_id = o.id)

SELECT count(*) AS n, count(*) FILTER (WHERE EXISTS (SELECT 1 FROM items i WHERE i.order_id = o.id)) AS m FROM
orders o

SELECT sum((SELECT count(*) FROM items i WHERE i.order_id = o.id)) AS m FROM orders o

SELECT status, sum((SELECT count(*) FROM items i WHERE i.order_id = o.id)) AS m FROM orders o GROUP BY status

WITH a AS (SELECT * FROM orders), b AS (SELECT customer_id, count(*) AS n FROM a GROUP BY customer_id) SELECT
a.id, b.n FROM a JOIN b USING (customer_id)

SELECT c.id, (SELECT count(*) + 1 FROM orders o WHERE o.customer_id = c.id) AS n, (SELECT CASE WHEN count(*) >
1 THEN max(total) END FROM orders o WHERE o.customer_id = c.id) AS m FROM customers c

SELECT c.id, l.n, l.m FROM customers c CROSS JOIN LATERAL (SELECT count(*) AS n, count(*) * 2 +
coalesce(sum(total), 0) AS m FROM orders o WHERE o.customer_id = c.id) l

SELECT c.id, count(o) AS n, json_agg(o ORDER BY o.id) AS j, jsonb_agg(o ORDER BY o.id) FILTER (WHERE o.id IS
NOT NULL) AS k FROM customers c LEFT JOIN orders o ON o.customer_id = c.id GROUP BY c.id

SELECT o.id, to_jsonb(c) AS c, row_to_json(p) AS p FROM orders o LEFT JOIN customers c ON c.id = o.customer_id
LEFT JOIN orders p ON p.id = o.parent_id

SELECT k, v FROM (SELECT status AS k, total AS v FROM orders UNION SELECT region, id FROM customers UNION
SELECT 'x', 1) u

-- key: kind, id
SELECT 'o' AS kind, id, total FROM orders UNION ALL SELECT 'total', 0, 42

SELECT o.id, l.x, l.y FROM orders o JOIN LATERAL (SELECT i.quantity * o.total AS x, o.status AS y FROM items i
WHERE i.id = o.id) l ON l.x > 3

SELECT o.id, i.id AS i, l.y FROM orders o LEFT JOIN items i ON i.order_id = o.id LEFT JOIN LATERAL (SELECT
p.name || o.status AS y FROM products p WHERE p.id = i.product_id) l ON true

SELECT o.id, (SELECT o.status || '-' || c.region FROM customers c WHERE c.id = o.customer_id) AS x, (SELECT
o.status FROM customers c WHERE c.id = o.customer_id) AS y FROM orders o

SELECT c.id, (SELECT jsonb_agg(jsonb_build_object('o', o.id, 'items', ARRAY(SELECT i.id FROM items i WHERE
i.order_id = o.id ORDER BY i.id DESC)) ORDER BY o.id) FROM orders o WHERE o.customer_id = c.id) AS orders FROM
customers c

SELECT c.id, (SELECT count(*) FROM orders o WHERE o.customer_id = c.id AND o.total > ALL (ARRAY[1, 2])) AS x
FROM customers c

SELECT id FROM orders o WHERE (total, id) <= (3, 5) AND (total, id) > (0, 1)

SELECT id, arr[2:3] AS x, arr[0:1] AS y, arr[a:b] AS z, words[:1] AS w FROM things

SELECT o.id FROM orders o WHERE (SELECT count(*) FROM items i WHERE i.order_id = o.id) IN (SELECT quantity
FROM items)

SELECT o.id FROM orders o WHERE o.total IN (SELECT max(x.total) FROM orders x WHERE x.customer_id =
o.customer_id)

SELECT o.id FROM orders o WHERE o.total NOT IN (SELECT max(x.total) FROM orders x WHERE x.customer_id = o.id)

SELECT o.id, NOT (o.parent_id IN (SELECT product_id FROM items i WHERE i.order_id = o.customer_id)) AS x FROM
orders o

SELECT status, bool_or(parent_id IN (SELECT product_id FROM items)) AS x, count(*) FILTER (WHERE parent_id NOT
IN (SELECT product_id FROM items WHERE quantity > 1)) AS y FROM orders GROUP BY status

SELECT c.id FROM customers c WHERE NOT EXISTS (SELECT 1 FROM orders o WHERE o.customer_id = c.id AND NOT
EXISTS (SELECT 1 FROM items i WHERE i.order_id = o.id AND i.quantity > c.id))

SELECT c.id FROM customers c WHERE c.id IN (SELECT o.customer_id FROM orders o WHERE o.customer_id = c.id AND
o.id IN (SELECT i.order_id FROM items i WHERE i.product_id = c.id))

SELECT c.id, (SELECT count(*) FROM orders o WHERE o.customer_id = c.id AND (SELECT count(*) FROM items i WHERE
i.order_id = o.id AND i.product_id = c.id) > 0) AS n FROM customers c

SELECT c.id, o.id AS o, (SELECT count(*) FROM items i WHERE i.order_id = o.id AND i.product_id = c.id) AS n
FROM customers c JOIN orders o ON o.customer_id = c.id

SELECT c.id, o.id AS o FROM customers c JOIN orders o ON o.customer_id = c.id AND o.total IN (SELECT quantity
FROM items i WHERE i.order_id = o.id AND i.product_id = c.id)

SELECT o.id, c.id AS c FROM orders o LEFT JOIN customers c ON c.id = o.customer_id AND (o.parent_id IN (SELECT
product_id FROM items) OR c.credit IS NULL)

SELECT o.id, c.id AS c FROM customers c RIGHT JOIN orders o ON c.id = o.customer_id AND EXISTS (SELECT 1 FROM
items i WHERE i.order_id = o.id)

SELECT o.id, v.n FROM orders o LEFT JOIN (VALUES (1, 10, 'x'), (2, NULL, 'y'), (3, -5, NULL)) v (id, n, t) ON
v.id = o.customer_id

SELECT v.label, count(o.id) AS n FROM (VALUES ('open', 'Open'), ('a', 'Aa'), ('zz', 'Never')) v (code, label)
LEFT JOIN orders o ON o.status = v.code GROUP BY v.label

SELECT id FROM orders WHERE (status, id) IN (VALUES ('a', 1), ('open', 3))

SELECT id FROM orders WHERE status NOT IN (VALUES ('a'), ('open'))

SELECT id FROM orders WHERE parent_id NOT IN (VALUES (1), (NULL))

SELECT DISTINCT ON (o.customer_id) o.customer_id, c.region, o.id FROM orders o LEFT JOIN customers c ON c.id =
o.customer_id ORDER BY o.customer_id, c.region COLLATE "C" NULLS FIRST, o.id

SELECT x.k, sum(x.n) AS n FROM (SELECT DISTINCT ON (customer_id) customer_id AS k, total AS n FROM orders
ORDER BY customer_id, placed, id) x GROUP BY x.k

SELECT a.id, (SELECT string_agg(b.t, ',' ORDER BY b.id) FROM things b WHERE b.a = a.a AND b.id <> 1) AS x FROM
things a

SELECT a.id, EXISTS (SELECT 1 FROM things b WHERE b.n = a.n AND b.bl) AS x, NOT EXISTS (SELECT 1 FROM things b
WHERE b.f = a.f AND b.a IS NULL) AS y FROM things a

SELECT c.id, (SELECT max(total) FROM orders o WHERE o.customer_id = c.id AND o.total > c.id) AS m FROM
customers c

-- refused: in a subquery with an aggregate, a condition on the surrounding query's columns has to be an
SELECT c.id, (SELECT count(*) FROM orders o WHERE o.customer_id > c.id) AS m FROM customers c

-- refused: column `id` is looked at by a subquery in a way that is not supported
SELECT c.id, (SELECT max(o.total + c.id) FROM orders o WHERE o.customer_id = c.id) AS m FROM customers c

SELECT c.id, l.x FROM customers c CROSS JOIN LATERAL (VALUES (1), (2)) l (x)

-- refused: the query reads no table
SELECT v.id, v.name FROM (VALUES (1, 'x'), (2, 'y')) AS v (id, name)

SELECT id, name, credit FROM customers NATURAL JOIN (SELECT id FROM orders) o

SELECT coalesce(o.id, i.id) AS id, o.status, i.price FROM orders o FULL JOIN items i ON i.id = o.id

SELECT o.id, i.order_id, o.status, i.id AS item FROM orders o FULL JOIN items i ON i.order_id = o.id

-- refused: there is no aggregate array_agg(text[])
SELECT a, array_agg(words ORDER BY id) AS x FROM things WHERE words IS NOT NULL AND cardinality(words) = 2
GROUP BY a

-- refused: rows as values are not supported
SELECT id, ROW(a, t) AS x FROM things

-- refused: rows as values are not supported
SELECT id, to_jsonb(ROW(a, t)) AS x FROM things

-- refused: IN of several columns as a value is not supported where one of them may be NULL
SELECT id FROM things WHERE (a, b) NOT IN (SELECT id, product_id FROM items)

SELECT id FROM things WHERE ROW(a, b) >= ROW(1, 2)

SELECT id, a BETWEEN SYMMETRIC 3 AND 1 AS x, a NOT BETWEEN 1 AND 2 AS y FROM things

SELECT id FROM things WHERE a > ALL (SELECT product_id FROM items)

SELECT id FROM things WHERE a < ANY (SELECT product_id FROM items)

-- refused: window functions are not supported
SELECT id, rank() OVER (ORDER BY n) AS x FROM things

SELECT id FROM things WHERE t ~ '^a'

SELECT id, t ~* '^A' AS x, t !~ 'b' AS y FROM things

SELECT id, regexp_replace(t, 'a', 'b') AS x FROM things

SELECT id, substring(t FROM 'a(.)') AS x FROM things

SELECT id, t SIMILAR TO '(a|b)%' AS x FROM things

SELECT id, to_date('2024-01-31', 'YYYY-MM-DD') AS x FROM things

SELECT id, to_timestamp('2024-01-31 10:11:12', 'YYYY-MM-DD HH24:MI:SS') AS x FROM things

-- refused: to_number is not supported
SELECT id, to_number('1,234.50', '9,999.99') AS x FROM things

-- refused: power of numeric is not supported
SELECT id, power(n, 2) AS x, n ^ 2 AS y FROM things WHERE n <> 'NaN'

SELECT id, exp(f) AS x, ln(f + 1) AS y, sqrt(abs(f)) AS z FROM things WHERE f > 0 AND f < 100

SELECT id, exp(n) AS x, ln(n) AS y, log(n) AS z, sqrt(n) AS w FROM things WHERE n > 0

SELECT id, log(2, n) AS x FROM things WHERE n > 0

-- refused: cbrt is not supported
SELECT id, power(f, 2) AS x, f ^ 3 AS y, cbrt(f) AS z FROM things

SELECT id, sin(f) AS x, cos(f) AS y, atan2(f, 2) AS z, degrees(f) AS w, radians(f) AS v FROM things WHERE f <
100

-- refused: width_bucket(numeric, numeric, numeric, integer) is not supported
SELECT id, width_bucket(n, 0, 10, 5) AS x FROM things WHERE n <> 'NaN'

-- refused: functions that give several rows are not supported
SELECT id, regexp_matches(t, 'a') AS x FROM things

-- refused: functions that give several rows are not supported
SELECT id, unnest(arr) AS x FROM things

-- refused: functions that give several rows are not supported
SELECT id, generate_series(1, 2) AS x FROM things

SELECT t.id, u.x, u.n FROM things t CROSS JOIN LATERAL unnest(t.arr) WITH ORDINALITY AS u (x, n)

-- refused: generate_series in FROM is not supported: its rows come from no table
SELECT t.id, g FROM things t, generate_series(1, t.a) g

-- refused: now reads the clock
SELECT id, now() AS x FROM things

-- refused: current_date reads the clock
SELECT id, current_date AS x FROM things

-- refused: random gives another value at each call
SELECT id, random() AS x FROM things

-- refused: invalid input syntax for type timestamp with time zone: "2024-01-01Z"; write it as in ISO 8601
SELECT id, age(tz, '2024-01-01Z') AS x, date_trunc('week', tz) AS y, extract(isodow FROM d) AS z FROM things
WHERE d <> 'infinity'

-- refused: jsonb_path_query_first(jsonb, jsonpath, jsonb, boolean) is not supported
SELECT id, jsonb_path_query_first(j, '$.a') AS x FROM things

-- refused: functions that give several rows are not supported
SELECT id, jsonb_array_elements(j) AS x FROM things

-- refused: DISTINCT of `j`, which is jsonb, is not supported
SELECT DISTINCT j FROM things

-- refused: GROUP BY of `j`, which is jsonb, is not supported
SELECT j, count(*) AS c FROM things GROUP BY j

SELECT words, count(*) AS c FROM things GROUP BY words

-- refused: no equality joins the two sides: all rows would be compared with all
SELECT x.id, y.id AS other FROM things x LEFT JOIN things y ON false

-- refused: no equality joins the two sides: all rows would be compared with all
SELECT x.id, y.id AS other FROM things x LEFT JOIN things y ON true WHERE x.id = y.id

-- refused: no equality joins `things y` with what stands before it: all rows would be paired with all
SELECT x.id, y.id AS other FROM things x, things y WHERE x.id = y.id OR x.a = y.a

-- refused: no equality joins `things y` with what stands before it: all rows would be paired with all
SELECT x.id, y.id AS other FROM things x, things y WHERE (x.id = y.id AND x.a > 1) OR (x.id = y.id AND y.b >
1)

-- refused: there is no aggregate max(bytea)
SELECT max(t) AS x, min(t) AS y, max(by) AS z FROM things

SELECT stddev(n) AS x, variance(a) AS y, var_pop(DISTINCT b) AS z, stddev_pop(a) FILTER (WHERE a > 1) AS w FROM things

-- refused: the aggregate variance(double precision) is not supported
SELECT stddev(n) AS x, variance(f) AS y FROM things

SELECT bit_and(a) AS x, bit_or(a) AS y FROM things

-- refused: the aggregate percentile_cont is not supported
SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY n) AS x FROM things

-- refused: the aggregate mode is not supported
SELECT mode() WITHIN GROUP (ORDER BY a) AS x FROM things

-- refused: rows as values are not supported
SELECT count(DISTINCT (a, b)) AS x FROM things

-- refused: DISTINCT of jsonb is not supported
SELECT count(DISTINCT j) AS x FROM things

-- refused: no equality joins the two sides: all rows would be compared with all
SELECT x.a, y.c FROM (SELECT DISTINCT a FROM things) x LEFT JOIN (SELECT a, count(*) AS c FROM things WHERE bl
GROUP BY a) y ON y.a IS NOT DISTINCT FROM x.a

SELECT id FROM orders INTERSECT SELECT id FROM items

SELECT id FROM orders EXCEPT SELECT id FROM items

-- refused: the whole row of `o` as a value is not supported
SELECT o FROM orders o

-- refused: the whole row of `o` as a value is not supported
SELECT o.id, o AS whole FROM orders o

-- refused: fields of composite values are not supported
SELECT id, (o).status FROM orders o

-- refused: invalid input syntax for type timestamp with time zone: "2024-01-01Z"; write it as in ISO 8601
SELECT id, ts + iv AS x, d + 1 AS y, tz - '2024-01-01Z'::timestamptz AS z, iv * 2 AS w FROM things WHERE ts <>
'-infinity' AND d <> 'infinity'

SELECT o.id FROM orders o WHERE o.total >= ALL (SELECT x.total FROM orders x WHERE x.customer_id =
o.customer_id)

-- refused: an aggregate is not allowed in WHERE
SELECT status, (SELECT count(*) FROM items i WHERE i.quantity = count(o.id)) AS m FROM orders o GROUP BY
status

-- refused: WITH RECURSIVE is not supported
WITH RECURSIVE r AS (SELECT id, parent_id FROM orders WHERE parent_id IS NULL UNION ALL SELECT o.id,
o.parent_id FROM orders o JOIN r ON r.id = o.parent_id) SELECT id FROM r

-- refused: FOR UPDATE and FOR SHARE lock rows of the source
SELECT id FROM orders FOR UPDATE

-- refused: LIMIT at the top is not supported: the reader of the read model chooses
SELECT id FROM orders LIMIT 5

-- refused: LIMIT at the top is not supported: the reader of the read model chooses
SELECT id FROM orders OFFSET 5

-- refused: the result has two columns `id`
SELECT id, id FROM orders

-- refused: the query cannot be read: Expected: an SQL statement, found: TABLE
TABLE orders

-- refused: the query reads no table
VALUES (1, 2)

-- refused: in a subquery with an aggregate, a condition on the surrounding query's columns has to be an
SELECT c.id, (SELECT jsonb_agg((SELECT max(i.price) FROM items i WHERE i.order_id = o.id AND i.product_id <>
c.id)) FROM orders o WHERE o.customer_id = c.id) AS n FROM customers c

SELECT date_trunc('day', placed) AS day, count(*) AS orders, sum(total) AS revenue, round(avg(total), 2) AS
average FROM orders GROUP BY 1

SELECT date_trunc('month', o.placed AT TIME ZONE 'Europe/Berlin')::date AS month, c.region, sum(o.total) AS
revenue FROM orders o JOIN customers c ON c.id = o.customer_id GROUP BY 1, 2

SELECT to_char(placed, 'YYYY-MM') AS month, count(*) AS n, count(DISTINCT customer_id) AS customers FROM
orders GROUP BY to_char(placed, 'YYYY-MM')

SELECT extract(hour FROM placed)::int AS hour, count(*) FILTER (WHERE status = 'open') AS open, count(*)
FILTER (WHERE status <> 'open') AS other FROM orders GROUP BY hour

SELECT extract(dow FROM placed AT TIME ZONE 'UTC') AS dow, sum(total)::numeric / nullif(count(*), 0) AS avg
FROM orders GROUP BY 1

WITH paid AS (SELECT * FROM orders WHERE status = 'open'), per_customer AS (SELECT customer_id, count(*) AS n,
sum(total) AS spent, max(placed) AS last FROM paid GROUP BY customer_id) SELECT c.id, c.name, coalesce(p.n, 0)
AS orders, coalesce(p.spent, 0) AS spent, p.last, CASE WHEN p.spent > 20 THEN 'gold' WHEN p.spent > 10 THEN
'silver' WHEN p.spent IS NULL THEN 'none' ELSE 'bronze' END AS tier FROM customers c LEFT JOIN per_customer p
ON p.customer_id = c.id

SELECT c.id, c.region, l.* FROM customers c LEFT JOIN LATERAL (SELECT o.id AS order_id, o.total, o.status FROM
orders o WHERE o.customer_id = c.id ORDER BY o.placed DESC, o.id DESC LIMIT 1) l ON true

SELECT c.id, top.items FROM customers c LEFT JOIN LATERAL (SELECT jsonb_agg(jsonb_build_object('id', t.id,
'q', t.quantity) ORDER BY t.quantity DESC, t.id) AS items FROM (SELECT i.id, i.quantity FROM orders o JOIN
items i ON i.order_id = o.id WHERE o.customer_id = c.id ORDER BY i.quantity DESC, i.id LIMIT 3) t) top ON true

SELECT p.id, p.name FROM products p WHERE NOT EXISTS (SELECT 1 FROM items i JOIN orders o ON o.id = i.order_id
WHERE i.product_id = p.id AND o.status = 'open')

SELECT p.id, p.name, coalesce(sum(i.quantity), 0) AS sold, coalesce(sum(i.quantity * i.price),
0)::numeric(12,2) AS revenue, count(DISTINCT o.customer_id) AS buyers FROM products p LEFT JOIN items i ON
i.product_id = p.id LEFT JOIN orders o ON o.id = i.order_id GROUP BY p.id

SELECT p.name, sum(i.quantity) AS sold FROM products p JOIN items i ON i.product_id = p.id GROUP BY p.name
HAVING sum(i.quantity) > 2

SELECT o.id, jsonb_build_object('customer', jsonb_build_object('id', c.id, 'name', c.name), 'lines',
coalesce(jsonb_agg(jsonb_build_object('sku', p.name, 'qty', i.quantity, 'amount', i.quantity * i.price) ORDER
BY i.id) FILTER (WHERE i.id IS NOT NULL), '[]'::jsonb)) AS doc FROM orders o JOIN customers c ON c.id =
o.customer_id LEFT JOIN items i ON i.order_id = o.id LEFT JOIN products p ON p.id = i.product_id GROUP BY
o.id, c.id

SELECT o.id, json_build_object('id', o.id, 'tags', (SELECT json_agg(t.tag ORDER BY t.tag COLLATE "C") FROM
tags t WHERE t.order_id = o.id)) AS doc FROM orders o

SELECT o.id, array(SELECT t.tag FROM tags t WHERE t.order_id = o.id ORDER BY t.tag COLLATE "C") AS tags,
cardinality(array(SELECT 1 FROM tags t WHERE t.order_id = o.id)) AS n FROM orders o

SELECT o.id, string_agg(DISTINCT t.tag, ', ' ORDER BY t.tag) AS tags FROM orders o LEFT JOIN tags t ON
t.order_id = o.id GROUP BY o.id

SELECT status, count(*) AS n, 100.0 * count(*) / (SELECT count(*) FROM orders) AS percent FROM orders GROUP BY
status

SELECT status, round(100.0 * count(*) / nullif((SELECT count(*) FROM orders), 0), 1) || '%' AS percent FROM
orders GROUP BY status

SELECT c.region, count(*) AS customers, sum(CASE WHEN c.credit > 0 THEN 1 ELSE 0 END) AS with_credit,
avg(coalesce(c.credit, 0)) AS avg FROM customers c GROUP BY c.region

SELECT a.id, b.id AS dup FROM customers a JOIN customers b ON a.region = b.region AND a.id < b.id

SELECT o.id, p.id AS parent, g.id AS grand, coalesce(g.id, p.id, o.id) AS root FROM orders o LEFT JOIN orders
p ON o.parent_id = p.id LEFT JOIN orders g ON p.parent_id = g.id

SELECT id, GREATEST(total, 3) AS hi, LEAST(total, 3, NULL) AS lo, NULLIF(total, 0) AS nz, COALESCE(weight, 0)
AS w FROM orders

SELECT id, CASE status WHEN 'open' THEN 1 WHEN 'a' THEN 2 ELSE NULL END AS code, CASE WHEN weight IS NULL THEN
'n/a' ELSE weight::text END AS w FROM orders

SELECT id, placed + interval '1 day' AS next, placed - interval '2 hours 30 minutes' AS before, placed::date
AS day, placed::date + 7 AS week, date_part('epoch', placed) AS epoch FROM orders

SELECT id, extract(epoch FROM placed)::bigint AS e, extract(year FROM placed) AS y, extract(week FROM placed)
AS w, extract(isoyear FROM placed) AS iy, extract(quarter FROM placed) AS q, extract(doy FROM placed) AS doy,
extract(millisecond FROM placed) AS ms FROM orders

SELECT id, to_char(placed AT TIME ZONE 'America/New_York', 'Day, DD Month YYYY HH12:MI:SS AM') AS x,
to_char(placed, 'IYYY-IW') AS y, to_char(placed, 'FMMonth FMDD, YYYY') AS z, to_char(total, '999,990.00') AS
t, to_char(total, 'FM000') AS u FROM orders

SELECT id, lower(trim(both ' ' from status)) AS s, upper(left(status, 1)) || substr(status, 2) AS cap,
lpad(id::text, 5, '0') AS code, replace(status, 'o', '0') AS r, split_part(status, 'p', 1) AS sp, position('e'
in status) AS pos, reverse(status) AS rev, concat_ws('-', status, total, NULL, id) AS c FROM orders

SELECT id, j ->> 'a' AS a, (j ->> 'a')::text AS b, j #>> '{a,b}' AS c, jsonb_typeof(j) AS ty, j @>
'{"a":1}'::jsonb AS has, j ? 'a' AS q, coalesce(j -> 'x', '{}'::jsonb) || jsonb_build_object('id', id) AS
merged FROM things

SELECT id, CASE WHEN jsonb_typeof(j -> 'a') = 'number' THEN (j ->> 'a')::numeric * 2 END AS d FROM things

SELECT id, jsonb_array_length(CASE WHEN jsonb_typeof(j) = 'array' THEN j ELSE '[]' END) AS n FROM things

SELECT DISTINCT ON (customer_id) customer_id, id, status, placed FROM orders ORDER BY customer_id, placed DESC
NULLS LAST, id

SELECT DISTINCT region, name IS NULL AS anonymous FROM customers

SELECT id FROM orders WHERE customer_id NOT IN (SELECT id FROM customers WHERE region = 'EU')

SELECT id FROM orders WHERE parent_id NOT IN (SELECT parent_id FROM orders WHERE parent_id IS NOT NULL)

SELECT id FROM orders WHERE status IN ('a', 'b') AND total NOT IN (1, 2, NULL)

SELECT id, EXISTS (SELECT 1 FROM items i WHERE i.order_id = o.id AND i.price > 2) AS expensive, (SELECT
count(*) FROM items i WHERE i.order_id = o.id) AS n, (SELECT i.price FROM items i WHERE i.order_id = o.id
ORDER BY i.price DESC NULLS LAST, i.id LIMIT 1) AS top FROM orders o

SELECT customer_id, min(placed) AS first, max(placed) AS last, max(placed) - min(placed) AS span, count(*) AS
n, sum(total) FILTER (WHERE status = 'open') AS open_total, array_agg(id ORDER BY placed DESC, id) AS ids,
(array_agg(status ORDER BY placed DESC, id))[1] AS last_status, bool_or(status = 'open') AS any_open,
bool_and(total > 0) AS all_positive, every(total > 0) AS e FROM orders GROUP BY customer_id HAVING count(*) >=
1

SELECT c.region, date_trunc('week', o.placed) AS week, sum(i.quantity * coalesce(i.price, p.price, 0)) AS
revenue FROM customers c JOIN orders o ON o.customer_id = c.id JOIN items i ON i.order_id = o.id LEFT JOIN
products p ON p.id = i.product_id WHERE o.status <> 'b' AND o.placed >= '2024-01-01' GROUP BY c.region, week

SELECT o.customer_id, t.tag, count(*) AS n FROM orders o JOIN tags t ON t.order_id = o.id GROUP BY
o.customer_id, t.tag

SELECT order_id, count(*) AS n, sum(quantity) AS q FROM items JOIN tags USING (order_id) GROUP BY order_id

SELECT id, id::text AS a, id::numeric(10,2) AS b, id::float8 AS c, id::bigint AS d, total::int AS e,
total::text::int AS f, weight::int AS g, placed::timestamp AS h, placed::time AS i, placed::text AS j, (total
> 1)::int AS k, (total > 1)::text AS l, total::smallint AS m, '5'::int + id AS n FROM orders

SELECT id, date '2024-01-01' AS a, timestamp '2024-01-01 10:00' AS b, timestamptz '2024-01-01 10:00+02' AS c,
interval '1 month' AS d, time '10:00' AS e, numeric '1.50' AS f, int '7' AS g, bool 'yes' AS h, jsonb
'{"b":1,"a":2}' AS i, uuid '00000000-0000-0000-0000-000000000001' AS j, bytea '\x00ff' AS k FROM orders

SELECT id, a IS NULL AS x, a IS NOT NULL AS y, bl IS TRUE AS z, bl IS NOT FALSE AS w, bl IS UNKNOWN AS v, a IS
DISTINCT FROM b AS u, a IS NOT DISTINCT FROM b AS t FROM things

SELECT id, arr[1] AS x, arr || 4 AS y, 0 || arr AS z, array_length(arr, 1) AS n, 2 = ANY (arr) AS has, arr @>
ARRAY[1] AS c, arr && ARRAY[1, 3] AS o, array_remove(arr, 2) AS r, array_to_string(arr, ',') AS s,
array_position(arr, 3) AS p FROM things

SELECT c.id, count(o.id) FILTER (WHERE o.placed > timestamptz '2024-01-01 05:00+00') AS recent, max(o.total)
FILTER (WHERE o.status IN ('a', 'open')) AS m FROM customers c LEFT JOIN orders o ON o.customer_id = c.id
GROUP BY c.id

SELECT x.region, x.n, y.total FROM (SELECT region, count(*) AS n FROM customers GROUP BY region) x LEFT JOIN
(SELECT c.region, sum(o.total) AS total FROM orders o JOIN customers c ON c.id = o.customer_id GROUP BY
c.region) y USING (region)

WITH a AS (SELECT customer_id, sum(total) AS s FROM orders GROUP BY 1), b AS (SELECT max(s) AS best FROM a)
SELECT a.customer_id, a.s FROM a, b WHERE a.s = b.best

WITH ranked AS (SELECT c.region, c.id, l.total FROM customers c CROSS JOIN LATERAL (SELECT total FROM orders o
WHERE o.customer_id = c.id ORDER BY total DESC, id LIMIT 2) l) SELECT region, sum(total) AS s, count(*) AS n
FROM ranked GROUP BY region

SELECT o.id, CASE WHEN EXISTS (SELECT 1 FROM tags t WHERE t.order_id = o.id AND t.tag = 'a') THEN 'vip' ELSE
'std' END AS class FROM orders o WHERE NOT EXISTS (SELECT 1 FROM orders child WHERE child.parent_id = o.id)

SELECT customer_id AS "Customer", count(*) AS "Order count" FROM orders GROUP BY "Customer"

SELECT o."id", O.STATUS, "o".total FROM "orders" AS O

SELECT coalesce(c.region, '?') AS region, count(o.id) AS n FROM orders o LEFT JOIN customers c ON c.id =
o.customer_id GROUP BY coalesce(c.region, '?')

SELECT o.customer_id, count(*) AS n FROM orders o GROUP BY o.customer_id HAVING count(*) > 1 AND NOT
bool_or(o.status = 'b')

SELECT o.id, c.name || ' (' || c.region || ')' AS label, 'Order #' || o.id AS title, o.total || '' AS t FROM
orders o JOIN customers c ON c.id = o.customer_id

SELECT id, format('%s: %s', id, status) AS a, concat(id, status, NULL) AS b, quote_literal(status) AS c,
md5(status) AS d, encode(sha256(status::bytea), 'hex') AS e, length(status) AS f, octet_length(status) AS g,
ascii(status) AS h, chr(65) AS i, repeat('ab', 2) AS k, overlay(status placing 'XX' from 1 for 1) AS l FROM
orders

SELECT id FROM orders WHERE total = SOME (SELECT quantity FROM items)

SELECT id, n IN (SELECT price FROM items) AS x, n NOT IN (SELECT price FROM items WHERE price IS NOT NULL) AS
y FROM things

SELECT customer_id, count(*) FILTER (WHERE status = 'open')::float8 / count(*) AS ratio FROM orders GROUP BY
customer_id

SELECT c.id, (SELECT o.id FROM orders o WHERE o.customer_id = c.id AND o.status = 'open' ORDER BY o.total
DESC, o.id FETCH FIRST 1 ROW ONLY) AS x FROM customers c

SELECT c.id, (SELECT json_object_agg(o.status, o.n ORDER BY o.status) FROM (SELECT status, count(*) AS n FROM
orders WHERE customer_id = c.id GROUP BY status) o) AS by_status FROM customers c

SELECT c.id, jsonb_object_agg(o.status, o.total ORDER BY o.id) FILTER (WHERE o.status IS NOT NULL) AS m FROM
customers c LEFT JOIN orders o ON o.customer_id = c.id GROUP BY c.id

SELECT o.id FROM orders o WHERE (SELECT count(*) FROM items i WHERE i.order_id = o.id) > 1

SELECT o.id FROM orders o WHERE o.total > (SELECT avg(total) FROM orders x WHERE x.customer_id =
o.customer_id)

SELECT date_bin('15 minutes', placed, timestamptz '2001-01-01 00:00+00') AS bin, count(*) AS n FROM orders
GROUP BY 1

SELECT 'all' AS scope, count(*) AS n FROM orders

SELECT (SELECT count(*) FROM orders) AS orders, (SELECT count(*) FROM customers) AS customers, (SELECT
sum(quantity) FROM items) AS units

SELECT count(*) AS n, coalesce(sum(total), 0) AS s, min(placed)::date AS since FROM orders WHERE status =
'open'

SELECT region AS k, (SELECT count(*) FROM orders o JOIN customers c2 ON c2.id = o.customer_id WHERE c2.region
= c.region) AS n FROM customers c GROUP BY region

SELECT id, total, CASE WHEN total < 2 THEN 'low' WHEN total BETWEEN 2 AND 5 THEN 'mid' ELSE 'high' END AS
bucket FROM orders WHERE (status = 'open' OR total > 3) AND NOT (weight IS NULL)

SELECT CASE WHEN total < 2 THEN 'low' ELSE 'high' END AS bucket, count(*) AS n FROM orders GROUP BY bucket

SELECT o.status, CASE WHEN grouping_total > 5 THEN 'big' ELSE 'small' END AS size FROM (SELECT status,
sum(total) AS grouping_total FROM orders GROUP BY status) o

SELECT d, ts::date AS e, count(*) AS n FROM things GROUP BY d, ts::date

SELECT o.id, c.* FROM orders o JOIN customers AS c (cid, reg, nm, cr) ON c.cid = o.customer_id

SELECT a.customer_id, a.n FROM (SELECT customer_id, count(*) AS n FROM orders GROUP BY customer_id) AS a WHERE
a.n > (SELECT avg(n) FROM (SELECT count(*) AS n FROM orders GROUP BY customer_id) b)

SELECT id, nullif(trim(name), '') AS name, coalesce(nullif(name, ''), region, 'x') AS label FROM customers

SELECT o.id, i.id AS item, i.price * (1 - 0.1)::numeric AS net, round((i.price * 1.19)::numeric, 2) AS gross
FROM orders o INNER JOIN items i ON (i.order_id = o.id)

SELECT id, status, total FROM orders WHERE placed BETWEEN '2024-01-01' AND '2024-01-02' AND placed::date =
'2024-01-01'

SELECT id FROM orders WHERE placed > '2024-01-01 03:00:00+00'::timestamptz - interval '1 hour' AND placed <
timestamp '2024-01-01 12:00'

SELECT id, (placed AT TIME ZONE 'UTC') AT TIME ZONE 'Asia/Tokyo' AS x, timezone('Europe/London', placed) AS y,
placed AT TIME ZONE interval '-05:00' AS z FROM orders

SELECT o.id FROM orders o, customers c, items i WHERE o.customer_id = c.id AND i.order_id = o.id AND c.region
= 'EU' AND i.quantity > 1 GROUP BY o.id

SELECT id, jsonb_set(coalesce(j, '{}'), '{z}', to_jsonb(a)) AS x, j - 'a' AS y, j #- '{a,b}' AS z,
jsonb_strip_nulls(jsonb_build_object('a', a, 'b', b)) AS w FROM things WHERE jsonb_typeof(j) = 'object'

SELECT id, to_jsonb(arr) AS x, to_jsonb(t) AS y, to_jsonb(n) AS z, to_json(ts) AS w, array_to_json(words) AS
v, jsonb_build_array(id, t, d, iv, by) AS u FROM things

SELECT id, (j -> 'a')::int AS x FROM things WHERE jsonb_typeof(j -> 'a') = 'number'

SELECT t.a, sum(t.n) AS s, avg(t.n) AS av, max(t.n) AS mx, count(t.n) AS c, count(DISTINCT t.n) AS cd,
array_agg(t.n ORDER BY t.id) AS l FROM things t GROUP BY t.a

SELECT max(total) - min(total) AS range, sum(total) / count(*) AS iavg, sum(weight) / sum(total) AS ratio FROM
orders WHERE total > 0 HAVING count(*) > 0

SELECT id, 1 AS one, 'x' AS x, NULL AS nothing, true AS yes, 1.5 AS num, 1e3 AS exp, E'a\tb' AS esc,
$$dollar$$ AS dol, 'it''s' AS q FROM orders

SELECT id, a = 1 OR b = 2 AND NOT bl AS x, NOT a > 1 AS y, (a, b) = (1, 2) AS z, (a > 1) = bl AS w FROM things

SELECT c.id FROM customers c LEFT JOIN orders o ON o.customer_id = c.id WHERE o.id IS NULL

-- key: source, id
SELECT 'order' AS source, id, status AS label, placed AS at FROM orders UNION ALL SELECT 'customer', id,
region, NULL FROM customers

-- key: source, id
SELECT NULL AS at, 'order' AS source, id, '1' AS n FROM orders UNION ALL SELECT placed, 'customer', id, total
FROM orders

SELECT id, a BETWEEN 1 AND 3 AS x, a NOT BETWEEN 1 AND 2 AS y, a BETWEEN SYMMETRIC 3 AND 1 AS z, (a + 1) NOT
BETWEEN SYMMETRIC (b + 1) AND 2 AS w FROM things WHERE n BETWEEN symmetric b AND a OR a IS NULL

SELECT id, make_interval(days => 3, hours => a) AS mi, make_interval(1, 2) AS m2 FROM things

-- key: id
SELECT coalesce(o.customer_id, c.id) AS id, o.n, c.region FROM (SELECT customer_id, count(*) AS n FROM orders
GROUP BY customer_id) o FULL JOIN customers c ON c.id = o.customer_id

SELECT id, c.region, o.status FROM customers c FULL JOIN orders o USING (id)

SELECT id, c.region, o.status, o.total FROM customers c FULL OUTER JOIN orders o USING (id) WHERE o.total > 1
OR c.region = 'EU'

SELECT c.id, o.id AS o, o.status FROM customers c FULL JOIN orders o ON o.customer_id = c.id AND o.total > 2
AND c.region <> 'a'

SELECT c.region, count(o.id) AS n, count(c.id) AS m FROM customers c FULL JOIN orders o ON o.customer_id =
c.id GROUP BY c.region

SELECT c.id, o.id AS o, i.id AS i FROM customers c FULL JOIN orders o ON o.customer_id = c.id LEFT JOIN items
i ON i.order_id = o.id

SELECT c.id, c.name, count(o.id) AS n FROM orders o FULL JOIN customers c ON o.customer_id = c.id GROUP BY
c.id

SELECT id FROM orders EXCEPT SELECT order_id FROM items

SELECT id, status FROM orders INTERSECT SELECT order_id, 'a' FROM items

SELECT id FROM orders UNION SELECT order_id FROM items EXCEPT SELECT id FROM customers

(SELECT product_id AS p FROM items UNION ALL SELECT id FROM products) INTERSECT SELECT parent_id FROM orders

SELECT t.p, count(*) AS n FROM (SELECT product_id AS p FROM items EXCEPT SELECT parent_id FROM orders) t GROUP
BY t.p

-- refused: EXCEPT ALL is not supported
SELECT id FROM orders EXCEPT ALL SELECT order_id FROM items

SELECT id FROM customers c WHERE id IN (SELECT id FROM orders EXCEPT SELECT order_id FROM items)

SELECT id FROM orders WHERE total > ALL (SELECT quantity FROM items)

SELECT id, total >= ALL (SELECT price FROM items) AS x, parent_id < ANY (SELECT product_id FROM items) AS y,
parent_id <> ANY (SELECT product_id FROM items) AS z, parent_id = ALL (SELECT product_id FROM items) AS w FROM
orders

SELECT id, total >= ALL (SELECT total FROM orders x WHERE x.customer_id = o.customer_id) AS x, total < ANY
(SELECT i.price FROM items i WHERE i.order_id = o.id) AS y, total = ALL (SELECT quantity FROM items i WHERE
i.order_id = o.id) AS z FROM orders o

SELECT id FROM orders o WHERE parent_id <= ALL (SELECT product_id FROM items i WHERE i.order_id = o.id)

SELECT id FROM orders WHERE total < ANY (SELECT quantity FROM items)

SELECT t.id, upper(t.t) AS u, t.words[1] AS w1, array_length(t.words, 1) AS n, t.bp || '|' AS bp, t.by AS by,
t.arr[1:2] AS ar FROM things t

SELECT o.id, o.total - lag.total AS delta FROM orders o LEFT JOIN LATERAL (SELECT p.total FROM orders p WHERE
p.customer_id = o.customer_id AND (p.placed, p.id) < (o.placed, o.id) ORDER BY p.placed DESC, p.id DESC LIMIT
1) lag ON true

SELECT o.id, (SELECT count(*) FROM orders p WHERE p.customer_id = o.customer_id AND p.id <= o.id) AS rank FROM
orders o

SELECT o.id, (SELECT sum(p.total) FROM orders p WHERE p.customer_id = o.customer_id AND p.placed <= o.placed)
AS running, (SELECT count(*) FILTER (WHERE p.status = 'open') FROM orders p WHERE p.customer_id =
o.customer_id AND p.placed < o.placed AND p.id <> o.id) AS before FROM orders o

SELECT o.id, (SELECT p.status FROM orders p WHERE p.customer_id = o.customer_id AND p.total < o.total ORDER BY
p.total DESC, p.id LIMIT 1) AS previous, EXISTS (SELECT 1 FROM orders p WHERE p.customer_id = o.customer_id
AND p.total > o.total) AS beaten FROM orders o

SELECT c.id, (SELECT max(o.total) FROM orders o WHERE o.customer_id = c.id AND o.total > c.credit) AS x,
(SELECT sum(i.quantity) FROM items i JOIN orders o ON o.id = i.order_id WHERE o.customer_id = c.id AND i.price
> coalesce(c.credit, 0)) AS y FROM customers c

-- refused: in a subquery with an aggregate, a condition on the surrounding query's columns has to be an
SELECT o.id, c.id AS c, (SELECT count(*) FROM items i WHERE i.order_id = o.id AND i.price > c.credit) AS n
FROM orders o LEFT JOIN customers c ON c.id = o.customer_id

SELECT c.id, l.n FROM customers c CROSS JOIN LATERAL (SELECT count(*) AS n FROM orders o WHERE o.customer_id =
c.id AND o.total > c.credit) l

SELECT c.id, l.status FROM customers c CROSS JOIN LATERAL (SELECT DISTINCT o.status FROM orders o WHERE
o.customer_id = c.id AND o.total > c.credit) l

SELECT o.id, i.id AS item FROM orders o JOIN LATERAL (SELECT id FROM items i WHERE i.order_id = o.id AND
i.quantity <= o.total ORDER BY i.quantity DESC, i.id LIMIT 2) i ON true

SELECT id, status LIKE ANY (ARRAY['a%', 'op%']) AS x, status ILIKE ANY ('{A%,B}') AS y, status NOT LIKE ANY
(ARRAY['a%', 'b%']) AS z FROM orders

SELECT * FROM customers NATURAL LEFT JOIN (SELECT id, total FROM orders) o

SELECT c.id, v.label, count(o.id) AS n FROM customers c CROSS JOIN (VALUES ('open'), ('a')) v (label) LEFT
JOIN orders o ON o.customer_id = c.id AND o.status = v.label GROUP BY c.id, v.label

SELECT id, status SIMILAR TO '(a|b|open)' AS d, regexp_replace(status, '[aeiou]', '*', 'g') AS a,
substring(status from '^(.)') AS b, (regexp_match(status, 'o(.)e'))[1] AS c FROM orders WHERE status ~ '^[ao]'

SELECT regexp_replace(t, '\s+', '-', 'g') AS slug, count(*) AS n FROM things WHERE t ~* '^a|b$' GROUP BY 1

-- refused: regular expression: looking ahead and behind is not supported
SELECT id FROM orders WHERE status ~ 'o(?=p)'

SELECT t.id, (SELECT sum((e ->> 'qty')::int) FROM jsonb_array_elements(CASE WHEN jsonb_typeof(t.j) = 'array'
THEN t.j END) e) AS s FROM things t

SELECT t.id, (SELECT count(*) FROM jsonb_array_elements(CASE WHEN jsonb_typeof(t.j) = 'array' THEN t.j END)
e) AS s FROM things t

SELECT t.id, (SELECT string_agg(w, ', ' ORDER BY w) FROM unnest(t.words) w) AS s FROM things t

SELECT t.id FROM things t WHERE EXISTS (SELECT 1 FROM unnest(t.words) w WHERE w LIKE 'a%')

SELECT t.id FROM things t WHERE EXISTS (SELECT 1 FROM jsonb_array_elements(CASE WHEN jsonb_typeof(t.j) =
'array' THEN t.j ELSE '[]' END) e WHERE e = '1')

SELECT t.id, ARRAY(SELECT w || '!' FROM unnest(t.words) w) AS ws FROM things t

SELECT t.id, ARRAY(SELECT w || '!' FROM unnest(t.words) WITH ORDINALITY x(w, n) ORDER BY n) AS ws FROM things
t

SELECT t.id, (SELECT jsonb_agg(e ORDER BY e) FROM unnest(t.arr) e WHERE e > 1) AS ws FROM things t

SELECT t.id, (SELECT max(e) FROM unnest(t.arr) e) AS mx, (SELECT jsonb_object_agg(k, v) FROM jsonb_each(CASE
WHEN jsonb_typeof(t.j) = 'object' THEN t.j END) x(k, v) WHERE k <> 'a') AS rest FROM things t

SELECT t.id, e.ordinality, o.id AS oid FROM things t, unnest(t.arr) WITH ORDINALITY e JOIN orders o ON o.id =
e.e

SELECT t.id, e.ordinality, p.name FROM things t CROSS JOIN LATERAL jsonb_array_elements(CASE WHEN
jsonb_typeof(t.j) = 'array' THEN t.j END) WITH ORDINALITY e LEFT JOIN products p ON p.id = (e.value)::int

SELECT o.id, row_to_json(x) AS j FROM orders o CROSS JOIN LATERAL (SELECT o.status, o.total) x

SELECT o.id, (SELECT json_agg(r) FROM (SELECT i.id, i.quantity, p.name FROM items i LEFT JOIN products p ON
p.id = i.product_id WHERE i.order_id = o.id ORDER BY i.id) r) AS items FROM orders o

SELECT o.id, (SELECT json_agg(row_to_json(r)) FROM (SELECT i.id, i.quantity FROM items i WHERE i.order_id =
o.id ORDER BY i.quantity DESC, i.id) r) AS items FROM orders o

SELECT t.id, w.w, w.n FROM things t, LATERAL (SELECT w, n FROM unnest(t.words) WITH ORDINALITY x (w, n) WHERE
w <> 'a') w

SELECT t.id, w.n FROM things t, LATERAL (SELECT count(*) AS n FROM unnest(t.words) w WHERE w <> 'a') w

SELECT t.id, w.v ->> 'a' AS a FROM things t LEFT JOIN LATERAL (SELECT e AS v FROM jsonb_array_elements(CASE
WHEN jsonb_typeof(t.j) = 'array' THEN t.j END) e LIMIT 1) w ON true

SELECT c.id, (SELECT json_agg(x) FROM (SELECT o.id, o.total FROM orders o WHERE o.customer_id = c.id ORDER BY
o.total DESC, o.id LIMIT 3) x) AS top FROM customers c

SELECT json_agg(x) AS j FROM (SELECT id, total FROM orders ORDER BY total DESC, id) x

WITH x AS (SELECT id, total FROM orders ORDER BY total DESC, id) SELECT json_agg(x) AS j,
string_agg(id::text, ',') AS ids FROM x WHERE total > 1

SELECT x.customer_id, array_agg(x.id) AS ids FROM (SELECT * FROM orders ORDER BY placed DESC, id DESC) x
GROUP BY x.customer_id

SELECT array_agg(u.id) AS ids FROM (SELECT id, total AS t FROM orders UNION ALL SELECT id, quantity FROM
items ORDER BY t DESC, id) u

SELECT id, x.status FROM (SELECT id, status FROM orders ORDER BY total) x

SELECT s.id FROM (SELECT * FROM (SELECT id, total FROM orders ORDER BY total DESC, id) a LIMIT 3) s

SELECT c.id, l.d, l.oid, i.id AS iid FROM customers c, LATERAL (SELECT o.id AS oid, o.total - c.id AS d FROM
orders o WHERE o.customer_id = c.id) l JOIN items i ON i.order_id = l.oid

SELECT c.id, l.n, i.id AS iid FROM customers c, LATERAL (SELECT count(*) AS n FROM orders o WHERE
o.customer_id = c.id) l JOIN items i ON i.quantity = l.n

SELECT t.id, (SELECT count(*) FROM unnest(t.arr) u WHERE u > t.a) AS m FROM things t

SELECT t.id, (SELECT string_agg(p.name, ',' ORDER BY p.id) FROM unnest(t.arr) u JOIN products p ON p.id = u)
AS names FROM things t

SELECT t.id, (SELECT jsonb_agg(jsonb_build_object('n', u, 'p', p.name) ORDER BY n) FROM unnest(t.arr) WITH
ORDINALITY x (u, n) LEFT JOIN products p ON p.id = u) AS names FROM things t

SELECT t.id FROM things t WHERE jsonb_typeof(t.j) = 'array' AND EXISTS (SELECT 1 FROM
jsonb_array_elements(t.j) e WHERE e::text = '1')

SELECT t.id, CASE WHEN jsonb_typeof(t.j) = 'array' THEN (SELECT sum(e::int) FROM jsonb_array_elements(t.j) e)
END AS s FROM things t

SELECT o.id, (SELECT sum(u) FROM things t, unnest(t.arr) u WHERE t.a = o.id) AS s FROM orders o

SELECT c.id, (SELECT sum((SELECT count(*) FROM unnest(t.words) w)) FROM things t WHERE t.a = c.id) AS s FROM
customers c

SELECT o.id, t.id AS tid, (SELECT count(*) FROM unnest(t.arr) u) AS n FROM orders o LEFT JOIN things t ON t.a
= o.id

SELECT o.id, t.id AS tid, u FROM orders o LEFT JOIN things t ON t.a = o.id LEFT JOIN LATERAL unnest(t.words)
WITH ORDINALITY x (u, k) ON true WHERE k IS NULL OR k > 0 GROUP BY o.id, t.id, u

SELECT o1.id, o2.id AS next_id FROM orders o1 LEFT JOIN LATERAL (SELECT id FROM orders o2 WHERE
o2.customer_id = o1.customer_id AND o2.placed > o1.placed ORDER BY o2.placed, o2.id LIMIT 1) o2 ON true

-- refused: where that is of one table
SELECT o.id, t.id AS tid, (SELECT count(*) FROM unnest(ARRAY[t.a, o.id]) u) AS n FROM orders o JOIN things t ON
t.a = o.id

-- refused: a table that an outer join may leave out
SELECT o.id, t.id AS tid, (SELECT count(*) FROM unnest(coalesce(t.arr, '{1}')) u) AS n FROM orders o LEFT JOIN
things t ON t.a = o.id

SELECT t.id, count(o.id) AS n, (SELECT count(*) FROM unnest(t.arr) u) AS m FROM things t LEFT JOIN orders o ON
o.id = t.a GROUP BY t.id

SELECT a, bit_and(b) AS x, bit_or(b) AS y, bit_xor(a) AS z FROM things GROUP BY a

SELECT bit_and(total) AS x, bit_or(total) AS y, bit_xor(DISTINCT total) AS z FROM orders

SELECT words, count(*) AS n FROM things GROUP BY words

SELECT DISTINCT words, arr FROM things

SELECT t.id, (SELECT count(*) FROM jsonb_to_recordset(CASE WHEN jsonb_typeof(t.j) = 'array' THEN t.j END) AS x(sku
text, qty int)) AS n FROM things t WHERE jsonb_typeof(t.j) IS DISTINCT FROM 'array'

SELECT o.id, (SELECT sum(x.qty * x.price) FROM jsonb_to_recordset(jsonb_build_array(jsonb_build_object('qty',
o.total, 'price', o.weight, 'sku', o.status), jsonb_build_object('qty', 2))) AS x(qty int, price numeric)) AS s
FROM orders o

SELECT x.sku, count(*) AS n, sum(x.qty) AS s, max(x.at) AS at, jsonb_agg(x.doc ORDER BY o.id) AS docs FROM orders o,
jsonb_to_recordset(jsonb_build_array(jsonb_build_object('qty', o.total, 'sku', o.status, 'at', o.placed, 'doc',
jsonb_build_object('id', o.id)), jsonb_build_object('sku', NULL, 'doc', NULL, 'qty', '7'))) AS x(sku text, qty int,
at timestamptz, doc jsonb, "Other" bool) GROUP BY x.sku

SELECT o.id, x.sku, c.region FROM orders o LEFT JOIN LATERAL jsonb_to_recordset(CASE WHEN o.total > 2 THEN
jsonb_build_array(jsonb_build_object('sku', o.status, 'c', o.customer_id)) END) AS x(sku text, c int) ON true LEFT
JOIN customers c ON c.id = x.c GROUP BY o.id, x.sku, c.region

-- refused: as a column of records is not supported
SELECT o.id, x.sku FROM orders o, jsonb_to_recordset(to_jsonb(o.status)) AS x(sku varchar(3))

-- refused: the columns of the records are not described
SELECT o.id, x FROM orders o, jsonb_to_recordset(to_jsonb(o.status)) x

SELECT id, to_date(to_char(placed, 'DD.MM.YYYY'), 'DD.MM.YYYY') AS d, power(total, 2) AS p, round(ln(total + 10.0),
4) AS l FROM orders

-- refused: power of numeric is not supported
SELECT id, power(1.05, 2.0) AS p FROM orders

-- refused: to_number is not supported
SELECT id, to_number(status, '999') AS p FROM orders

-- refused: stddev(double precision) is not supported
SELECT a, stddev(f) AS x FROM things GROUP BY a

-- refused: looked at
SELECT array_agg(x.s) AS l FROM (SELECT DISTINCT status AS s FROM orders ORDER BY total) x

SELECT array_agg(x.s) AS l FROM (SELECT DISTINCT status AS s FROM orders ORDER BY s DESC) x

SELECT json_agg(x) AS l FROM (SELECT status, count(*) AS n FROM orders GROUP BY 1 ORDER BY n DESC, status) x

SELECT string_agg(x.status, ',') AS l FROM (SELECT status FROM orders GROUP BY status ORDER BY count(*) DESC, max(id))
x WHERE x.status <> 'a'

SELECT o.id, z.items FROM orders o LEFT JOIN LATERAL (SELECT json_agg(y) AS items FROM (SELECT i.id, i.quantity FROM
items i WHERE i.order_id = o.id ORDER BY i.quantity DESC, i.id) y) z ON true

WITH x AS (SELECT id, status FROM orders ORDER BY total DESC, id) SELECT (SELECT string_agg(status, ',') FROM x) AS
a, (SELECT array_agg(id) FROM x) AS b, (SELECT count(*) FROM x) AS n FROM (SELECT count(*) FROM customers) c

SELECT x.id, (SELECT count(*) FROM unnest(x.arr) u) AS n FROM (SELECT id, arr FROM things WHERE a > 1) x

SELECT x.id, (SELECT count(*) FROM unnest(x.arr) u) AS n FROM (SELECT o.id, t.id AS tid, t.arr FROM orders o LEFT JOIN
things t ON t.id = o.total) x

-- refused: a table that an outer join may leave out
SELECT x.id, (SELECT count(*) FROM unnest(coalesce(x.arr, '{1}')) u) AS n FROM (SELECT o.id, t.id AS tid, t.arr FROM
orders o LEFT JOIN things t ON t.id = o.total) x

-- refused: looked at
SELECT x.arr, (SELECT count(*) FROM unnest(x.arr) u) AS n FROM (SELECT arr FROM things GROUP BY arr) x

SELECT t.id FROM things t GROUP BY t.id HAVING EXISTS (SELECT 1 FROM unnest(t.words) w WHERE w = 'a')

SELECT t.id, o.id AS oid FROM things t LEFT JOIN orders o ON o.id = t.a AND EXISTS (SELECT 1 FROM unnest(t.arr) w
WHERE w = 1)

SELECT t.id FROM things t WHERE t.b = ANY (SELECT u FROM unnest(t.arr) u) OR t.a IN (SELECT u FROM unnest(t.arr) u)

SELECT t.id FROM things t WHERE t.a NOT IN (SELECT u FROM unnest(t.arr) u)

SELECT o.id, x.b FROM orders o CROSS JOIN LATERAL (SELECT o.customer_id + 1 AS b WHERE o.total > 3) AS x

-- refused: WHERE in a LATERAL subquery without FROM
SELECT o.id, x.b FROM orders o LEFT JOIN LATERAL (SELECT o.customer_id + 1 AS b WHERE o.total > 3) AS x ON true

-- refused: HAVING in a LATERAL subquery that aggregates
SELECT o.id, x.n FROM orders o CROSS JOIN LATERAL (SELECT count(*) AS n FROM items i WHERE i.order_id = o.id
HAVING count(*) > 1) AS x

SELECT o.id, x.n FROM orders o LEFT JOIN LATERAL (SELECT count(*) AS n FROM items i WHERE i.order_id = o.id
HAVING count(*) > 1) AS x ON true

-- refused: with HAVING, is not supported
SELECT o.id FROM orders o WHERE o.customer_id NOT IN (SELECT max(i.quantity) FROM items i WHERE i.order_id = o.id
HAVING count(*) > 5)

-- refused: a subquery beside an aggregate over the surrounding query's rows
SELECT o.id, (SELECT coalesce(max(i.quantity), (SELECT max(id) FROM customers)) FROM items i
WHERE i.order_id = o.id) AS m FROM orders o

SELECT o.id, ARRAY(SELECT i.quantity FROM items i WHERE i.order_id = o.id ORDER BY 1) AS s FROM orders o

SELECT o.id, ARRAY(SELECT -i.quantity AS quantity FROM items i WHERE i.order_id = o.id ORDER BY quantity DESC, i.id)
AS s FROM orders o

-- refused: no equality joins the two sides
SELECT id FROM orders WHERE 5 NOT IN (SELECT max(id) FROM customers)

SELECT id, -quantity ^ 2 AS x, - quantity ^ 2 ^ 1 AS y, @ quantity - 10 AS z, 5 + @ quantity - 10 + 3 AS w, ~ quantity + 1 AS v,
2 * @ quantity - 7 AS u, 5 + @ quantity - 20 + 3 AS o, @ @ quantity - 20 AS p, (@ quantity) - 10 AS t, -(quantity ^ 2) AS s, |/ quantity * 4 + 1 AS r FROM items WHERE quantity > 3

SELECT LOWER(status) AS s, CAST(total AS text) AS t, count(*) AS n FROM orders GROUP BY lower(status), total::text
