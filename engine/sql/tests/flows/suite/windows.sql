-- case tumble
--: check: closed
SELECT k, COUNT(*) AS n, SUM(v) AS total, window_start, window_end
FROM TABLE(TUMBLE(TABLE a, DESCRIPTOR(ts), INTERVAL '10' SECOND))
GROUP BY k, window_start, window_end

-- case tumble with the last moment
--: check: closed
SELECT COUNT(*) AS n, window_time
FROM TABLE(TUMBLE(TABLE a, DESCRIPTOR(ts), INTERVAL '10' SECOND))
GROUP BY window_start, window_end, window_time

-- case tumble as RisingWave writes it
--: check: closed
SELECT g, MAX(v) AS most, window_start
FROM TUMBLE(a, ts, INTERVAL '10 seconds')
GROUP BY g, window_start, window_end

-- case tumble without a key
--: check: closed
SELECT COUNT(*) AS n, MIN(big) AS least, MAX(big) AS most, window_start
FROM TABLE(TUMBLE(TABLE a, DESCRIPTOR(ts), INTERVAL '7' SECOND))
GROUP BY window_start, window_end

-- case tumble with an offset
--: check: closed
SELECT k, COUNT(*) AS n, window_start, window_end
FROM TABLE(TUMBLE(TABLE a, DESCRIPTOR(ts), INTERVAL '10' SECOND, INTERVAL '3' SECOND))
GROUP BY k, window_start, window_end

-- case tumble by several keys and an expression
--: check: closed
SELECT k, g, v % 2 AS odd, COUNT(*) AS n, window_end
FROM TABLE(TUMBLE(TABLE a, DESCRIPTOR(ts), INTERVAL '10' SECOND))
GROUP BY k, g, v % 2, window_start, window_end

-- case all aggregates
--: check: closed
SELECT k, COUNT(*) AS n, COUNT(v) AS values, SUM(v) AS total, MIN(v) AS least, MAX(v) AS most, AVG(v) AS mean,
  SUM(f) AS ftotal, AVG(f) AS fmean, MIN(f) AS fleast, MIN(text) AS first_text, MAX(text) AS last_text,
  MIN(ts) AS since, MAX(ts) AS until, bool_and(flag) AS every_one, bool_or(flag) AS any_one, window_start
FROM TABLE(TUMBLE(TABLE a, DESCRIPTOR(ts), INTERVAL '10' SECOND))
GROUP BY k, window_start, window_end

-- case spread
--: check: closed
--: tolerance: 0.000001
SELECT k, stddev(v) AS s, stddev_pop(v) AS sp, var_samp(f) AS vs, var_pop(f) AS vp, window_start
FROM TABLE(TUMBLE(TABLE a, DESCRIPTOR(ts), INTERVAL '20' SECOND))
GROUP BY k, window_start, window_end

-- case distinct and filter
--: check: closed
SELECT g, COUNT(DISTINCT k) AS keys, COUNT(DISTINCT v) FILTER (WHERE v > 0) AS positive, SUM(DISTINCT v) AS total,
  SUM(v) FILTER (WHERE flag) AS flagged, COUNT(*) FILTER (WHERE k = 'u') AS us, window_start
FROM TABLE(TUMBLE(TABLE a, DESCRIPTOR(ts), INTERVAL '10' SECOND))
GROUP BY g, window_start, window_end

-- case first and last
--: check: closed
SELECT k, first_value(v ORDER BY ts, id) AS first, last_value(v ORDER BY ts, id) AS last, window_start
FROM TABLE(TUMBLE(TABLE a, DESCRIPTOR(ts), INTERVAL '10' SECOND))
GROUP BY k, window_start, window_end

-- case approximate
--: check: closed
--: tolerance: 0.1
SELECT approx_distinct(v) AS about, window_start
FROM TABLE(TUMBLE(TABLE a, DESCRIPTOR(ts), INTERVAL '30' SECOND))
GROUP BY window_start, window_end

-- case lists
--: check: closed
SELECT k, array_agg(id ORDER BY id) AS ids, string_agg(text, ',' ORDER BY id) AS texts, window_start
FROM TABLE(TUMBLE(TABLE a, DESCRIPTOR(ts), INTERVAL '10' SECOND))
GROUP BY k, window_start, window_end

-- case only some groups
--: check: closed
SELECT k, COUNT(*) AS n, window_start
FROM TABLE(TUMBLE(TABLE a, DESCRIPTOR(ts), INTERVAL '10' SECOND))
WHERE v > 0
GROUP BY k, window_start, window_end
HAVING COUNT(*) > 1

-- case expressions over aggregates
--: check: closed
SELECT upper(k) AS key, SUM(v) * 2 + COUNT(*) AS odd_sum, CASE WHEN COUNT(*) > 2 THEN 'many' ELSE 'few' END AS how_many,
  to_char(window_start, '%H:%M:%S') AS clock
FROM TABLE(TUMBLE(TABLE a, DESCRIPTOR(ts), INTERVAL '10' SECOND))
GROUP BY k, window_start, window_end

-- case windows without groups
--: check: closed
SELECT id, k, window_start, window_end FROM TABLE(TUMBLE(TABLE a, DESCRIPTOR(ts), INTERVAL '10' SECOND)) WHERE v > 5

