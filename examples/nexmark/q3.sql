-- Local items: who sells in OR, ID or CA something of category 10? A join without a window: both sides are kept, here for
-- a day after they were last met.
--: state_ttl: 24h
SELECT P.name, P.city, P.state, A.id
FROM auction AS A
JOIN person AS P ON A.seller = P.id
WHERE A.category = 10 AND P.state IN ('OR', 'ID', 'CA')
