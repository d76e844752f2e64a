-- case everything
SELECT * FROM a

-- case filter and project
SELECT id, k, v + 1 AS w, -v AS negative FROM a WHERE v > 3 AND flag

-- case conditions with null
SELECT id, COALESCE(k, 'none') AS k, NULLIF(v, 0) AS v, flag IS NULL AS unknown FROM a WHERE v IS NOT NULL OR k IS NULL

-- case choice
SELECT id, CASE WHEN v < 0 THEN 'below' WHEN v = 0 THEN 'zero' WHEN v > 0 THEN 'above' END AS sign,
  CASE k WHEN 'u' THEN 1 WHEN 'v' THEN 2 ELSE 0 END AS number
FROM a

-- case casts
SELECT id, CAST(v AS DOUBLE) AS d, CAST(v AS VARCHAR) AS t, CAST(f AS BIGINT) AS w, TRY_CAST(text AS BIGINT) AS n FROM a

-- case extremes
SELECT id, big, big > 0 AS positive, big = -9223372036854775808 AS least FROM a WHERE big <> 0

-- case texts
SELECT id, upper(k) AS u, k || '-' || text AS both, length(text) AS n, split_part(text, '.', 1) AS head,
  regexp_like(text, '^[a-z]') AS small, replace(text, '"', '') AS bare
FROM a

-- case times
SELECT id, ts + INTERVAL '1' HOUR AS later, date_trunc('minute', ts) AS minute, EXTRACT(SECOND FROM ts) AS seconds,
  to_char(ts, '%H:%M') AS clock
FROM a

-- case several conditions
SELECT id FROM a WHERE k IN ('u', 'v v') AND v BETWEEN 0 AND 15 AND text NOT LIKE 'x%'

-- case two streams as one
SELECT id, k, 'a' AS side FROM a UNION ALL SELECT id, k, 'b' FROM b WHERE flag

-- case inside another
SELECT id, w FROM (SELECT id, v * 2 AS w, flag FROM a WHERE v IS NOT NULL) AS inside WHERE w > 0 AND flag

-- case with a name
WITH positive AS (SELECT id, k, v FROM a WHERE v > 0)
SELECT p.id, p.k FROM positive AS p WHERE p.v < 10

-- case upper and lower case
SELECT id AS "Id", k AS someKey, v AS SomeValue FROM a
