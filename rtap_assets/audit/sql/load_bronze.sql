-- Bronze's compared columns. `unread` marks the rows that silver's stream has not read yet.
CREATE OR REPLACE TABLE bronze_rows AS
SELECT
    topic, coalesce(topic_epoch, 0) AS topic_epoch, kafka_partition, kafka_offset, kafka_timestamp, raw_key, unhex(md5(raw_value)) AS value_md5, error_reason,
    try_cast(event_id AS UUID) AS event_uuid, event_time, quantity, amount, filename,
    rejudged_at IS NOT NULL AS is_rejudged,
    len(list_filter(kafka_headers, lambda header: header.key = getvariable('redrive_header'))) > 0 AS is_redriven
FROM bronze_source
WHERE topic = getvariable('topic');
CREATE OR REPLACE TABLE bronze_unread AS
SELECT DISTINCT coalesce(topic_epoch, 0) AS topic_epoch, kafka_partition, kafka_offset FROM bronze_unread_source WHERE topic = getvariable('topic');
CREATE OR REPLACE TABLE bronze_other AS
SELECT topic, count(*) AS bronze_rows FROM bronze_source WHERE topic IS DISTINCT FROM getvariable('topic') GROUP BY ALL;
