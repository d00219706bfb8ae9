-- Late rows among the valid rows read.
SELECT
    events_read AS rows_checked,
    late AS rows_failed,
    coalesce(late / nullif(events_read, 0), 0)::DOUBLE AS observed,
    {
        'kept': kept,
        'late rows awaiting correction': late_awaiting,
        'status': CASE WHEN late > 0 THEN 'provisional' ELSE 'final' END
    } AS detail
FROM silver_accounts;
