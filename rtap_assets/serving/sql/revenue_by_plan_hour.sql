-- Revenue by hour and plan tier, from the tumbling windows, so that nothing is counted twice.
-- Grain: one hour x plan_tier x currency; a window belongs to the hour in which it starts.
-- Units: amounts are decimals in `currency`; hour is the start of the hour, UTC. is_final: no window of it is still open.
-- status: provisional when a window of it is, else restated when one was, else final.
-- Columns:
--   hour: Start of the hour, UTC.
--   is_final: True once gold's watermark has passed the end of the hour.
--   status: provisional, final or restated.
CREATE TABLE revenue_by_plan_hour AS
SELECT
    date_trunc('hour', window_start) AS hour,
    plan_tier,
    currency,
    sum(gross_amount) AS gross_amount,
    sum(refund_amount) AS refund_amount,
    sum(net_amount) AS net_amount,
    sum(orders)::BIGINT AS orders,
    sum(refunds)::BIGINT AS refunds,
    bool_and(is_final) AND any_value(hour) + INTERVAL 1 HOUR <= (SELECT watermark FROM refresh) AS is_final,
    CASE
        WHEN coalesce(any_value(hour) + INTERVAL 1 HOUR > (SELECT watermark FROM refresh), true) THEN 'provisional'
        WHEN bool_or(status = 'provisional') THEN 'provisional'
        WHEN bool_or(status = 'restated') THEN 'restated'
        ELSE 'final'
    END AS status
FROM tumbling_revenue
GROUP BY ALL
ORDER BY hour, plan_tier, currency;
