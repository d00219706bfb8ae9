-- Copies among the valid rows read.
SELECT
    events_read AS rows_checked,
    copies AS rows_failed,
    coalesce(copies / nullif(events_read, 0), 0)::DOUBLE AS observed,
    {'kept': kept} AS detail
FROM silver_accounts;
