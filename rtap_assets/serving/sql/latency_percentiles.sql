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
WITH counted AS (
    SELECT latency, milliseconds, sum(events)::BIGINT AS events FROM latencies_by_day GROUP BY ALL
),
placed AS (
    SELECT
        latency,
        milliseconds,
        -- Of values in order, how many there are up to this one, and in all.
        sum(events) OVER (PARTITION BY latency ORDER BY milliseconds)::BIGINT AS place,
        sum(events) OVER (PARTITION BY latency)::BIGINT AS total
    FROM counted WHERE milliseconds IS NOT NULL
),
over_all AS (
    SELECT
        latency,
        NULL::TIMESTAMPTZ AS hour,
        coalesce(any_value(total), 0) AS events,
        -- The least value that as many are not above: `quantile_disc`, in whole numbers.
        min(milliseconds) FILTER (WHERE 100 * place >= 50 * total) AS p50_ms,
        min(milliseconds) FILTER (WHERE 100 * place >= 90 * total) AS p90_ms,
        min(milliseconds) FILTER (WHERE 100 * place >= 99 * total) AS p99_ms,
        max(milliseconds) AS max_ms
    FROM (SELECT DISTINCT latency FROM counted) LEFT JOIN placed USING (latency)
    GROUP BY latency
)
FROM over_all
UNION ALL BY NAME
FROM latencies_by_hour
ORDER BY latency, hour NULLS FIRST;
