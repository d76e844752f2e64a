-- Average selling price of a seller's last ten auctions.
-- The specification asks for the last ten at each moment, in an order in which auctions closed. A winning bid changes until
-- its auction is over, and an OVER window whose rows are taken back would have to tell all rows behind them anew; Flink
-- does not run it for that reason (FLINK-19059). Here it is the same question with an answer that changes: of each seller,
-- the ten auctions that ended last, by Top-N, and the average of their winning bids.
--: subject: "nexmark.q6.{seller}"
SELECT seller, AVG(price) AS average
FROM (
  SELECT W.seller, W.price,
    ROW_NUMBER() OVER (PARTITION BY W.seller ORDER BY W.expires DESC, W.id DESC) AS place
  FROM (
    SELECT A.id, A.seller, A.expires, MAX(B.price) AS price
    FROM auction AS A
    JOIN bid AS B ON A.id = B.auction
    WHERE B.dateTime BETWEEN A.dateTime AND A.expires
    GROUP BY A.id, A.seller, A.expires
  ) AS W
) AS last
WHERE place <= 10
GROUP BY seller
