-- case inner
--: check: updating
SELECT a.id AS x, b.id AS y, a.k AS k FROM a JOIN b ON a.g = b.g

-- case inner on two columns and a condition
--: check: updating
SELECT a.id AS x, b.id AS y FROM a JOIN b ON a.g = b.g AND a.k = b.k AND a.v < b.v

-- case inner with filters on both sides
--: check: updating
SELECT a.id AS x, b.v AS w FROM a, b WHERE a.g = b.g AND a.flag AND b.v > 3

-- case on expressions
--: check: updating
SELECT a.id AS x, b.id AS y FROM a JOIN b ON a.v % 3 = b.g + 1

-- case left
--: check: updating
SELECT a.id AS x, a.k AS k, b.id AS y FROM a LEFT JOIN b ON a.v = b.v

-- case left with a condition
--: check: updating
SELECT a.id AS x, b.id AS y FROM a LEFT JOIN b ON a.g = b.g AND b.v > a.v AND b.flag

-- case right
--: check: updating
SELECT a.id AS x, b.id AS y FROM a RIGHT JOIN b ON a.v = b.v

-- case full
--: check: updating
SELECT a.id AS x, b.id AS y FROM a FULL JOIN b ON a.v = b.v AND a.k = b.k

-- case exists
--: check: updating
SELECT id, k FROM a WHERE EXISTS (SELECT 1 FROM b WHERE b.v = a.v)

-- case does not exist
--: check: updating
SELECT id, k FROM a WHERE NOT EXISTS (SELECT 1 FROM b WHERE b.v = a.v AND b.k = a.k)

-- case among
--: check: updating
SELECT id, k FROM a WHERE v IN (SELECT v FROM b WHERE flag)

-- case semi
--: check: updating
SELECT a.id FROM a LEFT SEMI JOIN b ON a.g = b.g AND a.k = b.k

-- case anti
--: check: updating
SELECT a.id FROM a LEFT ANTI JOIN b ON a.g = b.g AND a.k = b.k

-- case with itself
--: check: updating
SELECT x.id AS x, y.id AS y FROM a AS x JOIN a AS y ON x.v = y.v AND x.id < y.id

-- case nulls that are the same
--: check: updating
SELECT a.id AS x, b.id AS y FROM a JOIN b ON a.v IS NOT DISTINCT FROM b.v

-- case counted
--: check: updating
SELECT a.k AS k, COUNT(*) AS n, SUM(b.v) AS total FROM a JOIN b ON a.g = b.g GROUP BY a.k

-- case counted where there may be none
--: check: updating
SELECT a.k AS k, COUNT(b.id) AS n, MAX(b.v) AS most FROM a LEFT JOIN b ON a.v = b.v GROUP BY a.k

-- case counted by subject
--: check: updating
--: subject: "out.{key}"
SELECT COALESCE(a.g, 99) AS key, COUNT(*) AS n, MIN(b.v) AS least FROM a LEFT JOIN b ON a.v = b.v GROUP BY COALESCE(a.g, 99)

-- case aggregate with a stream
--: check: updating
SELECT a.id AS x, t.total FROM a JOIN (SELECT g, SUM(v) AS total FROM b GROUP BY g) AS t ON a.g = t.g

-- case aggregates with each other
--: check: updating
SELECT x.g AS g, x.n AS n, y.n AS m
FROM (SELECT g, COUNT(*) AS n FROM a GROUP BY g) AS x
FULL JOIN (SELECT g, COUNT(*) AS n FROM b GROUP BY g) AS y ON x.g = y.g

-- case left with an aggregate
--: check: updating
SELECT a.id AS x, t.most FROM a LEFT JOIN (SELECT k, MAX(v) AS most FROM b GROUP BY k HAVING COUNT(*) < 4) AS t ON a.k = t.k

-- case three
--: check: updating
SELECT a.id AS x, b.id AS y, c.id AS z FROM a JOIN b ON a.v = b.v JOIN a AS c ON b.v = c.v AND c.flag

-- case looked up
SELECT a.id, a.v, dim.name FROM a JOIN dim FOR SYSTEM_TIME AS OF PROCTIME() ON a.g = dim.g

-- case looked up or not
SELECT a.id, d.name FROM a LEFT JOIN dim FOR SYSTEM_TIME AS OF PROCTIME() AS d ON a.g = d.g AND a.flag

