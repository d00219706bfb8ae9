-- Changes by other programs to the three tables, recorded or still in their histories. rows_checked counts the histories
-- examined, so that a table without changes counts as checked.
SELECT
    (SELECT tables FROM histories) + count(*) AS rows_checked,
    count(*) FILTER (WHERE NOT is_acknowledged) AS rows_failed,
    rows_failed::DOUBLE AS observed,
    {
        'newest': coalesce(max_by(sentence, changed_at) FILTER (WHERE NOT is_acknowledged), 'none'),
        'acknowledged': count(*) FILTER (WHERE is_acknowledged)
    } AS detail
FROM foreign_changes;
