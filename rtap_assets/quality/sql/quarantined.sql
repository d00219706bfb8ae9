-- The batch of bronze that quarantined the most records for one reason, among the batches of the last $recent_seconds in which
-- records came. A batch is a snapshot; rows that a compaction has moved to another file are of none.
WITH placed AS (
    SELECT sequence_number, error_reason AS reason, kafka_timestamp
    FROM bronze_with_files JOIN bronze_order ON path = filename
    WHERE kafka_timestamp >= $since
),
recent AS (
    FROM placed WHERE kafka_timestamp >= (SELECT max(kafka_timestamp) FROM placed) - to_seconds($recent_seconds)
),
reasons AS (
    SELECT sequence_number, reason, count(*) AS records FROM recent WHERE reason IS NOT NULL GROUP BY ALL
),
batches AS (
    SELECT
        max(records) AS most,
        map_from_entries(list((reason, records) ORDER BY records DESC, reason)) AS by_reason
    FROM reasons GROUP BY sequence_number
)
SELECT
    (SELECT count(*) FROM recent) AS rows_checked,
    coalesce(max(most), 0)::BIGINT AS rows_failed,
    coalesce(max(most), 0)::DOUBLE AS observed,
    coalesce(arg_max(by_reason, most), MAP {}) AS detail
FROM batches;