-- case above the average of another
--: check: updating
SELECT id, v FROM a WHERE v > (SELECT AVG(v) FROM b)

-- case interval
--: check: closed
SELECT a.id AS x, b.id AS y
FROM a JOIN b ON a.g = b.g AND b.ts BETWEEN a.ts - INTERVAL '2' SECOND AND a.ts + INTERVAL '5' SECOND

-- case interval written otherwise
--: check: closed
SELECT a.id AS x, b.id AS y
FROM a, b WHERE a.k = b.k AND a.ts >= b.ts AND a.ts < b.ts + INTERVAL '10' SECOND AND a.v > b.v

-- case left interval
--: check: closed
SELECT a.id AS x, b.id AS y
FROM a LEFT JOIN b ON a.v = b.v AND b.ts BETWEEN a.ts AND a.ts + INTERVAL '8' SECOND
WHERE a.id IS NOT NULL

-- case full interval
--: check: closed
SELECT a.id AS x, b.id AS y
FROM a FULL JOIN b ON a.v = b.v AND b.ts BETWEEN a.ts - INTERVAL '4' SECOND AND a.ts + INTERVAL '4' SECOND
WHERE a.id IS NOT NULL OR b.id IS NOT NULL

-- case windows joined
--: check: closed
SELECT x.k AS k, x.n AS n, y.n AS m, x.window_start
FROM (
  SELECT k, COUNT(*) AS n, window_start, window_end
  FROM TABLE(TUMBLE(TABLE a, DESCRIPTOR(ts), INTERVAL '10' SECOND)) GROUP BY k, window_start, window_end
) AS x
JOIN (
  SELECT k, COUNT(*) AS n, window_start, window_end
  FROM TABLE(TUMBLE(TABLE b, DESCRIPTOR(ts), INTERVAL '10' SECOND)) GROUP BY k, window_start, window_end
) AS y
ON x.k = y.k AND x.window_start = y.window_start AND x.window_end = y.window_end

-- case rows of windows joined
--: check: closed
SELECT x.id AS x, y.id AS y, x.window_start
FROM (SELECT * FROM TABLE(TUMBLE(TABLE a, DESCRIPTOR(ts), INTERVAL '10' SECOND))) AS x
JOIN (SELECT * FROM TABLE(TUMBLE(TABLE b, DESCRIPTOR(ts), INTERVAL '10' SECOND))) AS y
ON x.g = y.g AND x.window_start = y.window_start AND x.window_end = y.window_end

-- case rows of windows joined or not
--: check: closed
SELECT x.id AS x, y.id AS y, x.window_start
FROM (SELECT * FROM TABLE(TUMBLE(TABLE a, DESCRIPTOR(ts), INTERVAL '10' SECOND))) AS x
LEFT JOIN (SELECT * FROM TABLE(TUMBLE(TABLE b, DESCRIPTOR(ts), INTERVAL '10' SECOND))) AS y
ON x.v = y.v AND x.window_start = y.window_start AND x.window_end = y.window_end
WHERE x.id IS NOT NULL

-- case windows joined fully
--: check: closed
SELECT x.id AS x, y.id AS y
FROM (SELECT * FROM TABLE(HOP(TABLE a, DESCRIPTOR(ts), INTERVAL '5' SECOND, INTERVAL '10' SECOND))) AS x
FULL JOIN (SELECT * FROM TABLE(HOP(TABLE b, DESCRIPTOR(ts), INTERVAL '5' SECOND, INTERVAL '10' SECOND))) AS y
ON x.v = y.v AND x.window_start = y.window_start AND x.window_end = y.window_end
WHERE x.id IS NOT NULL OR y.id IS NOT NULL

-- case rows of windows without a partner
--: check: closed
SELECT x.id AS x, x.window_start
FROM (SELECT * FROM TABLE(TUMBLE(TABLE a, DESCRIPTOR(ts), INTERVAL '10' SECOND))) AS x
WHERE x.id IS NOT NULL AND NOT EXISTS (
  SELECT 1 FROM (SELECT * FROM TABLE(TUMBLE(TABLE b, DESCRIPTOR(ts), INTERVAL '10' SECOND))) AS y
  WHERE x.v = y.v AND x.window_start = y.window_start AND x.window_end = y.window_end
)
