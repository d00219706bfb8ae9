-- Events in which a required column is null, with the number of nulls of each such column.
WITH nulls AS (
    SELECT
        list_filter([{required}], lambda column_name: column_name IS NOT NULL) AS missing
    FROM {valid_rows}
    WHERE kafka_timestamp >= $since
),
by_column AS (
    SELECT column_name, count(*) AS events FROM (SELECT unnest(missing) AS column_name FROM nulls) GROUP BY column_name
)
SELECT
    count(*) AS rows_checked,
    count(*) FILTER (WHERE len(missing) > 0) AS rows_failed,
    coalesce(rows_failed / nullif(rows_checked, 0), 0)::DOUBLE AS observed,
    (SELECT coalesce(map_from_entries(list((column_name, events) ORDER BY column_name)), MAP {}) FROM by_column) AS detail
FROM nulls;
