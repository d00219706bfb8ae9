-- Events whose amount is above what is plausible in their currency: how many, of which currencies, and the largest ones.
WITH bounded AS (
    SELECT
        event_id, currency, amount,
        map($bounded_currencies::VARCHAR[], $largest_amounts::DECIMAL(18, 4)[]) AS bounds,
        coalesce(bounds[currency], bounds['*']) AS largest
    FROM silver
    WHERE kafka_timestamp >= $since
)
SELECT
    count(*) AS rows_checked,
    count(*) FILTER (WHERE amount > largest) AS rows_failed,
    rows_failed::DOUBLE AS observed,
    {
        'currencies': coalesce(
            (SELECT string_agg(currency || ' ' || events, ', ' ORDER BY currency)
            FROM (SELECT currency, count(*) AS events FROM bounded WHERE amount > largest GROUP BY currency)),
            'none'
        ),
        'largest': coalesce(
            (SELECT string_agg(event_id || ' ' || amount || ' ' || currency, ', ' ORDER BY amount DESC)
            FROM (FROM bounded WHERE amount > largest ORDER BY amount DESC LIMIT 5)),
            'none'
        )
    } AS detail
FROM bounded;
