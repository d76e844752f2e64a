-- Currency conversion: prices in euros.
-- A number with a point is a DOUBLE here; the specification asks for DECIMAL(23, 3).
SELECT auction, bidder, 0.908 * price AS price, dateTime, extra
FROM bid
