-- Every offset that the bronze stream has consumed is in bronze exactly once. A topic's offsets have no gaps, unless its
-- producers are transactional: then RTAP_DQ_MAX_MISSING_RECORDS says how many gaps are expected.
WITH partitions AS (
    SELECT
        kafka_partition,
        count(*) AS records,
        count(DISTINCT kafka_offset) AS offsets,
        min(kafka_offset) AS first_offset,
        max(kafka_offset) AS last_offset
    FROM bronze
    WHERE kafka_timestamp >= $since
    GROUP BY kafka_partition
),
expected AS (
    SELECT
        kafka_partition,
        records,
        records - offsets AS repeated,
        -- A partition that the checkpoint does not name is complete up to its own last row.
        greatest(coalesce(next_offset, 0), last_offset + 1) - first_offset - offsets AS missing
    FROM partitions LEFT JOIN consumed_offsets USING (kafka_partition)
)
SELECT
    coalesce(sum(records), 0)::BIGINT AS rows_checked,
    coalesce(sum(repeated + missing), 0)::BIGINT AS rows_failed,
    coalesce(sum(repeated + missing), 0)::DOUBLE AS observed,
    {'missing': coalesce(sum(missing), 0), 'repeated': coalesce(sum(repeated), 0)} AS detail
FROM expected;
