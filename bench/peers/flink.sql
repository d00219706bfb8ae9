CREATE TABLE source (
    `value` BYTES,
    `partition` INT METADATA VIRTUAL,
    `offset` BIGINT METADATA VIRTUAL,
    kafka_timestamp TIMESTAMP_LTZ(3) METADATA FROM 'timestamp' VIRTUAL,
    e AS decode_sale(`value`),
    event_time AS TO_TIMESTAMP_LTZ(COALESCE(decode_sale(`value`).event_ms, 0), 3),
    received AS PROCTIME(),
    WATERMARK FOR event_time AS event_time - INTERVAL '10' MINUTE
) WITH (
    'connector' = 'kafka', 'topic' = '${topic}', 'properties.bootstrap.servers' = '${brokers}',
    'properties.group.id' = 'peers-flink', 'value.format' = 'raw',
    'scan.startup.mode' = 'earliest-offset', 'scan.bounded.mode' = 'latest-offset'
);
CREATE TABLE bronze (
    `partition` INT, `offset` BIGINT, kafka_timestamp TIMESTAMP_LTZ(3), error STRING, event_id STRING,
    event_time TIMESTAMP_LTZ(3), ingest_time TIMESTAMP_LTZ(3), schema_version INT, event_type STRING, account_id STRING,
    plan_tier STRING, region STRING, product_id STRING, quantity INT, amount DECIMAL(18, 4), currency STRING,
    promo_code STRING, sales_channel STRING
) WITH (
    'connector' = 'filesystem', 'path' = 'file://${output}/bronze', 'format' = 'parquet', 'parquet.compression' = 'SNAPPY',
    'sink.rolling-policy.file-size' = '256MB'
);
CREATE TABLE silver (
    event_id STRING, event_time TIMESTAMP_LTZ(3), ingest_time TIMESTAMP_LTZ(3), schema_version INT, event_type STRING,
    account_id STRING, plan_tier STRING, region STRING, product_id STRING, quantity INT, amount DECIMAL(18, 4),
    currency STRING, promo_code STRING, sales_channel STRING, net_amount DECIMAL(18, 4), kafka_timestamp TIMESTAMP_LTZ(3)
) WITH (
    'connector' = 'filesystem', 'path' = 'file://${output}/silver', 'format' = 'parquet', 'parquet.compression' = 'SNAPPY',
    'sink.rolling-policy.file-size' = '256MB'
);
CREATE TABLE gold (
    window_start BIGINT, plan_tier STRING, region STRING, currency STRING, revenue DECIMAL(38, 4), events BIGINT
) WITH (
    'connector' = 'filesystem', 'path' = 'file://${output}/gold', 'format' = 'parquet', 'parquet.compression' = 'SNAPPY'
);
CREATE TEMPORARY VIEW decoded AS
SELECT
    `partition`, `offset`, kafka_timestamp, received, event_time,
    CASE
        WHEN e IS NULL THEN 'undecodable'
        WHEN e.plan_tier NOT IN ('free', 'starter', 'pro', 'enterprise') THEN 'unknown_plan_tier'
        WHEN e.region NOT IN ('na', 'emea', 'apac', 'latam') THEN 'unknown_region'
    END AS error,
    e.event_id AS event_id, TO_TIMESTAMP_LTZ(e.ingest_ms, 3) AS ingest_time, e.schema_version AS schema_version,
    e.event_type AS event_type, e.account_id AS account_id, e.plan_tier AS plan_tier, e.region AS region,
    e.product_id AS product_id, e.quantity AS quantity, e.amount AS amount, e.currency AS currency,
    e.promo_code AS promo_code, e.sales_channel AS sales_channel
FROM source;
CREATE TEMPORARY VIEW deduplicated AS
SELECT
    event_id, event_time, ingest_time, schema_version, event_type, account_id, plan_tier, region, product_id, quantity,
    amount, UPPER(currency) AS currency, promo_code, sales_channel,
    CASE WHEN event_type = 'refund' THEN -amount ELSE amount END AS net_amount, kafka_timestamp
FROM (
    SELECT *, ROW_NUMBER() OVER (PARTITION BY event_id ORDER BY received ASC) AS copy FROM decoded WHERE error IS NULL
)
WHERE copy = 1;
INSERT INTO bronze
SELECT
    `partition`, `offset`, kafka_timestamp, error, event_id,
    CASE WHEN error = 'undecodable' THEN NULL ELSE event_time END, ingest_time, schema_version, event_type, account_id,
    plan_tier, region, product_id, quantity, amount, currency, promo_code, sales_channel
FROM decoded;
INSERT INTO silver
SELECT
    event_id, event_time, ingest_time, schema_version, event_type, account_id, plan_tier, region, product_id, quantity,
    amount, currency, promo_code, sales_channel, CAST(net_amount AS DECIMAL(18, 4)), kafka_timestamp
FROM deduplicated;
INSERT INTO gold
SELECT
    UNIX_TIMESTAMP(CAST(window_start AS STRING)), plan_tier, region, currency, CAST(SUM(net_amount) AS DECIMAL(38, 4)), COUNT(*)
FROM TABLE(TUMBLE(TABLE deduplicated, DESCRIPTOR(event_time), INTERVAL '5' MINUTES))
GROUP BY window_start, window_end, plan_tier, region, currency;
