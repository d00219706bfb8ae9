-- From which offset on each Kafka partition is checked, read from the files that can hold a row of the checked time.
CREATE OR REPLACE TEMP TABLE bronze_starts AS
WITH windows AS (
    SELECT topic_epoch, kafka_partition, min(kafka_offset) AS first_offset
    FROM bronze LEFT JOIN consumed_offsets USING (topic_epoch, kafka_partition)
    WHERE kafka_timestamp >= $since AND (next_offset IS NULL OR kafka_offset < next_offset)
    GROUP BY ALL
)
-- A recorded range that overlaps the checked time counts as a whole, with the rows inside.
SELECT
    windows.topic_epoch,
    windows.kafka_partition,
    least(windows.first_offset, coalesce(min(gap.first_offset), windows.first_offset)) AS first_offset
FROM windows LEFT JOIN offset_gaps AS gap
    ON gap.topic_epoch = windows.topic_epoch AND gap.kafka_partition = windows.kafka_partition
    AND windows.first_offset BETWEEN gap.first_offset AND gap.last_offset
GROUP BY windows.topic_epoch, windows.kafka_partition, windows.first_offset;
