-- case highest of each
--: check: updating
SELECT k, id, v FROM (
  SELECT k, id, v, ROW_NUMBER() OVER (PARTITION BY k ORDER BY v DESC, id) AS place FROM a
) AS ranked WHERE place <= 3

-- case highest of each with their place
--: check: updating
SELECT k, id, v, place FROM (
  SELECT k, id, v, ROW_NUMBER() OVER (PARTITION BY k ORDER BY v DESC NULLS LAST, id) AS place FROM a
) AS ranked WHERE place <= 3

-- case lowest by subject
--: check: updating
--: subject: "out.{key}.{place}"
SELECT key, place, id, v FROM (
  SELECT COALESCE(g, 99) AS key, id, v, ROW_NUMBER() OVER (PARTITION BY COALESCE(g, 99) ORDER BY v, id) AS place FROM a
) AS ranked WHERE place <= 2

-- case highest of all
--: check: updating
SELECT id, f FROM (SELECT id, f, ROW_NUMBER() OVER (ORDER BY f DESC, id DESC) AS place FROM a) AS ranked WHERE place < 5

-- case limit
--: check: updating
SELECT id, v FROM a ORDER BY v DESC, id LIMIT 4

-- case limit behind some
--: check: updating
SELECT id, v FROM a ORDER BY v NULLS FIRST, id LIMIT 3 OFFSET 2

-- case first of each
--: check: updating
--: distinct_times: true
SELECT k, id, v FROM (
  SELECT k, id, v, ROW_NUMBER() OVER (PARTITION BY k ORDER BY ts) AS place FROM a
) AS ranked WHERE place = 1

-- case last of each
--: check: updating
--: distinct_times: true
SELECT k, g, id, v FROM (
  SELECT k, g, id, v, ROW_NUMBER() OVER (PARTITION BY k, g ORDER BY ts DESC) AS place FROM a
) AS ranked WHERE place = 1

-- case last of each by subject
--: check: updating
--: distinct_times: true
--: subject: "out.{key}"
SELECT key, id, v FROM (
  SELECT COALESCE(g, 99) AS key, id, v, ROW_NUMBER() OVER (PARTITION BY COALESCE(g, 99) ORDER BY ts DESC) AS place FROM a
) AS ranked WHERE place = 1

-- case largest groups
--: check: updating
SELECT k, n FROM (
  SELECT k, n, ROW_NUMBER() OVER (ORDER BY n DESC, k) AS place FROM (SELECT k, COUNT(*) AS n FROM a GROUP BY k) AS counts
) AS ranked WHERE place <= 2

-- case largest groups with their place
--: check: updating
SELECT k, n, place FROM (
  SELECT k, n, ROW_NUMBER() OVER (ORDER BY n DESC, k) AS place FROM (SELECT k, SUM(v) AS n FROM a GROUP BY k) AS totals
) AS ranked WHERE place <= 2

-- case totals of the highest
--: check: updating
SELECT k, SUM(v) AS total, COUNT(*) AS n FROM (
  SELECT k, v, ROW_NUMBER() OVER (PARTITION BY k ORDER BY v DESC, id) AS place FROM a
) AS ranked WHERE place <= 2 GROUP BY k

-- case highest of what is joined
--: check: updating
SELECT x, y FROM (
  SELECT a.id AS x, b.id AS y, ROW_NUMBER() OVER (PARTITION BY a.id ORDER BY b.v DESC, b.id) AS place
  FROM a JOIN b ON a.g = b.g
) AS ranked WHERE place = 1

-- case sums so far
--: check: updating
--: distinct_times: true
SELECT id, SUM(v) OVER (PARTITION BY k ORDER BY ts) AS total, COUNT(*) OVER (PARTITION BY k ORDER BY ts) AS n FROM a

-- case of the last rows
--: check: updating
--: distinct_times: true
SELECT id, AVG(v) OVER (PARTITION BY g ORDER BY ts ROWS BETWEEN 2 PRECEDING AND CURRENT ROW) AS mean FROM a

-- case of the last seconds
--: check: updating
SELECT id, SUM(v) OVER (PARTITION BY k ORDER BY ts RANGE BETWEEN INTERVAL '10' SECOND PRECEDING AND CURRENT ROW) AS total,
  MAX(v) OVER (PARTITION BY k ORDER BY ts RANGE BETWEEN INTERVAL '10' SECOND PRECEDING AND CURRENT ROW) AS most
FROM a

-- case the one before
--: check: updating
--: distinct_times: true
SELECT id, v, LAG(v) OVER (PARTITION BY k ORDER BY ts) AS before FROM a

-- case the last ten of one hot key
--: check: updating
--: distinct_times: true
--: events: true
SELECT id, AVG(v) OVER (ORDER BY ts ROWS BETWEEN 9 PRECEDING AND CURRENT ROW) AS mean FROM a

-- case the last seconds of one hot key
--: check: updating
--: events: true
SELECT id, SUM(v) OVER (ORDER BY ts RANGE BETWEEN INTERVAL '2' SECOND PRECEDING AND CURRENT ROW) AS total,
  COUNT(*) OVER (ORDER BY ts RANGE BETWEEN INTERVAL '2' SECOND PRECEDING AND CURRENT ROW) AS n
FROM a

-- case sums so far of one hot key
--: check: updating
--: events: true
SELECT id, SUM(v) OVER (ORDER BY ts) AS total, AVG(f) OVER (ORDER BY ts) AS mean, MAX(text) OVER (ORDER BY ts) AS last, RANK() OVER (ORDER BY ts) AS place FROM a

-- case neighbours of one hot key
--: check: updating
--: distinct_times: true
--: events: true
SELECT id, LAG(v, 2) OVER (ORDER BY ts) AS before, LEAD(v) OVER (ORDER BY ts) AS next, ROW_NUMBER() OVER (ORDER BY ts) AS place,
  FIRST_VALUE(id) OVER (ORDER BY ts) AS one
FROM a

-- case rows around each of one hot key
--: check: updating
--: distinct_times: true
SELECT id, SUM(v) OVER (ORDER BY ts ROWS BETWEEN 3 PRECEDING AND 2 FOLLOWING) AS total,
  MIN(f) OVER (ORDER BY ts ROWS BETWEEN 3 PRECEDING AND 2 FOLLOWING) AS least
FROM a

-- case the last ten results that change
--: check: updating
SELECT k, n, AVG(n) OVER (ORDER BY n, k ROWS BETWEEN 9 PRECEDING AND CURRENT ROW) AS mean, SUM(n) OVER (ORDER BY n, k) AS total
FROM (SELECT id % 17 AS k, COUNT(*) + SUM(v) AS n FROM a GROUP BY id % 17) AS counts
