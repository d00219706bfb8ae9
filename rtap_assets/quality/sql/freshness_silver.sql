-- How far silver is behind bronze's valid records.
SELECT
    $silver_rows::BIGINT AS rows_checked,
    0::BIGINT AS rows_failed,
    CASE
        WHEN upstream IS NULL THEN 0
        WHEN newest IS NULL THEN epoch($now::TIMESTAMPTZ - oldest_upstream)
        ELSE greatest(epoch(upstream - newest), 0)
    END::DOUBLE AS observed,
    {'newest': coalesce(newest::VARCHAR, 'none'), 'newest in bronze': coalesce(upstream::VARCHAR, 'none')} AS detail
FROM
    (SELECT max(kafka_timestamp) AS upstream, min(kafka_timestamp) AS oldest_upstream FROM latest_bronze WHERE error_reason IS NULL),
    (SELECT max(kafka_timestamp) AS newest FROM newest_silver);
