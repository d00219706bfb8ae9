-- Events whose event time is far from the broker's timestamp, and the extremes.
SELECT
    count(*) AS rows_checked,
    count(*) FILTER (WHERE abs(delivery_latency_ms) > $skew_seconds * 1000) AS rows_failed,
    coalesce(rows_failed / nullif(rows_checked, 0), 0)::DOUBLE AS observed,
    {
        'least delay (ms)': coalesce(min(delivery_latency_ms)::VARCHAR, 'none'),
        'greatest delay (ms)': coalesce(max(delivery_latency_ms)::VARCHAR, 'none')
    } AS detail
FROM {valid_rows}
WHERE kafka_timestamp >= $since;
