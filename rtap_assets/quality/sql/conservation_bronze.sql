-- Every offset that the bronze stream has consumed is in bronze exactly once, or in `offset_gaps` with the reason why no
-- consumer receives it. Rows past the checkpoint's position arrived after it was read; the next pass checks them.
WITH kept AS (
    SELECT
        topic_epoch,
        kafka_partition,
        kafka_offset,
        next_offset,
        coalesce(list_contains(list_transform(kafka_headers, lambda h: h.key), 'rtap.redrive.attempt'), false) AS is_redriven
    FROM consumed_bronze LEFT JOIN consumed_offsets USING (topic_epoch, kafka_partition)
    -- A partition that the checkpoint does not name (of an earlier epoch) is complete up to its own last row.
    WHERE next_offset IS NULL OR kafka_offset < next_offset
),
partitions AS (
    SELECT
        topic_epoch,
        kafka_partition,
        first_offset,
        coalesce(any_value(next_offset), max(kafka_offset) + 1) AS next_offset,
        count(*) AS records,
        count(DISTINCT kafka_offset) AS offsets,
        count_if(is_redriven) AS redriven
    FROM kept JOIN bronze_starts USING (topic_epoch, kafka_partition)
    WHERE kafka_offset >= first_offset
    GROUP BY ALL
),
explained AS (
    SELECT partitions.topic_epoch, partitions.kafka_partition, kind, sum(gap.records)::BIGINT AS records
    FROM partitions JOIN offset_gaps AS gap
        ON gap.topic_epoch = partitions.topic_epoch AND gap.kafka_partition = partitions.kafka_partition
        AND gap.first_offset >= partitions.first_offset AND gap.last_offset < partitions.next_offset
    GROUP BY ALL
),
sums AS (
    SELECT topic_epoch, kafka_partition, sum(records) AS records FROM explained GROUP BY ALL
),
expected AS (
    SELECT
        partitions.records,
        partitions.records - offsets AS repeated,
        redriven,
        next_offset - first_offset - offsets - coalesce(sums.records, 0) AS missing
    FROM partitions LEFT JOIN sums USING (topic_epoch, kafka_partition)
),
kinds AS (
    SELECT kind, sum(records)::BIGINT AS records FROM explained GROUP BY kind
    UNION ALL
    -- Records that a redrive sent: they are among the rows, but no producer sent them.
    SELECT 'redriven', sum(redriven)::BIGINT FROM expected HAVING sum(redriven) > 0
)
SELECT
    coalesce(sum(records), 0)::BIGINT AS rows_checked,
    coalesce(sum(repeated + abs(missing)), 0)::BIGINT AS rows_failed,
    coalesce(sum(repeated + abs(missing)), 0)::DOUBLE AS observed,
    map_concat(
        MAP {'missing': coalesce(sum(missing), 0)::BIGINT, 'repeated': coalesce(sum(repeated), 0)::BIGINT},
        coalesce((SELECT map_from_entries(list((kind, records) ORDER BY kind)) FROM kinds), MAP {}::MAP(VARCHAR, BIGINT))
    ) AS detail
FROM expected;
