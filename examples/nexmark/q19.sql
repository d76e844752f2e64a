-- The ten highest bids of each auction, with their place.
--: results: changelog
SELECT auction, bidder, price, channel, url, dateTime, extra, place
FROM (
  SELECT auction, bidder, price, channel, url, dateTime, extra,
    ROW_NUMBER() OVER (PARTITION BY auction ORDER BY price DESC, dateTime ASC) AS place
  FROM bid
) AS ranked
WHERE place <= 10
