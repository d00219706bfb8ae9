-- Records of bronze by hour and reason of quarantine.
-- Grain: one hour x reason; reason is null for valid records.
-- Units: hour is the start of the hour of the broker's timestamp, UTC.
CREATE TABLE records_by_hour AS
SELECT
    date_trunc('hour', kafka_timestamp) AS hour,
    error_reason AS reason,
    count(*) AS records,
    min(kafka_timestamp) AS first_seen,
    max(kafka_timestamp) AS last_seen
FROM bronze
GROUP BY ALL;
