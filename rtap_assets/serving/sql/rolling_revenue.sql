-- Rolling revenue: every sliding window of gold.
-- Grain: one window x plan_tier x region x currency. Windows overlap, so their sums must not be added up.
-- Units: amounts are decimals in `currency`; windows are [window_start, window_end), UTC.
-- is_final: gold's watermark has passed the window; later events go to reconciliation, not into the stream's result.
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
    coalesce(window_end <= (SELECT watermark FROM refresh), false) AS is_final
FROM gold
ORDER BY window_start, plan_tier, region, currency;
