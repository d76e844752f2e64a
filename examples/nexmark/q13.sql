-- Bounded side input: bids with a value that is looked up, as it is when the bid is read.
--: sources: { side_input: { table: true, columns: { key: int64, value: string } } }
SELECT B.auction, B.bidder, B.price, B.dateTime, S.value
FROM bid AS B
JOIN side_input FOR SYSTEM_TIME AS OF PROCTIME() AS S ON B.auction % 10000 = S.key
