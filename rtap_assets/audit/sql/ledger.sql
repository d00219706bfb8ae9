-- The generator's ledger against bronze and silver, up to bronze's position. Inputs: intended, outcomes, bronze_rows, ranges,
-- silver_rows. A record without an outcome was in flight when its run was killed.
CREATE OR REPLACE TABLE ledger AS
SELECT
    i.run_id, i.sequence, i.kind, i.reason, try_cast(i.event_id AS UUID) AS event_uuid, i.event_time, i.event_type,
    i.account_id, i.plan_tier, i.region, i.currency, i.amount, i.net_amount, i.schema_version, unhex(i.value_md5) AS value_md5,
    coalesce(o.outcome, 'unknown') AS outcome, o.kafka_partition, o.kafka_offset,
    o.kafka_offset >= coalesce(r.ends, 0) AS is_in_flight
FROM intended AS i LEFT JOIN outcomes AS o USING (run_id, sequence) 
LEFT JOIN (SELECT kafka_partition, arg_max(ends, topic_epoch) AS ends FROM ranges GROUP BY ALL) AS r USING (kafka_partition);

-- An acknowledged record is matched by its offset. One with an unknown outcome is searched, by its bytes, among the records
-- whose offset was acknowledged to no run; records with equal bytes are interchangeable (a tombstone's digest is null).
CREATE OR REPLACE TABLE unclaimed AS
SELECT b.topic_epoch, b.kafka_partition, b.kafka_offset, b.value_md5, b.event_uuid, b.error_reason
FROM bronze_rows AS b ANTI JOIN (FROM ledger WHERE outcome = 'acknowledged') AS c
ON b.kafka_partition = c.kafka_partition AND b.kafka_offset = c.kafka_offset AND b.value_md5 IS NOT DISTINCT FROM c.value_md5;

CREATE OR REPLACE TABLE settled AS
WITH
sought AS (
    SELECT run_id, sequence, value_md5, row_number() OVER (PARTITION BY value_md5 ORDER BY run_id, sequence) AS nth
    FROM ledger WHERE outcome = 'unknown'
),
found AS (
    SELECT *, row_number() OVER (PARTITION BY value_md5 ORDER BY topic_epoch, kafka_partition, kafka_offset) AS nth
    FROM unclaimed WHERE value_md5 IN (SELECT value_md5 FROM sought) OR value_md5 IS NULL
)
SELECT sought.run_id, sought.sequence, found.topic_epoch, found.kafka_partition, found.kafka_offset
FROM sought JOIN found ON sought.value_md5 IS NOT DISTINCT FROM found.value_md5 AND sought.nth = found.nth;

-- The ground truth and the platform's verdict for each ledger record that arrived.
CREATE OR REPLACE TABLE matched AS
SELECT l.*, b.topic_epoch, b.error_reason
FROM ledger AS l JOIN bronze_rows AS b USING (kafka_partition, kafka_offset)
WHERE l.outcome = 'acknowledged' AND l.value_md5 IS NOT DISTINCT FROM b.value_md5
UNION ALL BY NAME
SELECT l.* REPLACE (s.kafka_partition AS kafka_partition, s.kafka_offset AS kafka_offset), s.topic_epoch, b.error_reason
FROM settled AS s JOIN ledger AS l USING (run_id, sequence)
JOIN bronze_rows AS b ON b.topic_epoch = s.topic_epoch AND b.kafka_partition = s.kafka_partition AND b.kafka_offset = s.kafka_offset;

CREATE OR REPLACE TABLE of_others AS SELECT * FROM unclaimed ANTI JOIN settled USING (topic_epoch, kafka_partition, kafka_offset);

CREATE OR REPLACE VIEW detail_lost AS
SELECT run_id, sequence, kind, event_uuid, kafka_partition, kafka_offset
FROM ledger ANTI JOIN matched USING (run_id, sequence) WHERE outcome = 'acknowledged' AND NOT is_in_flight;

CREATE OR REPLACE VIEW detail_unintended AS
SELECT kafka_partition, kafka_offset, event_uuid, error_reason
FROM of_others SEMI JOIN (FROM ledger WHERE outcome IN ('failed', 'rolled back')) AS failed USING (value_md5);

CREATE OR REPLACE VIEW detail_without_intention AS
SELECT run_id, sequence, kafka_partition, kafka_offset FROM outcomes ANTI JOIN intended USING (run_id, sequence);

CREATE OR REPLACE VIEW detail_wrong_reason AS
SELECT run_id, sequence, kind, reason AS ledger_reason, error_reason AS bronze_reason, kafka_partition, kafka_offset
FROM matched WHERE reason IS DISTINCT FROM error_reason;

CREATE OR REPLACE VIEW detail_ledger_differs AS
SELECT
    l.run_id, l.sequence, kafka_partition, kafka_offset, s.event_id, s.net_amount AS silver_net, l.net_amount AS ledger_net
FROM silver_rows AS s JOIN matched AS l USING (topic_epoch, kafka_partition, kafka_offset)
WHERE
    l.kind = 'bad'
    OR (s.event_uuid, s.event_time, s.event_type, s.account_id, s.plan_tier)
    IS DISTINCT FROM (l.event_uuid, l.event_time, l.event_type, l.account_id, l.plan_tier)
    OR (s.region, s.currency, s.amount, s.net_amount, s.schema_version)
    IS DISTINCT FROM (l.region, l.currency, l.amount, l.net_amount, l.schema_version);

CREATE OR REPLACE TABLE money_of_ledger AS
SELECT
    currency, sum(l.net) AS ledger_net, sum(s.net) AS silver_net,
    coalesce(sum(l.net), 0) = coalesce(sum(s.net), 0) AS equal
FROM (
    SELECT m.currency, sum(m.net_amount) AS net FROM matched AS m SEMI JOIN silver_rows USING (topic_epoch, kafka_partition, kafka_offset)
    WHERE m.kind <> 'bad' GROUP BY ALL
) AS l
FULL JOIN (
    SELECT currency, sum(net_amount) AS net FROM silver_rows SEMI JOIN matched USING (topic_epoch, kafka_partition, kafka_offset) GROUP BY ALL
) AS s USING (currency)
GROUP BY currency;
