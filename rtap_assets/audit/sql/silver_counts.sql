SELECT
    (SELECT count(*) FROM valid_read) AS valid,
    (SELECT count(*) FROM valid_read) - (SELECT count(*) FROM absent) AS kept,
    (SELECT count(*) FROM absent) - (SELECT count(*) FROM without_event) AS copies,
    (SELECT count(*) FROM unkept WHERE is_late) AS late,
    (SELECT count(*) FROM unkept WHERE is_late AND is_exact) AS exact,
    (SELECT count(*) FROM unkept WHERE is_awaited AND NOT is_late) AS awaiting,
    (SELECT count(*) FROM silver_rows) AS silver,
    (SELECT count(*) FROM silver_rows) - (SELECT count(*) FROM repeated WHERE copy > 1) AS events,
    (SELECT count(*) FROM repeated WHERE copy > 1 AND was_forgotten) AS awaited,
    (SELECT count(*) FROM detail_silver_differs) AS differing,
    (SELECT count(*) FROM silver_rows WHERE is_late) AS corrected,
    (SELECT count(*) FROM bronze_unread SEMI JOIN bronze_rows USING (topic_epoch, kafka_partition, kafka_offset))
        AS in_flight,
    (
        SELECT count(*) FROM absent AS a JOIN silver_rows AS s USING (event_uuid)
        JOIN bronze_rows AS ours ON ours.topic_epoch = a.topic_epoch
            AND ours.kafka_partition = a.kafka_partition AND ours.kafka_offset = a.kafka_offset
        JOIN bronze_rows AS theirs ON theirs.topic_epoch = s.topic_epoch
            AND theirs.kafka_partition = s.kafka_partition AND theirs.kafka_offset = s.kafka_offset
        WHERE ours.value_md5 IS DISTINCT FROM theirs.value_md5
    ) AS conflicting
