-- The outcome of each valid row of bronze that silver has read. Inputs: bronze_rows, bronze_unread, records, silver_rows,
-- bronze_order.
CREATE OR REPLACE TABLE valid_read AS
SELECT
    topic_epoch, kafka_partition, kafka_offset, is_rejudged, coalesce(r.event_uuid, b.event_uuid) AS event_uuid, b.event_time, b.filename, r.currency,
    r.net_amount
FROM (FROM bronze_rows ANTI JOIN bronze_unread USING (topic_epoch, kafka_partition, kafka_offset) WHERE error_reason IS NULL) AS b
LEFT JOIN records AS r USING (topic_epoch, kafka_partition, kafka_offset);

CREATE OR REPLACE TABLE absent AS
SELECT * FROM valid_read ANTI JOIN silver_rows USING (topic_epoch, kafka_partition, kafka_offset);

CREATE OR REPLACE TABLE without_event AS
SELECT * FROM absent ANTI JOIN silver_rows USING (event_uuid);

-- The newest watermark that can have judged the rows of a file: its batch's, if the offset log still has it; else the newest
-- event time of all files read before it, less the delay. A file written by a compaction has no position (-1).
CREATE OR REPLACE TABLE file_watermarks AS
WITH files AS (
    SELECT
        filename, coalesce(any_value(sequence_number), -1) AS sequence_number, coalesce(any_value(file_index), 0) AS file_index,
        any_value(watermark) AS watermark, max(event_time) AS newest
    FROM valid_read LEFT JOIN bronze_order ON path = filename
    GROUP BY filename
)
SELECT
    filename,
    coalesce(watermark, CASE WHEN sequence_number < 0 THEN max(newest) OVER () ELSE max(newest) OVER (
        ORDER BY sequence_number, file_index ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
    ) END - to_seconds(getvariable('delay_seconds'))) AS watermark,
    watermark IS NOT NULL AS is_exact
FROM files;

CREATE OR REPLACE TABLE unkept AS
SELECT
    w.topic_epoch, w.kafka_partition, w.kafka_offset, w.event_uuid, w.event_time, f.watermark, f.is_exact,
    (w.event_time <= f.watermark) IS TRUE AS is_late,
    -- Judged again since silver read it, or planned by a pending correction: the next correction adds it.
    w.is_rejudged OR p.kafka_offset IS NOT NULL AS is_awaited
FROM without_event AS w LEFT JOIN file_watermarks AS f USING (filename)
LEFT JOIN (SELECT DISTINCT topic_epoch, kafka_partition, kafka_offset FROM pending_rows) AS p
    USING (topic_epoch, kafka_partition, kafka_offset);

-- Events in several rows. A later copy awaits correction if its id had left the state by then: the previous event was older, by
-- the watermark's delay, than the newest possible watermark. Everything else is doubled, also the same record.
CREATE OR REPLACE TABLE repeated AS
WITH ids AS (SELECT event_uuid FROM silver_rows GROUP BY event_uuid HAVING count(*) > 1)
SELECT
    s.event_uuid, s.topic_epoch, s.kafka_partition, s.kafka_offset, v.event_time, f.watermark,
    row_number() OVER (PARTITION BY s.event_uuid ORDER BY v.event_time, s.topic_epoch, s.kafka_partition, s.kafka_offset) AS copy,
    (
        row_number() OVER (PARTITION BY s.event_uuid, s.topic_epoch, s.kafka_partition, s.kafka_offset) = 1
        AND min(v.event_time) OVER (PARTITION BY s.event_uuid) + to_seconds(getvariable('delay_seconds')) <= f.watermark
    ) IS TRUE AS was_forgotten
FROM silver_rows AS s SEMI JOIN ids USING (event_uuid)
LEFT JOIN valid_read AS v USING (topic_epoch, kafka_partition, kafka_offset)
LEFT JOIN file_watermarks AS f USING (filename);

CREATE OR REPLACE VIEW detail_lost_before_silver AS
SELECT kafka_partition, kafka_offset, event_uuid, event_time, watermark FROM unkept WHERE NOT is_late AND NOT is_awaited;

CREATE OR REPLACE VIEW detail_doubled_in_silver AS
SELECT event_uuid, kafka_partition, kafka_offset, event_time
FROM repeated WHERE copy > 1 AND NOT was_forgotten;

CREATE OR REPLACE VIEW detail_unfounded_in_silver AS
SELECT kafka_partition, kafka_offset, event_id
FROM silver_rows ANTI JOIN (FROM bronze_rows WHERE error_reason IS NULL) AS valid USING (topic_epoch, kafka_partition, kafka_offset);

CREATE OR REPLACE VIEW detail_silver_differs AS
SELECT
    s.kafka_partition, s.kafka_offset, s.event_id, s.net_amount AS silver_net, r.net_amount AS audit_net, s.currency
FROM silver_rows AS s JOIN records AS r USING (topic_epoch, kafka_partition, kafka_offset)
WHERE
    s.event_id IS DISTINCT FROM r.event_uuid::VARCHAR
    OR (s.event_time, s.ingest_time, s.schema_version, s.event_type, s.account_id, s.plan_tier, s.region)
    IS DISTINCT FROM (r.event_time, r.ingest_time, r.schema_version, r.event_type, r.account_id, r.plan_tier, r.region)
    OR (s.product_id, s.quantity, s.amount, s.net_amount, s.currency, s.promo_code, s.sales_channel)
    IS DISTINCT FROM (r.product_id, r.quantity, r.amount, r.net_amount, r.currency, r.promo_code, r.sales_channel);

CREATE OR REPLACE TABLE money_in_silver AS
SELECT currency, ours.net AS audit_net, theirs.net AS silver_net, coalesce(ours.net, 0) = coalesce(theirs.net, 0) AS equal
FROM (
    SELECT currency, sum(net_amount) AS net FROM valid_read SEMI JOIN silver_rows USING (topic_epoch, kafka_partition, kafka_offset)
    GROUP BY currency
) AS ours
FULL JOIN (SELECT currency, sum(net_amount) AS net FROM silver_rows GROUP BY currency) AS theirs USING (currency);
