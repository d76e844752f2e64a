-- Hot items: which auctions had most bids in the last ten seconds, told every two seconds.
--: sources: { bid: { event_time: dateTime, watermark: 4s } }
--: emit: window_close
SELECT counts.auction, counts.num
FROM (
  SELECT auction, COUNT(*) AS num, window_start, window_end
  FROM TABLE(HOP(TABLE bid, DESCRIPTOR(dateTime), INTERVAL '2' SECOND, INTERVAL '10' SECOND))
  GROUP BY auction, window_start, window_end
) AS counts
JOIN (
  SELECT MAX(num) AS most, window_start, window_end
  FROM (
    SELECT COUNT(*) AS num, window_start, window_end
    FROM TABLE(HOP(TABLE bid, DESCRIPTOR(dateTime), INTERVAL '2' SECOND, INTERVAL '10' SECOND))
    GROUP BY auction, window_start, window_end
  ) AS each
  GROUP BY window_start, window_end
) AS highest
ON counts.window_start = highest.window_start
  AND counts.window_end = highest.window_end
  AND counts.num >= highest.most
