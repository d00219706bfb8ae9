-- Gold against silver: every sliding window aggregated from the rows that gold had read, and from all rows (as restated
-- windows hold them). A window that equals neither differs.
CREATE OR REPLACE TABLE expected_windows AS
WITH marked AS (
    SELECT s.*, u.kafka_offset IS NULL AS is_read
    FROM silver_rows AS s LEFT JOIN silver_unread AS u USING (topic_epoch, kafka_partition, kafka_offset)
),
events AS (
    SELECT
        epoch_us(event_time) // getvariable('slide_us') * getvariable('slide_us') AS newest_start_us,
        plan_tier, region, currency, net_amount, is_read, event_type = 'refund' AS is_refund
    FROM marked
)
SELECT
    newest_start_us - steps_back * getvariable('slide_us') AS start_us,
    newest_start_us - steps_back * getvariable('slide_us') + getvariable('window_us') AS end_us,
    plan_tier, region, currency,
    {
        'gross': coalesce(sum(net_amount) FILTER (is_read AND NOT is_refund), 0)::DECIMAL(28, 4),
        'refund': coalesce(-sum(net_amount) FILTER (is_read AND is_refund), 0)::DECIMAL(28, 4),
        'net': coalesce(sum(net_amount) FILTER (is_read), 0)::DECIMAL(28, 4),
        'orders': count(*) FILTER (is_read AND NOT is_refund),
        'refunds': count(*) FILTER (is_read AND is_refund)
    } AS of_read,
    {
        'gross': coalesce(sum(net_amount) FILTER (NOT is_refund), 0)::DECIMAL(28, 4),
        'refund': coalesce(-sum(net_amount) FILTER (is_refund), 0)::DECIMAL(28, 4),
        'net': sum(net_amount)::DECIMAL(28, 4),
        'orders': count(*) FILTER (NOT is_refund),
        'refunds': count(*) FILTER (is_refund)
    } AS of_all
FROM events, unnest(range(getvariable('window_us') // getvariable('slide_us'))) AS steps(steps_back)
GROUP BY ALL;

-- A pending correction has changed silver but not yet restated gold, or the reverse.
CREATE OR REPLACE TABLE awaited_windows AS
SELECT DISTINCT
    epoch_us(event_time) // getvariable('slide_us') * getvariable('slide_us') - steps_back * getvariable('slide_us') AS start_us,
    plan_tier, region, currency
FROM pending_rows, unnest(range(getvariable('window_us') // getvariable('slide_us'))) AS steps(steps_back);

CREATE OR REPLACE TABLE windows AS
WITH held AS (
    SELECT
        start_us, end_us, plan_tier, region, currency, count(*) AS copies,
        any_value({
            'gross': gross_amount, 'refund': refund_amount, 'net': net_amount, 'orders': orders, 'refunds': refunds
        }) AS measures
    FROM gold_rows GROUP BY ALL
),
compared AS (
    SELECT
        start_us, end_us, plan_tier, region, currency, copies, measures,
        CASE WHEN measures IS NOT DISTINCT FROM of_all THEN of_all ELSE of_read END AS expected,
        CASE
            WHEN copies > 1 THEN 'twice in gold'
            WHEN measures IS NULL AND coalesce(of_read.orders + of_read.refunds, 0) = 0 THEN NULL -- no row of it is read yet
            WHEN measures IS NULL THEN 'missing in gold'
            -- A removed row leaves an empty window.
            WHEN of_all IS NULL AND measures.orders = 0 AND measures.refunds = 0 AND measures.gross = 0
                AND measures.refund = 0 AND measures.net = 0 THEN NULL
            WHEN of_all IS NULL THEN 'only in gold'
            WHEN measures IS DISTINCT FROM of_read AND measures IS DISTINCT FROM of_all THEN 'differs'
        END AS finding
    FROM held FULL JOIN expected_windows USING (start_us, end_us, plan_tier, region, currency)
)
SELECT
    c.start_us, c.end_us, c.plan_tier, c.region, c.currency, c.copies, c.measures,
    c.finding IS NOT NULL AND a.start_us IS NOT NULL AS is_awaited,
    CASE WHEN is_awaited THEN c.measures ELSE c.expected END AS expected,
    CASE WHEN NOT is_awaited THEN c.finding END AS finding
FROM compared AS c LEFT JOIN awaited_windows AS a USING (start_us, plan_tier, region, currency);

CREATE OR REPLACE VIEW detail_gold_differs AS
SELECT
    finding, make_timestamp(start_us) AS window_start, plan_tier, region, currency,
    measures.net AS gold_net, expected.net AS silver_net, measures.orders AS gold_orders, expected.orders AS silver_orders
FROM windows WHERE finding IS NOT NULL;

CREATE OR REPLACE VIEW money_in_gold AS
SELECT
    currency,
    coalesce(sum(expected.net), 0) AS silver_net, coalesce(sum(measures.net * coalesce(copies, 0)), 0) AS gold_net,
    silver_net = gold_net
    AND coalesce(sum(expected.gross), 0) = coalesce(sum(measures.gross * copies), 0)
    AND coalesce(sum(expected.orders), 0) = coalesce(sum(measures.orders * copies), 0)
    AND coalesce(sum(expected.refunds), 0) = coalesce(sum(measures.refunds * copies), 0) AS equal,
    coalesce(sum(expected.orders), 0)::BIGINT AS orders, coalesce(sum(expected.refunds), 0)::BIGINT AS refunds
FROM windows WHERE start_us % getvariable('window_us') = 0
GROUP BY currency;
