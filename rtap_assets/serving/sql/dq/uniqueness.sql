-- Events that silver holds more than once.
WITH repeated AS (
    SELECT event_id, count(*) AS copies FROM silver WHERE kafka_timestamp >= $since GROUP BY event_id
)
SELECT
    coalesce(sum(copies), 0)::BIGINT AS rows_checked,
    coalesce(sum(copies - 1) FILTER (WHERE copies > 1), 0)::BIGINT AS rows_failed,
    count(*) FILTER (WHERE copies > 1)::DOUBLE AS observed,
    {'example': coalesce(min(event_id) FILTER (WHERE copies > 1), 'none')} AS detail
FROM repeated;
