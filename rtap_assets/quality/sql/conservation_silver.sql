-- Valid rows read = kept + copies + removed by corrections + late.
SELECT
    events_read AS rows_checked,
    lost AS rows_failed,
    lost::DOUBLE AS observed,
    {'kept': kept, 'copies': copies, 'removed': removed, 'late': late, 'example': coalesce(example, 'none')} AS detail
FROM silver_accounts;
