-- Average price of a category: of the winning bids of its auctions. A higher bid takes back what was told before.
--: subject: "nexmark.q4.{category}"
SELECT Q.category, AVG(Q.winning) AS average
FROM (
  SELECT A.id, A.category, MAX(B.price) AS winning
  FROM auction AS A
  JOIN bid AS B ON A.id = B.auction
  WHERE B.dateTime BETWEEN A.dateTime AND A.expires
  GROUP BY A.id, A.category
) AS Q
GROUP BY Q.category
