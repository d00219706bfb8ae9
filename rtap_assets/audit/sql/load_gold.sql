CREATE OR REPLACE TABLE gold_rows AS
SELECT
    epoch_us(window_start) AS start_us, epoch_us(window_end) AS end_us, plan_tier, region, currency, gross_amount,
    refund_amount, net_amount, orders, refunds, revision
FROM gold_source;
