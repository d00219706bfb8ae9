-- What became of each valid record, and whether silver says what the ledger says. Inputs: bronze's matches, silver.

CREATE OR REPLACE TEMP TABLE silver_rows AS
SELECT
    kafka_partition, kafka_offset, event_id, event_time, event_type, account_id, plan_tier, region, currency, amount,
    net_amount, schema_version
FROM silver;

-- `row`: silver's own row came from this record; `duplicate`: its event is in silver by another; `late`: not in silver at all.
CREATE OR REPLACE TEMP TABLE classified AS
SELECT
    consumed.kafka_partition,
    consumed.kafka_offset,
    consumed.event_id,
    CASE
        WHEN own.kafka_offset IS NOT NULL THEN 'row'
        WHEN consumed.event_id IN (SELECT event_id FROM silver_rows) THEN 'duplicate'
        ELSE 'late'
    END AS class
FROM consumed
LEFT JOIN (SELECT DISTINCT kafka_partition, kafka_offset FROM silver_rows) AS own USING (kafka_partition, kafka_offset)
WHERE consumed.error_reason IS NULL;

-- The ledger's truth about each event in silver, once per event.
CREATE OR REPLACE TEMP TABLE ledger_of_silver AS
SELECT judged.*
FROM judged
JOIN (
    SELECT event_id, min({'p': kafka_partition, 'o': kafka_offset}) AS place FROM silver_rows GROUP BY event_id
) AS first ON first.place.p = judged.kafka_partition AND first.place.o = judged.kafka_offset;

CREATE OR REPLACE TEMP VIEW silver_differs AS
SELECT s.*, l.run_id, l.sequence
FROM silver_rows AS s
LEFT JOIN judged AS l USING (kafka_partition, kafka_offset)
WHERE
    l.kind IS NULL OR l.kind = 'bad'
    OR (s.event_id, s.event_time, s.event_type, s.account_id, s.plan_tier, s.region, s.currency, s.amount, s.net_amount, s.schema_version)
    IS DISTINCT FROM
    (l.event_id, l.event_time, l.event_type, l.account_id, l.plan_tier, l.region, l.currency, l.amount, l.net_amount, l.schema_version);

CREATE OR REPLACE TEMP VIEW conflicting_in_ledger AS
SELECT event_id, count(DISTINCT value_md5) AS contents
FROM judged WHERE kind <> 'bad' GROUP BY event_id HAVING count(DISTINCT value_md5) > 1;

CREATE OR REPLACE TEMP VIEW conflicting_in_bronze AS
SELECT event_id, count(DISTINCT value_md5) AS contents
FROM consumed WHERE error_reason IS NULL GROUP BY event_id HAVING count(DISTINCT value_md5) > 1;
