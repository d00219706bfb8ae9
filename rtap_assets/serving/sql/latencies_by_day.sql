-- How many events had each latency, per day: what exact percentiles over all hours are made from.
-- Grain: one latency x day x number of milliseconds.
-- Units: milliseconds; day is the start of the day of the Kafka timestamp, UTC.
CREATE TABLE latencies_by_day AS
WITH measured AS (
    SELECT
        date_trunc('day', kafka_timestamp) AS day,
        unnest([
            {'latency': 'ingest', 'milliseconds': ingest_latency_ms},
            {'latency': 'delivery', 'milliseconds': delivery_latency_ms},
            {'latency': 'processing', 'milliseconds': processing_latency_ms},
            {'latency': 'end_to_end', 'milliseconds': delivery_latency_ms + processing_latency_ms}
        ], recursive := true)
    FROM silver
    WHERE NOT is_late
)
SELECT day, latency, milliseconds, count(*) AS events FROM measured GROUP BY ALL;
