-- Rolling revenue: every sliding window of gold.
-- Grain: one window x plan_tier x region x currency. Windows overlap, so their sums must not be added up.
-- Units: amounts are decimals in `currency`; windows are [window_start, window_end), UTC.
-- is_final: gold's watermark has passed the window. status: provisional before that, then final, or restated when the row was
-- changed after its window was final (revision says how often).
CREATE TABLE rolling_revenue AS
SELECT
    window_start,
    window_end,
    plan_tier,
    region,
    currency,
    gross_amount,
    refund_amount,
    net_amount,
    orders,
    refunds,
    revision,
    updated_at,
    is_final,
    CASE WHEN NOT is_final THEN 'provisional' WHEN revision > 0 THEN 'restated' ELSE 'final' END AS status
FROM (SELECT *, coalesce(window_end <= (SELECT watermark FROM refresh), false) AS is_final FROM gold)
ORDER BY window_start, plan_tier, region, currency;
