-- Bids of a user in every ten seconds of the wall clock. The answer depends on when bids arrive, so only its totals can be
-- held against another's.
--: emit: window_close
WITH arrived AS (
  SELECT bidder, PROCTIME() AS p_time
  FROM bid
)
SELECT bidder, COUNT(*) AS bid_count, window_start AS starttime, window_end AS endtime
FROM TABLE(TUMBLE(TABLE arrived, DESCRIPTOR(p_time), INTERVAL '10' SECOND))
GROUP BY bidder, window_start, window_end
