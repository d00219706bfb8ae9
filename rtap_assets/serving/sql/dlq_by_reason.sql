-- Quarantined records by reason, from bronze: each counts once, however often the dead-letter topic repeats it.
-- Grain: one reason code that has occurred.
-- Units: share_of_records is the ratio to all Kafka records in bronze; times are the broker's timestamps, UTC.
-- Columns:
--   reason: Reason code of the quarantine.
--   explanation: What the reason means.
--   records: Number of records quarantined for it.
--   share_of_records: records divided by all Kafka records in bronze.
--   first_seen: Broker's timestamp of the first of them, UTC.
--   last_seen: Broker's timestamp of the last of them, UTC.
CREATE TABLE dlq_by_reason AS
SELECT
    error_reason AS reason,
    any_value(explanation) AS explanation,
    count(*) AS records,
    (count(*) / (SELECT count(*) FROM bronze))::DECIMAL(38, 6) AS share_of_records,
    min(kafka_timestamp) AS first_seen,
    max(kafka_timestamp) AS last_seen
FROM bronze
LEFT JOIN reason_codes ON reason = error_reason
WHERE error_reason IS NOT NULL
GROUP BY error_reason
ORDER BY records DESC, reason;
