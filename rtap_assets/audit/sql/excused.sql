-- A row that was erased, or whose removal by another program was detected, stays in the topic until retention. In a range
-- that also holds rows, at most the gap's number of records is excused.
UPDATE bronze_findings SET finding = 'excused'
FROM (
    SELECT topic_epoch, kafka_partition, kafka_offset FROM (
        SELECT
            f.topic_epoch, f.kafka_partition, f.kafka_offset, g.records,
            row_number() OVER (PARTITION BY g.topic_epoch, g.kafka_partition, g.first_offset, g.last_offset, g.kind) AS nth
        FROM bronze_findings AS f JOIN gaps AS g
        ON f.topic_epoch = g.topic_epoch AND f.kafka_partition = g.kafka_partition
            AND f.kafka_offset BETWEEN g.first_offset AND g.last_offset
        WHERE f.finding = 'missing_in_bronze' AND g.kind IN ('erased', 'removed')
    ) WHERE nth <= records
) AS e
WHERE bronze_findings.topic_epoch = e.topic_epoch AND bronze_findings.kafka_partition = e.kafka_partition
    AND bronze_findings.kafka_offset = e.kafka_offset AND finding = 'missing_in_bronze'
