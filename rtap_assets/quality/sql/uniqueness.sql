-- Events that silver holds more than once. Corrections remove later copies at an interval: copies newer than $correction_due
-- await one and make the figures provisional; older ones fail.
WITH repeated AS (
    SELECT event_id, count(*) AS copies, max(kafka_timestamp) < $correction_due AS is_due
    FROM silver WHERE kafka_timestamp >= $since GROUP BY event_id
)
SELECT
    coalesce(sum(copies), 0)::BIGINT AS rows_checked,
    coalesce(sum(copies - 1) FILTER (WHERE copies > 1 AND is_due), 0)::BIGINT AS rows_failed,
    count(*) FILTER (WHERE copies > 1 AND is_due)::DOUBLE AS observed,
    {
        'example': coalesce(min(event_id) FILTER (WHERE copies > 1), 'none'),
        'later copies awaiting correction': coalesce(sum(copies - 1) FILTER (WHERE copies > 1 AND NOT is_due), 0),
        'status': CASE WHEN count(*) FILTER (WHERE copies > 1) > 0 THEN 'provisional' ELSE 'final' END
    } AS detail
FROM repeated;
