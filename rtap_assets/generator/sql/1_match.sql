-- Which intended record each record in bronze is. Inputs: intended, outcomes, bronze, parameters (one row).

-- A record without an outcome was under way when its run was killed.
CREATE OR REPLACE TEMP TABLE ledger AS
SELECT intended.*, coalesce(outcomes.outcome, 'unknown') AS outcome, outcomes.kafka_partition, outcomes.kafka_offset
FROM intended
LEFT JOIN outcomes USING (run_id, sequence);

-- Kafka records in bronze; `copies` is 1 unless a record was written twice.
CREATE OR REPLACE TEMP TABLE consumed AS
SELECT
    kafka_partition,
    kafka_offset,
    count(*) AS copies,
    any_value(md5(raw_value)) AS value_md5,
    any_value(error_reason) AS error_reason,
    any_value(lower(event_id)) AS event_id
FROM bronze
WHERE topic = (SELECT topic FROM parameters)
GROUP BY kafka_partition, kafka_offset;

-- An acknowledged record is known by its place. One whose outcome is unknown is looked for, by its bytes, among the records
-- whose place nobody was told; records of the same bytes are interchangeable (a tombstone has none: its md5 is null).
CREATE OR REPLACE TEMP TABLE matched AS
WITH
acknowledged AS (
    SELECT run_id, sequence, kafka_partition, kafka_offset, value_md5 FROM ledger WHERE outcome = 'acknowledged'
),
unclaimed AS (
    SELECT *, row_number() OVER (PARTITION BY value_md5 ORDER BY kafka_partition, kafka_offset) AS nth
    FROM consumed ANTI JOIN acknowledged USING (kafka_partition, kafka_offset)
),
unsettled AS (
    SELECT run_id, sequence, value_md5, row_number() OVER (PARTITION BY value_md5 ORDER BY run_id, sequence) AS nth
    FROM ledger WHERE outcome = 'unknown'
)
SELECT a.run_id, a.sequence, a.kafka_partition, a.kafka_offset, false AS was_unknown
FROM acknowledged AS a
JOIN consumed AS c USING (kafka_partition, kafka_offset)
WHERE a.value_md5 IS NOT DISTINCT FROM c.value_md5
UNION ALL
SELECT unsettled.run_id, unsettled.sequence, unclaimed.kafka_partition, unclaimed.kafka_offset, true
FROM unsettled
JOIN unclaimed ON unclaimed.value_md5 IS NOT DISTINCT FROM unsettled.value_md5 AND unclaimed.nth = unsettled.nth;

-- The truth and the platform's verdict about each record that is there.
CREATE OR REPLACE TEMP TABLE judged AS
SELECT
    ledger.* EXCLUDE (kafka_partition, kafka_offset),
    matched.kafka_partition,
    matched.kafka_offset,
    consumed.error_reason
FROM matched
JOIN ledger USING (run_id, sequence)
JOIN consumed ON consumed.kafka_partition = matched.kafka_partition AND consumed.kafka_offset = matched.kafka_offset;
