-- Rolling revenue: every sliding window of gold.
-- Grain: one window x plan_tier x region x currency. Windows overlap, so their sums must not be added up.
-- Units: amounts are decimals in `currency`; windows are [window_start, window_end), UTC.
-- is_final: gold's watermark has passed the window; later changes restate it.
-- status: provisional until the watermark has passed the window and a correction has examined all its records; then
-- final, or restated if it changed after it was final.
-- Columns:
--   is_final: True once gold's watermark has passed the end of the window.
--   status: provisional, final or restated.
CREATE TABLE rolling_revenue AS
SELECT
    {columns},
    coalesce(window_end <= (SELECT watermark FROM refresh), false) AS is_final,
    CASE
        WHEN coalesce(window_end > (SELECT watermark FROM refresh), true) THEN 'provisional'
        WHEN provisional_windows.window_start IS NOT NULL THEN 'provisional'
        WHEN revision > 0 THEN 'restated'
        ELSE 'final'
    END AS status
FROM gold LEFT JOIN provisional_windows USING (window_start)
ORDER BY gold.window_start, plan_tier, region, currency;
