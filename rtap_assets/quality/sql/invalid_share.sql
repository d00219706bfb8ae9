-- Quarantined records, with the number of each reason.
WITH reasons AS (
    SELECT error_reason AS reason, count(*) AS records FROM bronze WHERE kafka_timestamp >= $since GROUP BY error_reason
)
SELECT
    coalesce(sum(records), 0)::BIGINT AS rows_checked,
    coalesce(sum(records) FILTER (WHERE reason IS NOT NULL), 0)::BIGINT AS rows_failed,
    coalesce(rows_failed / nullif(rows_checked, 0), 0)::DOUBLE AS observed,
    coalesce(map_from_entries(list((reason, records) ORDER BY records DESC, reason) FILTER (WHERE reason IS NOT NULL)), MAP {})
        AS detail
FROM reasons;
