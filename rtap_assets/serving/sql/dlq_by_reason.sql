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
    reason,
    any_value(explanation) AS explanation,
    sum(records_by_hour.records)::BIGINT AS records,
    (sum(records_by_hour.records)::BIGINT / (SELECT sum(all_hours.records)::BIGINT FROM records_by_hour AS all_hours))
        ::DECIMAL(38, 6) AS share_of_records,
    min(first_seen) AS first_seen,
    max(last_seen) AS last_seen
FROM records_by_hour
LEFT JOIN reason_codes USING (reason)
WHERE reason IS NOT NULL
GROUP BY reason
ORDER BY records DESC, reason;
