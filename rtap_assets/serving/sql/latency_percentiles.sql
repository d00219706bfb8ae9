-- Latency percentiles of silver's events, per hour and overall.
-- Grain: one latency x hour; hour is null in the rows over all hours.
-- Units: milliseconds, exact observed values; hour is the start of the hour of the Kafka timestamp, UTC.
-- ingest: event_time to ingest_time. delivery: event_time to the Kafka timestamp. processing: from there to the micro-batch
-- that wrote the row. end_to_end: delivery + processing. Late rows waited for a correction and are excluded.
-- Columns:
--   latency: ingest, delivery, processing or end_to_end.
--   hour: Start of the hour of the broker's timestamp, UTC; null over all hours.
--   events: Number of events measured.
--   p50_ms: Median, milliseconds.
--   p90_ms: 90th percentile, milliseconds.
--   p99_ms: 99th percentile, milliseconds.
--   max_ms: Longest, milliseconds.
CREATE TABLE latency_percentiles AS
WITH measured AS (
    SELECT
        date_trunc('hour', kafka_timestamp) AS hour,
        unnest([
            {'latency': 'ingest', 'milliseconds': ingest_latency_ms},
            {'latency': 'delivery', 'milliseconds': delivery_latency_ms},
            {'latency': 'processing', 'milliseconds': processing_latency_ms},
            {'latency': 'end_to_end', 'milliseconds': delivery_latency_ms + processing_latency_ms}
        ], recursive := true)
    FROM silver
    WHERE NOT is_late
)
SELECT
    latency,
    hour,
    count(milliseconds) AS events,
    quantile_disc(milliseconds, 0.5) AS p50_ms,
    quantile_disc(milliseconds, 0.9) AS p90_ms,
    quantile_disc(milliseconds, 0.99) AS p99_ms,
    max(milliseconds) AS max_ms
FROM measured
GROUP BY GROUPING SETS ((latency, hour), (latency))
HAVING count(*) > 0
ORDER BY latency, hour NULLS FIRST;
