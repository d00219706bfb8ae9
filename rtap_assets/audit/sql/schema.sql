-- Every Kafka record in scope as the audit itself read it: from the topic, or, if the topic no longer has it, from
-- bronze's raw bytes (`in_topic` is false).
CREATE TABLE records (
    topic_epoch INTEGER, kafka_partition INTEGER, kafka_offset BIGINT, in_topic BOOLEAN, kafka_timestamp TIMESTAMPTZ, raw_key BLOB, value_md5 BLOB,
    verdict VARCHAR, event_uuid UUID, event_time TIMESTAMPTZ, ingest_time TIMESTAMPTZ, schema_version INTEGER,
    event_type VARCHAR, account_id VARCHAR, plan_tier VARCHAR, region VARCHAR, product_id VARCHAR, quantity INTEGER,
    amount DECIMAL(18, 4), net_amount DECIMAL(18, 4), currency VARCHAR, promo_code VARCHAR, sales_channel VARCHAR
);
-- Recorded offsets that no consumer receives, with the kind of the gap.
CREATE TABLE gaps (
    topic_epoch INTEGER, kafka_partition INTEGER, first_offset BIGINT, last_offset BIGINT, records BIGINT, kind VARCHAR
);
-- Rows of pending corrections, and the number of rows changed by finished ones.
CREATE TABLE pending_rows (
    topic VARCHAR, topic_epoch INTEGER, kafka_partition INTEGER, kafka_offset BIGINT, event_time TIMESTAMPTZ, plan_tier VARCHAR,
    region VARCHAR, currency VARCHAR
);
CREATE TABLE corrected (cause VARCHAR, added BIGINT, removed BIGINT);
-- Per Kafka partition: where bronze's stream began, the oldest offset in the topic, where bronze's next read begins, where the
-- topic ends. Of a recreated topic's earlier epoch nothing is left: the oldest offset equals the end.
CREATE TABLE ranges (
    topic_epoch INTEGER, kafka_partition INTEGER, begins BIGINT, oldest BIGINT, ends BIGINT, topic_end BIGINT
);
-- The position of each bronze file in silver's reading order, and the watermark of the batch that read it, if known.
CREATE TABLE bronze_order (path VARCHAR, sequence_number BIGINT, file_index BIGINT, watermark TIMESTAMPTZ);
-- Reasons for which a value is not decoded as an event. The audit checks that a foreign framing or format is quarantined, but
-- leaves its exact reason to bronze.
CREATE TABLE foreign_forms AS FROM (VALUES ('bad_magic'), ('unsupported_framing'), ('not_avro')) AS family(reason);
CREATE TABLE unreadable AS FROM (VALUES
    ('bad_magic'), ('unsupported_framing'), ('not_avro'), ('unknown_schema_id'), ('incompatible_schema'), ('undecodable'),
    ('trailing_bytes')
) AS family(reason);
CREATE TABLE bronze_findings (
    topic_epoch INTEGER, kafka_partition INTEGER, kafka_offset BIGINT, finding VARCHAR, audit_verdict VARCHAR, bronze_reason VARCHAR
);
