-- Valid rows read = kept + copies + late.
SELECT
    events_read AS rows_checked,
    lost AS rows_failed,
    lost::DOUBLE AS observed,
    {'kept': kept, 'copies': copies, 'late': late, 'example': coalesce(example, 'none')} AS detail
FROM silver_accounts;
