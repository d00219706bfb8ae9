-- How far gold is behind silver, by the timestamps of their micro-batches.
SELECT
    $gold_rows::BIGINT AS rows_checked,
    0::BIGINT AS rows_failed,
    CASE
        WHEN upstream IS NULL THEN 0
        WHEN newest IS NULL THEN epoch($now::TIMESTAMPTZ - oldest_upstream)
        ELSE greatest(epoch(upstream - newest), 0)
    END::DOUBLE AS observed,
    {'newest': coalesce(newest::VARCHAR, 'none'), 'newest in silver': coalesce(upstream::VARCHAR, 'none')} AS detail
FROM
    (SELECT max(processed_at) AS upstream, min(processed_at) AS oldest_upstream FROM newest_silver),
    (SELECT max(updated_at) AS newest FROM newest_gold);
