-- Topic against bronze, one Kafka partition (`$partition` of `$epoch`) at a time: only differences are kept.
INSERT INTO bronze_findings
WITH
theirs AS (
    SELECT
        kafka_offset, count(*) AS copies, any_value(kafka_timestamp) AS kafka_timestamp, any_value(raw_key) AS raw_key,
        any_value(value_md5) AS value_md5, any_value(error_reason) AS error_reason, any_value(event_uuid) AS event_uuid,
        any_value(event_time) AS event_time, any_value(quantity) AS quantity, any_value(amount) AS amount
    FROM bronze_rows WHERE topic_epoch = $epoch AND kafka_partition = $partition GROUP BY kafka_offset
),
ours AS (FROM records WHERE topic_epoch = $epoch AND kafka_partition = $partition),
both_sides AS (
    SELECT
        coalesce(ours.kafka_offset, theirs.kafka_offset) AS kafka_offset,
        ours.verdict, theirs.error_reason,
        CASE
            WHEN theirs.kafka_offset IS NULL THEN 'missing_in_bronze'
            WHEN ours.kafka_offset IS NULL THEN 'not_in_topic'
            WHEN theirs.copies > 1 THEN 'doubled_in_bronze'
            WHEN in_topic AND (
                ours.raw_key IS DISTINCT FROM theirs.raw_key OR ours.value_md5 IS DISTINCT FROM theirs.value_md5
                OR ours.kafka_timestamp IS DISTINCT FROM theirs.kafka_timestamp
            ) THEN 'altered'
            WHEN ours.verdict IS NOT DISTINCT FROM theirs.error_reason THEN CASE
                WHEN ours.verdict IS NULL AND (
                    (ours.event_uuid, ours.event_time, ours.quantity, ours.amount)
                    IS DISTINCT FROM (theirs.event_uuid, theirs.event_time, theirs.quantity, theirs.amount)
                ) THEN 'wrong_values'
            END
            WHEN theirs.error_reason = 'unknown_schema_id' AND ours.verdict IS DISTINCT FROM 'unknown_schema_id'
                THEN 'registered_since'
            WHEN (ours.verdict IN (FROM foreign_forms) AND theirs.error_reason IN (FROM unreadable))
                OR (ours.verdict IN (FROM unreadable) AND theirs.error_reason IN (FROM foreign_forms)) THEN NULL
            ELSE 'wrong_verdict'
        END AS finding
    FROM ours FULL JOIN theirs ON ours.kafka_offset = theirs.kafka_offset
)
SELECT $epoch, $partition, kafka_offset, finding, verdict, error_reason FROM both_sides WHERE finding IS NOT NULL;
