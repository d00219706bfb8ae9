-- What is wrong, record by record, and what is only worth knowing (late, settled, conflicting). One view per set.

CREATE OR REPLACE TEMP VIEW detail_lost AS
SELECT run_id, sequence, kind, event_id, kafka_partition, kafka_offset
FROM ledger ANTI JOIN matched USING (run_id, sequence) WHERE outcome = 'acknowledged';

CREATE OR REPLACE TEMP VIEW detail_unintended AS
SELECT kafka_partition, kafka_offset, event_id, error_reason, value_md5
FROM consumed ANTI JOIN matched USING (kafka_partition, kafka_offset);

CREATE OR REPLACE TEMP VIEW detail_doubled_in_bronze AS
SELECT kafka_partition, kafka_offset, copies FROM consumed WHERE copies > 1;

CREATE OR REPLACE TEMP VIEW detail_other_topic AS
SELECT bronze.topic, count(*) AS bronze_rows FROM bronze, parameters WHERE bronze.topic IS DISTINCT FROM parameters.topic GROUP BY ALL;

CREATE OR REPLACE TEMP VIEW detail_wrong_reason AS
SELECT run_id, sequence, kind, reason AS ledger_reason, error_reason AS bronze_reason, kafka_partition, kafka_offset
FROM judged WHERE reason IS DISTINCT FROM error_reason;

CREATE OR REPLACE TEMP VIEW detail_doubled_in_silver AS
SELECT event_id, count(*) AS copies FROM silver_rows GROUP BY event_id HAVING count(*) > 1;

CREATE OR REPLACE TEMP VIEW detail_silver_differs AS FROM silver_differs;

CREATE OR REPLACE TEMP VIEW detail_gold_differs AS FROM gold_differs;

CREATE OR REPLACE TEMP VIEW detail_conflicting AS FROM conflicting_in_bronze;

CREATE OR REPLACE TEMP VIEW detail_late AS
SELECT kafka_partition, kafka_offset, event_id FROM classified WHERE class = 'late';

CREATE OR REPLACE TEMP VIEW detail_settled AS
SELECT run_id, sequence, kafka_partition, kafka_offset FROM matched WHERE was_unknown;
