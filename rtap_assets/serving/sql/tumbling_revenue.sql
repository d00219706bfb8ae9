-- Tumbling revenue: the windows that start on a multiple of their length. They tile the time line without overlap,
-- so every event is in exactly one of them and sums over windows are correct.
-- Grain: one window x plan_tier x region x currency.
-- Units: amounts are decimals in `currency`; windows are [window_start, window_end), UTC.
-- Columns:
--   is_final: True once gold's watermark has passed the end of the window.
--   status: provisional, final or restated.
CREATE VIEW tumbling_revenue AS
SELECT *
FROM rolling_revenue
WHERE epoch_us(window_start) % (epoch_us(window_end) - epoch_us(window_start)) = 0;
