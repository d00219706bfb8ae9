-- How long after its newest record silver began a batch: the slowest of the batches of the last $recent_seconds in which silver
-- worked. Rows that a correction added came with none.
WITH batches AS (
    SELECT
        processed_at,
        count(*) AS events,
        epoch(processed_at - max(kafka_timestamp)) AS delay_seconds,
        epoch(max(event_time) - min(event_time)) AS span_seconds
    FROM silver
    WHERE is_late IS NOT TRUE AND kafka_timestamp >= $since
    GROUP BY processed_at
),
recent AS (
    FROM batches WHERE processed_at >= (SELECT max(processed_at) FROM batches) - to_seconds($recent_seconds)
)
SELECT
    coalesce(sum(events), 0)::BIGINT AS rows_checked,
    0::BIGINT AS rows_failed,
    coalesce(greatest(max(delay_seconds), 0), 0)::DOUBLE AS observed,
    {
        'batch of': coalesce(arg_max(processed_at, delay_seconds)::VARCHAR, 'none'),
        'event time span (s)': coalesce(arg_max(span_seconds, delay_seconds)::VARCHAR, 'none')
    } AS detail
FROM recent;
