-- Closed windows of gold against the aggregation of silver: of the files that gold had read by its newest batch, or of all
-- files, since corrections and compactions rewrite rows that gold may not have read. A window that equals neither differs.
-- A window that lost its last event stays in gold with zeros, and equals a window that silver lacks. Erased amounts are gone
-- from silver but still in gold, unless gold was rebuilt since. Windows of a pending correction are excluded.
WITH events AS (
    SELECT
        plan_tier, region, currency, event_type = 'refund' AS is_refund, net_amount,
        sequence_number IS NULL OR (sequence_number, file_index) < ($read_sequence, $read_index) AS is_read,
        unnest(range($window_seconds // $slide_seconds)) AS step,
        epoch_us(event_time) // 1_000_000 // $slide_seconds * $slide_seconds AS newest_start
    FROM silver_with_files LEFT JOIN silver_order ON path = filename
    WHERE event_time >= $since
),
windowed AS (
    SELECT *, to_timestamp(newest_start - step * $slide_seconds) AS window_start FROM events
),
recomputed AS (
    SELECT
        window_start, plan_tier, region, currency,
        {
            'gross': coalesce(sum(net_amount) FILTER (WHERE NOT is_refund AND is_read), 0)::DECIMAL(28, 4),
            'refund': -coalesce(sum(net_amount) FILTER (WHERE is_refund AND is_read), 0)::DECIMAL(28, 4),
            'orders': count(*) FILTER (WHERE NOT is_refund AND is_read),
            'refunds': count(*) FILTER (WHERE is_refund AND is_read)
        } AS of_read,
        {
            'gross': coalesce(sum(net_amount) FILTER (WHERE NOT is_refund), 0)::DECIMAL(28, 4),
            'refund': -coalesce(sum(net_amount) FILTER (WHERE is_refund), 0)::DECIMAL(28, 4),
            'orders': count(*) FILTER (WHERE NOT is_refund),
            'refunds': count(*) FILTER (WHERE is_refund)
        } AS of_all
    FROM windowed
    WHERE window_start >= $since AND window_start + to_seconds($window_seconds) <= $watermark::TIMESTAMPTZ
    GROUP BY ALL
),
erased AS (
    SELECT
        slide_start - to_seconds(step * $slide_seconds) AS window_start, plan_tier, region, currency,
        sum(gross)::DECIMAL(28, 4) AS gross, sum(refund)::DECIMAL(28, 4) AS refund,
        sum(orders)::BIGINT AS orders, sum(refunds)::BIGINT AS refunds
    FROM erased_amounts, (SELECT unnest(range($window_seconds // $slide_seconds)) AS step)
    GROUP BY ALL
),
held AS (
    SELECT
        window_start, plan_tier, region, currency, count(*) AS copies,
        {
            'gross': any_value(gross_amount), 'refund': any_value(refund_amount),
            'orders': any_value(orders), 'refunds': any_value(refunds)
        } AS measures,
        any_value(net_amount = gross_amount - refund_amount) AS is_balanced
    FROM gold
    WHERE window_start >= $since AND window_end <= $watermark::TIMESTAMPTZ
    GROUP BY ALL
),
paired AS (
    SELECT
        *,
        {'gross': 0::DECIMAL(28, 4), 'refund': 0::DECIMAL(28, 4), 'orders': 0::BIGINT, 'refunds': 0::BIGINT} AS nothing,
        -- Gold without the erased events, in windows that have some.
        CASE WHEN erased.orders IS NOT NULL THEN {
            'gross': ((measures).gross - erased.gross)::DECIMAL(28, 4),
            'refund': ((measures).refund - erased.refund)::DECIMAL(28, 4),
            'orders': (measures).orders - erased.orders, 'refunds': (measures).refunds - erased.refunds
        } ELSE measures END AS unerased
    FROM held
    FULL JOIN recomputed USING (window_start, plan_tier, region, currency)
    LEFT JOIN erased USING (window_start, plan_tier, region, currency)
    ANTI JOIN pending_windows USING (window_start)
),
compared AS (
    SELECT
        window_start, plan_tier, region, currency,
        CASE
            WHEN copies > 1 OR is_balanced IS FALSE THEN true
            WHEN measures IS NULL THEN (of_read).orders + (of_read).refunds > 0
            ELSE measures IS DISTINCT FROM coalesce(of_read, nothing) AND measures IS DISTINCT FROM coalesce(of_all, nothing)
                AND unerased IS DISTINCT FROM coalesce(of_read, nothing)
                AND unerased IS DISTINCT FROM coalesce(of_all, nothing)
        END AS differs
    FROM paired
)
SELECT
    count(*) AS rows_checked,
    count(*) FILTER (WHERE differs) AS rows_failed,
    rows_failed::DOUBLE AS observed,
    {
        'example': coalesce(min(concat_ws('/', window_start, plan_tier, region, currency)) FILTER (WHERE differs), 'none'),
        'changed by others': (
            SELECT coalesce(max_by(sentence, changed_at), 'no') FROM foreign_changes
            WHERE NOT is_acknowledged AND table_name <> 'bronze.sales_events'
        )
    } AS detail
FROM compared;
