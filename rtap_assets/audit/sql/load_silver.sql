CREATE OR REPLACE TABLE silver_rows AS
SELECT
    topic, coalesce(topic_epoch, 0) AS topic_epoch, kafka_partition, kafka_offset, event_id, try_cast(event_id AS UUID) AS event_uuid, event_time, ingest_time,
    schema_version, event_type, account_id, plan_tier, region, product_id, quantity, amount, net_amount, currency, promo_code,
    sales_channel, is_late
FROM silver_source;
CREATE OR REPLACE TABLE silver_unread AS
SELECT DISTINCT coalesce(topic_epoch, 0) AS topic_epoch, kafka_partition, kafka_offset FROM silver_unread_source;
