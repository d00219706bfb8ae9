-- Gold against silver: every sliding window aggregated anew, and the tumbling ones in total. Inputs: silver, gold, parameters.

CREATE OR REPLACE TEMP TABLE expected_windows AS
WITH events AS (
    SELECT
        epoch_us(event_time) // slide_us * slide_us AS newest_start_us,
        window_us, slide_us, plan_tier, region, currency, net_amount, event_type = 'refund' AS is_refund
    FROM silver, parameters
)
SELECT
    newest_start_us - steps_back * slide_us AS start_us,
    newest_start_us - steps_back * slide_us + window_us AS end_us,
    plan_tier,
    region,
    currency,
    sum(CASE WHEN is_refund THEN 0 ELSE net_amount END) AS gross_amount,
    sum(CASE WHEN is_refund THEN -net_amount ELSE 0 END) AS refund_amount,
    sum(net_amount) AS net_amount,
    count(*) FILTER (NOT is_refund) AS orders,
    count(*) FILTER (is_refund) AS refunds
FROM events, unnest(range(window_us // slide_us)) AS steps(steps_back)
GROUP BY ALL;

CREATE OR REPLACE TEMP VIEW gold_windows AS
SELECT
    epoch_us(window_start) AS start_us, epoch_us(window_end) AS end_us, plan_tier, region, currency, gross_amount,
    refund_amount, net_amount, orders, refunds
FROM gold;

-- Rows of gold that silver does not give, rows that gold lacks, and rows that gold has twice: no pair of equals is left over.
CREATE OR REPLACE TEMP VIEW gold_differs AS
SELECT 'only in gold' AS side, make_timestamp(start_us) AS window_start, * EXCLUDE (start_us, end_us)
FROM (FROM gold_windows EXCEPT ALL FROM expected_windows)
UNION ALL
SELECT 'missing in gold', make_timestamp(start_us), * EXCLUDE (start_us, end_us)
FROM (FROM expected_windows EXCEPT ALL FROM gold_windows);

CREATE OR REPLACE TEMP VIEW totals_by_currency AS
WITH
from_silver AS (
    SELECT
        currency,
        coalesce(sum(net_amount) FILTER (event_type <> 'refund'), 0) AS gross_amount,
        coalesce(-sum(net_amount) FILTER (event_type = 'refund'), 0) AS refund_amount,
        sum(net_amount) AS net_amount,
        count(*) FILTER (event_type <> 'refund') AS orders,
        count(*) FILTER (event_type = 'refund') AS refunds
    FROM silver_rows GROUP BY currency
),
from_gold AS (
    SELECT
        currency,
        sum(gross_amount) AS gross_amount,
        sum(refund_amount) AS refund_amount,
        sum(net_amount) AS net_amount,
        sum(orders) AS orders,
        sum(refunds) AS refunds
    FROM gold_windows, parameters
    WHERE start_us % window_us = 0
    GROUP BY currency
)
SELECT
    currency,
    s.net_amount AS silver_net,
    g.net_amount AS gold_net,
    (s.gross_amount, s.refund_amount, s.net_amount, s.orders, s.refunds)
    IS NOT DISTINCT FROM (g.gross_amount, g.refund_amount, g.net_amount, g.orders, g.refunds) AS equal,
    -- A number becomes text before it is formatted: `format` would turn a decimal into a double.
    CASE WHEN equal THEN format('{} orders + {} refunds', s.orders, s.refunds)
        ELSE format(
            'gross {} / {}, refunded {} / {}, orders {} / {}, refunds {} / {}',
            coalesce(s.gross_amount, 0)::VARCHAR, coalesce(g.gross_amount, 0)::VARCHAR,
            coalesce(s.refund_amount, 0)::VARCHAR, coalesce(g.refund_amount, 0)::VARCHAR,
            coalesce(s.orders, 0), coalesce(g.orders, 0), coalesce(s.refunds, 0), coalesce(g.refunds, 0)
        )
    END AS note
FROM from_silver AS s FULL JOIN from_gold AS g USING (currency);
