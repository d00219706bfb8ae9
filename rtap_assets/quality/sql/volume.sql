-- The newest full interval against the median of the eight before it. With fewer than four there is no baseline.
WITH intervals AS (
    SELECT
        (epoch($now::TIMESTAMPTZ)::BIGINT // $interval_seconds - epoch(kafka_timestamp)::BIGINT // $interval_seconds) AS age,
        count(*) AS records
    FROM bronze
    WHERE kafka_timestamp >= $now::TIMESTAMPTZ - to_seconds($interval_seconds * 10)
    GROUP BY age
),
compared AS (
    SELECT
        coalesce(sum(records) FILTER (WHERE age = 1), 0)::BIGINT AS newest,
        median(records) FILTER (WHERE age BETWEEN 2 AND 9) AS usual,
        count(*) FILTER (WHERE age BETWEEN 2 AND 9) AS intervals
    FROM intervals
)
SELECT
    CASE WHEN intervals < 4 THEN 0 ELSE newest + usual END::BIGINT AS rows_checked,
    0::BIGINT AS rows_failed,
    CASE WHEN intervals < 4 THEN 1 ELSE greatest(greatest(newest, 1) / usual, usual / greatest(newest, 1)) END::DOUBLE AS observed,
    {'newest interval': newest, 'usual': coalesce(usual::VARCHAR, 'none'), 'intervals compared': intervals} AS detail
FROM compared;
