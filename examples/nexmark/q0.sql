-- Pass through: every bid as it is. What it costs is what reading and writing cost.
SELECT auction, bidder, price, dateTime, extra
FROM bid
