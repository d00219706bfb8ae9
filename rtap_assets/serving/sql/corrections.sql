-- Corrections: changes of silver behind its stream, with cause, run, and the effect on gold.
-- Grain: one restated window x plan_tier x region x currency of a correction; a correction without windows has one row.
-- Units: amounts are decimals in `currency`; windows are [window_start, window_end), UTC.
-- state: done, pending (finished by the next run) or abandoned (given up before it changed anything).
-- Columns:
--   planned_at: When the correction was planned, UTC.
--   ended_at: When it was done or given up, UTC; null while it is pending.
--   state: done, pending or abandoned.
CREATE TABLE corrections AS
WITH headers AS (
    SELECT
        correction_id,
        cause,
        any_value(why) AS why,
        any_value(run_id) AS run_id,
        any_value(requested_by) AS requested_by,
        min(recorded_at) AS planned_at,
        max(recorded_at) FILTER (WHERE entry <> 'planned') AS ended_at,
        coalesce(any_value(entry) FILTER (WHERE entry <> 'planned'), 'pending') AS state,
        any_value(rows_added) AS rows_added,
        any_value(rows_removed) AS rows_removed,
        any_value(bronze_rows_removed) AS bronze_rows_removed
    FROM correction_entries
    WHERE entry IN ('planned', 'done', 'abandoned')
    GROUP BY correction_id, cause
),
windows AS (
    SELECT
        correction_id, window_start, window_end, plan_tier, region, currency,
        {measures}, revision
    FROM correction_entries
    WHERE entry = 'window'
)
SELECT headers.*, windows.* EXCLUDE (correction_id)
FROM headers LEFT JOIN windows USING (correction_id)
ORDER BY planned_at, correction_id, window_start, plan_tier, region, currency;
