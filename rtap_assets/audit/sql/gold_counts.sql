SELECT
    (SELECT count(*) FROM windows) AS expected,
    (SELECT count(*) FROM windows WHERE finding IS NOT NULL) AS differing,
    (SELECT count(*) FROM windows WHERE is_awaited) AS awaited,
    (SELECT count(*) FROM gold_rows WHERE revision > 0) AS restated,
    (SELECT count(*) FROM silver_unread SEMI JOIN silver_rows USING (topic_epoch, kafka_partition, kafka_offset))
        AS in_flight
