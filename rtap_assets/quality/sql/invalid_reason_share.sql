-- The most frequent reason of quarantine.
WITH reasons AS (
    SELECT error_reason AS reason, count(*) AS records FROM bronze WHERE kafka_timestamp >= $since GROUP BY error_reason
)
SELECT
    coalesce(sum(records), 0)::BIGINT AS rows_checked,
    coalesce(max(records) FILTER (WHERE reason IS NOT NULL), 0)::BIGINT AS rows_failed,
    coalesce(rows_failed / nullif(rows_checked, 0), 0)::DOUBLE AS observed,
    {'reason': coalesce(arg_max(reason, records) FILTER (WHERE reason IS NOT NULL), 'none')} AS detail
FROM reasons;
