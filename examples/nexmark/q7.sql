-- Highest bid of every ten seconds, with its bidder.
--: sources: { bid: { event_time: dateTime, watermark: 4s } }
--: emit: window_close
SELECT B.auction, B.bidder, B.price, B.dateTime, B.extra
FROM bid AS B
JOIN (
  SELECT MAX(price) AS highest, window_start, window_end
  FROM TABLE(TUMBLE(TABLE bid, DESCRIPTOR(dateTime), INTERVAL '10' SECOND))
  GROUP BY window_start, window_end
) AS W
ON B.price = W.highest
WHERE B.dateTime BETWEEN W.window_end - INTERVAL '10' SECOND AND W.window_end
