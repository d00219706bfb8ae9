-- The reconciliation, line by line: position, name, left, right, whether they are equal, and a note.
WITH
acknowledged AS (SELECT count(*) AS n FROM ledger WHERE outcome = 'acknowledged'),
acknowledged_present AS (SELECT count(*) AS n FROM matched WHERE NOT was_unknown),
bronze_rows AS (SELECT count(*) AS n FROM bronze),
consumed_counts AS (
    SELECT count(*) AS n, count(*) FILTER (error_reason IS NULL) AS valid, count(*) FILTER (error_reason IS NOT NULL) AS invalid
    FROM consumed
),
judged_counts AS (
    SELECT
        count(*) AS n,
        count(DISTINCT (kafka_partition, kafka_offset)) AS places,
        count(*) FILTER (kind <> 'bad') AS valid,
        count(*) FILTER (kind = 'bad') AS invalid
    FROM judged
),
unsettled AS (
    SELECT
        (SELECT count(*) FROM ledger WHERE outcome = 'unknown') AS n,
        (SELECT count(*) FROM matched WHERE was_unknown) AS found
),
classes AS (
    SELECT
        count(*) AS valid, count(*) FILTER (class = 'duplicate') AS duplicates, count(*) FILTER (class = 'late') AS late
    FROM classified
),
silver_counts AS (SELECT count(*) AS n, count(DISTINCT event_id) AS events FROM silver_rows),
silver_equal AS (SELECT (SELECT n FROM silver_counts) - (SELECT count(*) FROM silver_differs) AS n),
conflicts AS (
    SELECT
        (SELECT count(*) FROM conflicting_in_ledger) AS in_ledger,
        (SELECT count(*) FROM conflicting_in_bronze) AS in_bronze
),
reasons AS (
    SELECT
        reason_code,
        count(*) FILTER (reason = reason_code) AS in_ledger,
        count(*) FILTER (error_reason = reason_code) AS in_bronze,
        count(*) FILTER (reason = reason_code AND error_reason = reason_code) AS in_both
    FROM judged, unnest(list_distinct([reason, error_reason])) AS codes(reason_code)
    WHERE reason_code IS NOT NULL
    GROUP BY reason_code
),
net_amounts AS (
    SELECT currency, l.net AS ledger_net, s.net AS silver_net
    FROM (SELECT currency, sum(net_amount) AS net FROM ledger_of_silver GROUP BY currency) AS l
    FULL JOIN (SELECT currency, sum(net_amount) AS net FROM silver_rows GROUP BY currency) AS s USING (currency)
),
gold_counts AS (
    SELECT
        (SELECT count(*) FROM gold) AS in_gold,
        (SELECT count(*) FROM expected_windows) AS expected,
        (SELECT count(*) FROM gold_differs) AS differing
)
SELECT 1 AS position, 'acknowledged = acknowledged and in bronze' AS name, a.n::VARCHAR AS "left", p.n::VARCHAR AS "right", a.n = p.n AS equal,
    CASE WHEN u.n = 0 THEN '' ELSE format('{} of {} unknown arrived', u.found, u.n) END AS note
FROM acknowledged AS a, acknowledged_present AS p, unsettled AS u
UNION ALL
SELECT 2, 'in bronze = in bronze and intended', c.n::VARCHAR, j.places::VARCHAR, c.n = j.places AND j.places = j.n, ''
FROM consumed_counts AS c, judged_counts AS j
UNION ALL
SELECT 3, 'bronze rows = Kafka records in bronze', b.n::VARCHAR, c.n::VARCHAR, b.n = c.n, ''
FROM bronze_rows AS b, consumed_counts AS c
UNION ALL
SELECT 4, 'consumed = valid + invalid', c.n::VARCHAR, (j.valid + j.invalid)::VARCHAR,
    c.valid = j.valid AND c.invalid = j.invalid AND c.n = j.valid + j.invalid,
    CASE WHEN c.valid = j.valid AND c.invalid = j.invalid THEN format('{} + {}', c.valid, c.invalid)
        ELSE format('bronze {} + {}, ledger {} + {}', c.valid, c.invalid, j.valid, j.invalid)
    END
FROM consumed_counts AS c, judged_counts AS j
UNION ALL
SELECT 5, reason_code || ': ledger = bronze', in_ledger::VARCHAR, in_bronze::VARCHAR,
    in_ledger = in_bronze AND in_bronze = in_both, ''
FROM reasons
UNION ALL
SELECT 6, 'valid = silver + duplicates + late', c.valid::VARCHAR, (s.n + c.duplicates + c.late)::VARCHAR,
    c.valid = s.n + c.duplicates + c.late, format('{} + {} + {}', s.n, c.duplicates, c.late)
FROM classes AS c, silver_counts AS s
UNION ALL
SELECT 7, 'silver rows = distinct events', n::VARCHAR, events::VARCHAR, n = events, ''
FROM silver_counts
UNION ALL
SELECT 8, 'silver rows = as the ledger has them', s.n::VARCHAR, e.n::VARCHAR, s.n = e.n, ''
FROM silver_counts AS s, silver_equal AS e
UNION ALL
SELECT 9, 'conflicting duplicates: ledger = bronze', in_ledger::VARCHAR, in_bronze::VARCHAR, in_ledger = in_bronze, ''
FROM conflicts
UNION ALL
SELECT 10, 'net ' || currency || ': ledger = silver', coalesce(ledger_net, 0)::VARCHAR, coalesce(silver_net, 0)::VARCHAR,
    coalesce(ledger_net = silver_net, false), ''
FROM net_amounts
UNION ALL
SELECT 11, 'net ' || currency || ': silver = gold', coalesce(silver_net, 0)::VARCHAR, coalesce(gold_net, 0)::VARCHAR, equal, note
FROM totals_by_currency
UNION ALL
SELECT 12, 'gold windows = windows of silver', in_gold::VARCHAR, expected::VARCHAR, in_gold = expected AND differing = 0,
    CASE WHEN differing = 0 THEN '' ELSE format('{} rows differ', differing) END
FROM gold_counts
ORDER BY position, name;
