-- case counts
--: check: updating
SELECT k, COUNT(*) AS n FROM a GROUP BY k

-- case all aggregates
--: check: updating
SELECT k, COUNT(v) AS n, SUM(v) AS total, MIN(v) AS least, MAX(big) AS most, AVG(f) AS mean, bool_or(flag) AS any_one,
  MIN(ts) AS since
FROM a GROUP BY k

-- case by subject
--: check: updating
--: subject: "out.{key}"
SELECT COALESCE(g, 99) AS key, COUNT(*) AS n, SUM(v) AS total FROM a GROUP BY COALESCE(g, 99)

-- case by subject of two
--: check: updating
--: subject: "out.{key}.{odd}"
SELECT COALESCE(g, 99) AS key, COALESCE(v % 2, 0) AS odd, MAX(f) AS most FROM a GROUP BY COALESCE(g, 99), COALESCE(v % 2, 0)

-- case one group
--: check: updating
SELECT COUNT(*) AS n, SUM(v) AS total, AVG(f) AS mean FROM a

-- case distinct and filter
--: check: updating
SELECT g, COUNT(DISTINCT k) AS keys, COUNT(DISTINCT k) FILTER (WHERE flag) AS flagged, SUM(v) FILTER (WHERE v > 0) AS positive
FROM a GROUP BY g

-- case only some groups
--: check: updating
SELECT k, COUNT(*) AS n, SUM(v) AS total FROM a GROUP BY k HAVING SUM(v) > 10

-- case some groups by subject
--: check: updating
--: subject: "out.{key}"
SELECT COALESCE(g, 99) AS key, COUNT(*) AS n, SUM(v) AS total FROM a GROUP BY COALESCE(g, 99) HAVING SUM(v) > 10

-- case counts of counts
--: check: updating
SELECT n, COUNT(*) AS groups FROM (SELECT k, COUNT(*) AS n FROM a GROUP BY k) AS counts GROUP BY n

-- case extremes of what changes
--: check: updating
SELECT flag, MIN(total) AS least, MAX(total) AS most, AVG(total) AS mean, COUNT(DISTINCT total) AS different
FROM (SELECT k, flag, SUM(v) AS total FROM a GROUP BY k, flag) AS totals
GROUP BY flag

-- case first and last of what changes
--: check: updating
SELECT first_value(n ORDER BY k) AS first, last_value(n ORDER BY k) AS last
FROM (SELECT COALESCE(k, '-') AS k, COUNT(*) AS n FROM a GROUP BY COALESCE(k, '-')) AS counts

-- case distinct rows
--: check: updating
SELECT DISTINCT k, flag FROM a WHERE v > 0

-- case two streams without doubles
--: check: updating
SELECT k, g FROM a UNION SELECT k, g FROM b

-- case what both have
--: check: updating
SELECT k, g FROM a INTERSECT SELECT k, g FROM b

-- case what only one has
--: check: updating
SELECT k, g FROM a EXCEPT SELECT k, g FROM b

-- case groups of two streams
--: check: updating
SELECT k, COUNT(*) AS n, SUM(v) AS total FROM (SELECT k, v FROM a UNION ALL SELECT k, -v FROM b) AS both GROUP BY k

-- case spread
--: check: updating
--: tolerance: 0.000001
SELECT k, stddev(v) AS s, var_pop(f) AS vp FROM a GROUP BY k

-- case by an expression
--: check: updating
SELECT date_trunc('minute', ts) AS minute, upper(k) AS key, COUNT(*) AS n FROM a GROUP BY date_trunc('minute', ts), upper(k)
