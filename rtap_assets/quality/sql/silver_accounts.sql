-- The outcome of each valid row of bronze that silver has read: kept, a copy of an event that silver holds, removed by a
-- correction, late, or lost.
-- A row that silver does not hold is late if it is not newer than the newest possible watermark: the newest event time of all
-- files read before its own, less the delay. (Files rewritten by a compaction no longer have a position: -1.)
-- Of files before the checked time, `earlier_files` and `earlier_silver` have what matters (`checked_files.py`).
CREATE OR REPLACE TEMP TABLE silver_accounts AS
WITH placed AS (
    SELECT
        lower(event_id) AS event_id, topic_epoch, kafka_partition, kafka_offset, kafka_timestamp, event_time,
        coalesce(sequence_number, -1) AS sequence_number, coalesce(file_index, 0) AS file_index
    FROM bronze_with_files LEFT JOIN bronze_order ON path = filename
    WHERE error_reason IS NULL
),
valid AS (
    SELECT * FROM placed WHERE (sequence_number, file_index) < ($read_sequence, $read_index)
),
files AS (
    SELECT sequence_number, file_index, max(newest) AS newest
    FROM (
        SELECT sequence_number, file_index, event_time AS newest FROM valid
        UNION ALL
        FROM earlier_files WHERE (sequence_number, file_index) < ($read_sequence, $read_index)
    )
    GROUP BY ALL
),
held AS (
    SELECT event_id FROM silver
    UNION ALL
    SELECT event_id FROM earlier_silver
),
bounds AS (
    SELECT
        sequence_number, file_index,
        CASE WHEN sequence_number < 0 THEN max(newest) OVER () ELSE max(newest) OVER (
            ORDER BY sequence_number, file_index ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        ) END - to_seconds($watermark_delay_seconds) AS latest_watermark
    FROM files
),
read AS (
    SELECT * FROM valid WHERE kafka_timestamp >= $since
),
kept AS (
    SELECT read.topic_epoch, read.kafka_partition, read.kafka_offset
    FROM read SEMI JOIN silver USING (topic_epoch, kafka_partition, kafka_offset)
),
absent AS (
    SELECT * FROM read ANTI JOIN silver USING (topic_epoch, kafka_partition, kafka_offset)
),
unexplained AS (
    SELECT absent.*, latest_watermark
    FROM (
        FROM absent
        ANTI JOIN held USING (event_id)
        ANTI JOIN withdrawn_rows USING (topic_epoch, kafka_partition, kafka_offset)
    ) AS absent JOIN bounds USING (sequence_number, file_index)
)
SELECT
    (SELECT count(*) FROM read) AS events_read,
    (SELECT count(*) FROM kept) AS kept,
    (SELECT count(*) FROM absent SEMI JOIN held USING (event_id)) AS copies,
    (
        SELECT count(*) FROM (FROM absent ANTI JOIN held USING (event_id))
        SEMI JOIN withdrawn_rows USING (topic_epoch, kafka_partition, kafka_offset)
    ) AS removed,
    (SELECT count(*) FROM unexplained WHERE event_time <= latest_watermark) AS late,
    (
        SELECT count(*) FROM unexplained
        WHERE event_time <= latest_watermark AND kafka_timestamp >= $correction_due
    ) AS late_awaiting,
    (SELECT count(*) FROM unexplained WHERE (event_time <= latest_watermark) IS NOT TRUE) AS lost,
    (SELECT min(kafka_partition || '/' || kafka_offset) FROM unexplained WHERE (event_time <= latest_watermark) IS NOT TRUE)
        AS example;
