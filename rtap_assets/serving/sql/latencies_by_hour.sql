-- Latency percentiles of silver's events per hour.
-- Grain: one latency x hour.
-- Units: milliseconds, exact observed values; hour is the start of the hour of the Kafka timestamp, UTC.
CREATE TABLE latencies_by_hour AS
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
GROUP BY latency, hour;
