-- Log to files, by day and minute. Files are a sink connector's; the query gives it the columns to partition by.
SELECT auction, bidder, price, dateTime, extra,
  to_char(dateTime, '%Y-%m-%d') AS dt, to_char(dateTime, '%H:%M') AS hm
FROM bid
