-- Refund share: amounts paid back in an hour as a share of that hour's sales.
-- Grain: one hour x plan_tier x currency, from the tumbling windows.
-- Units: amounts are decimals in `currency`; shares are ratios (0.25 = a quarter), rounded to six digits.
-- refund_amount_share is null when nothing was sold, and above 1 when refunds exceed that hour's sales.
-- Columns:
--   hour: Start of the hour, UTC.
--   refund_amount_share: refund_amount divided by gross_amount; null when nothing was sold.
--   refund_count_share: refunds divided by orders and refunds together.
CREATE TABLE refund_share AS
SELECT
    date_trunc('hour', window_start) AS hour,
    plan_tier,
    currency,
    sum(gross_amount) AS gross_amount,
    sum(refund_amount) AS refund_amount,
    (sum(refund_amount) / nullif(sum(gross_amount), 0))::DECIMAL(38, 6) AS refund_amount_share,
    sum(orders)::BIGINT AS orders,
    sum(refunds)::BIGINT AS refunds,
    (sum(refunds) / nullif(sum(orders + refunds), 0))::DECIMAL(38, 6) AS refund_count_share
FROM tumbling_revenue
GROUP BY ALL
ORDER BY hour, plan_tier, currency;
