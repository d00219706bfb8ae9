SELECT
    (SELECT count(*) FROM records)::BIGINT AS read,
    (SELECT count(*) FROM records WHERE NOT in_topic)::BIGINT AS gone,
    (SELECT count(*) FROM bronze_rows)::BIGINT AS held,
    (SELECT count(*) FROM records WHERE verdict IS NOT NULL)::BIGINT AS invalid,
    (SELECT count(*) FROM records)::BIGINT AS judged,
    (SELECT coalesce(sum(greatest(ends - begins, 0)), 0) FROM ranges)::BIGINT AS offsets,
    (SELECT coalesce(sum(greatest(topic_end - ends, 0)), 0) FROM ranges)::BIGINT AS in_flight,
    (SELECT count(*) FROM ranges WHERE ends > topic_end)::BIGINT AS beyond,
    (SELECT count(*) FROM bronze_findings WHERE finding = 'excused')::BIGINT AS excused,
    (SELECT count(*) FROM bronze_rows WHERE topic_epoch < (SELECT max(topic_epoch) FROM ranges))::BIGINT AS earlier,
    (SELECT count(*) FROM bronze_findings WHERE finding = 'registered_since')::BIGINT AS since,
    (SELECT count(*) FROM bronze_rows WHERE is_redriven)::BIGINT AS redriven,
    (SELECT count(*) FROM bronze_rows WHERE is_rejudged)::BIGINT AS rejudged,
    -- Reading the topic again proves which offsets have no readable record, as far back as the topic reaches; before that
    -- only a recorded gap explains an offset without a row.
    (SELECT coalesce(sum(greatest(least(ends, topic_end) - greatest(begins, oldest), 0)), 0) FROM ranges)::BIGINT
        - (SELECT count(*) FROM records JOIN ranges USING (topic_epoch, kafka_partition) WHERE kafka_offset >= oldest)
        AS unreadable,
    (SELECT coalesce(sum(greatest(least(oldest, ends) - begins, 0)), 0) FROM ranges)::BIGINT
        - (SELECT count(*) FROM records JOIN ranges USING (topic_epoch, kafka_partition) WHERE kafka_offset < oldest)
        AS vanished,
    (
        SELECT coalesce(sum(greatest(least(
            records, least(last_offset + 1, oldest, ends) - greatest(first_offset, begins)
        ), 0)), 0)
        FROM gaps JOIN ranges USING (topic_epoch, kafka_partition)
    )::BIGINT AS recorded
