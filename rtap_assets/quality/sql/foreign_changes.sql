-- Changes that others than the platform made to the three tables, written down or still in their histories. What is looked at
-- are the tables' histories, so that no change is a finding, not the lack of one.
SELECT
    (SELECT tables FROM histories) + count(*) AS rows_checked,
    count(*) FILTER (WHERE NOT is_acknowledged) AS rows_failed,
    rows_failed::DOUBLE AS observed,
    {
        'newest': coalesce(max_by(sentence, changed_at) FILTER (WHERE NOT is_acknowledged), 'none'),
        'acknowledged': count(*) FILTER (WHERE is_acknowledged)
    } AS detail
FROM foreign_changes;
