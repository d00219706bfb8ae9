-- The age of the newest record. Before the first record nothing is late.
SELECT
    $bronze_rows::BIGINT AS rows_checked,
    0::BIGINT AS rows_failed,
    coalesce(greatest(epoch($now::TIMESTAMPTZ - max(kafka_timestamp)), 0), 0)::DOUBLE AS observed,
    {'newest': coalesce(max(kafka_timestamp)::VARCHAR, 'none')} AS detail
FROM newest_bronze;