-- case distinct rows of a window
--: check: closed
SELECT DISTINCT k, flag, window_start, window_end FROM TABLE(TUMBLE(TABLE a, DESCRIPTOR(ts), INTERVAL '10' SECOND))

-- case hop
--: check: closed
SELECT k, COUNT(*) AS n, window_start, window_end
FROM TABLE(HOP(TABLE a, DESCRIPTOR(ts), INTERVAL '2' SECOND, INTERVAL '10' SECOND))
GROUP BY k, window_start, window_end

-- case hop with everything
--: check: closed
SELECT g, SUM(v) AS total, MIN(v) AS least, MAX(f) AS most, AVG(v) AS mean, COUNT(DISTINCT k) AS keys, window_end
FROM TABLE(HOP(TABLE a, DESCRIPTOR(ts), INTERVAL '5' SECOND, INTERVAL '15' SECOND))
GROUP BY g, window_start, window_end

-- case hop whose size is no multiple
--: check: closed
SELECT COUNT(*) AS n, window_start, window_end
FROM HOP(a, ts, INTERVAL '3 seconds', INTERVAL '10 seconds')
GROUP BY window_start, window_end

-- case cumulate
--: check: closed
SELECT k, COUNT(*) AS n, SUM(v) AS total, window_start, window_end
FROM TABLE(CUMULATE(TABLE a, DESCRIPTOR(ts), INTERVAL '5' SECOND, INTERVAL '20' SECOND))
GROUP BY k, window_start, window_end

-- case session
--: check: closed
SELECT k, COUNT(*) AS n, SUM(v) AS total, window_start, window_end
FROM TABLE(SESSION(TABLE a PARTITION BY k, DESCRIPTOR(ts), INTERVAL '4' SECOND))
GROUP BY k, window_start, window_end

-- case session of all
--: check: closed
SELECT COUNT(*) AS n, MIN(v) AS least, window_start, window_end
FROM TABLE(SESSION(TABLE a, DESCRIPTOR(ts), INTERVAL '1' SECOND))
GROUP BY window_start, window_end

-- case session of two keys
--: check: closed
SELECT k, g, COUNT(*) AS n, MAX(v) AS most, COUNT(DISTINCT v) AS different, window_start, window_end
FROM TABLE(SESSION(TABLE a PARTITION BY k, g, DESCRIPTOR(ts), INTERVAL '8' SECOND))
GROUP BY k, g, window_start, window_end

-- case windows of two streams
--: check: closed
WITH both AS (SELECT k, v, ts FROM a UNION ALL SELECT k, v, ts FROM b WHERE v > 0)
SELECT k, COUNT(*) AS n, SUM(v) AS total, window_start
FROM TABLE(TUMBLE(TABLE both, DESCRIPTOR(ts), INTERVAL '10' SECOND))
GROUP BY k, window_start, window_end

-- case windows of windows
--: check: closed
WITH small AS (
  SELECT k, COUNT(*) AS n, window_time AS at
  FROM TABLE(TUMBLE(TABLE a, DESCRIPTOR(ts), INTERVAL '5' SECOND))
  GROUP BY k, window_start, window_end, window_time
)
SELECT MAX(n) AS most, COUNT(*) AS keys, window_start
FROM TABLE(TUMBLE(TABLE small, DESCRIPTOR(at), INTERVAL '20' SECOND))
GROUP BY window_start, window_end

-- case aggregates of a window's aggregates
--: check: closed
SELECT MAX(n) AS most, AVG(n) AS mean, window_start
FROM (
  SELECT k, COUNT(*) AS n, window_start, window_end
  FROM TABLE(HOP(TABLE a, DESCRIPTOR(ts), INTERVAL '5' SECOND, INTERVAL '10' SECOND))
  GROUP BY k, window_start, window_end
) AS counts
GROUP BY window_start, window_end

-- case windows while they are open
--: check: updating
--: emit: update
--: events: true
SELECT k, COUNT(*) AS n, SUM(v) AS total, window_start
FROM TABLE(TUMBLE(TABLE a, DESCRIPTOR(ts), INTERVAL '10' SECOND))
GROUP BY k, window_start, window_end

-- case sessions while they are open
--: check: updating
--: emit: update
--: events: true
SELECT k, COUNT(*) AS n, window_start, window_end
FROM TABLE(SESSION(TABLE a PARTITION BY k, DESCRIPTOR(ts), INTERVAL '4' SECOND))
GROUP BY k, window_start, window_end

-- case highest of each window
--: check: closed
SELECT k, id, v, window_start
FROM (
  SELECT k, id, v, window_start,
    ROW_NUMBER() OVER (PARTITION BY window_start, window_end, k ORDER BY v DESC, id) AS place
  FROM TABLE(TUMBLE(TABLE a, DESCRIPTOR(ts), INTERVAL '10' SECOND))
) AS ranked
WHERE place <= 2

-- case largest groups of each window
--: check: closed
SELECT k, n, place, window_end
FROM (
  SELECT k, n, window_end,
    ROW_NUMBER() OVER (PARTITION BY window_start, window_end ORDER BY n DESC, k) AS place
  FROM (
    SELECT k, COUNT(*) AS n, window_start, window_end
    FROM TABLE(TUMBLE(TABLE a, DESCRIPTOR(ts), INTERVAL '10' SECOND))
    GROUP BY k, window_start, window_end
  ) AS counts
) AS ranked
WHERE place <= 2
