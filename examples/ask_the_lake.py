# A marimo notebook: `uvx marimo edit examples/ask_the_lake.py`, or run its cells one after the other in any Python.
# It reads the marts of a state folder and changes nothing.
import marimo

app = marimo.App(width="medium", app_title="Ask the lake")


@app.cell
def _():
    import duckdb
    import marimo as mo

    from rtap_assets.config import load_settings

    marts = duckdb.connect(str(load_settings().marts_path), read_only=True)
    marts.execute("SET TimeZone = 'UTC'")
    return marts, mo


@app.cell
def _(marts, mo):
    described = marts.sql(
        "SELECT table_name AS mart, comment AS meaning FROM duckdb_tables() UNION ALL "
        "SELECT view_name, comment FROM duckdb_views() WHERE NOT internal ORDER BY mart"
    ).fetchall()
    listed = [f"- `{mart}`: {(meaning or 'no description').splitlines()[0]}" for mart, meaning in described]
    mo.md("\n".join(["# What can be asked", "", *listed]))
    return (described,)


@app.cell
def _(marts, mo):
    # Currencies are never added up: one row per tier and currency. Tumbling windows count every event once.
    last_hour = marts.sql(
        """SELECT plan_tier, currency, sum(net_amount) AS net, sum(orders)::BIGINT AS orders
        FROM tumbling_revenue
        WHERE window_start >= (SELECT max(window_start) FROM tumbling_revenue) - INTERVAL 1 HOUR
        GROUP BY ALL ORDER BY orders DESC"""
    ).fetchall()
    mo.ui.table([dict(zip(("tier", "currency", "net", "orders"), row, strict=True)) for row in last_hour])
    return (last_hour,)


@app.cell
def _(marts, mo):
    certain = dict(marts.sql("SELECT status, count(*) FROM rolling_revenue GROUP BY status ORDER BY status").fetchall())
    counts = ", ".join(f"{count:,} {status}" for status, count in certain.items()) or "none"
    mo.md(f"Windows by certainty: {counts}. A provisional one may still change, a restated one did after it was final.")
    return (certain,)


@app.cell
def _(marts, mo):
    refused = marts.sql("SELECT reason, records, explanation FROM dlq_by_reason ORDER BY records DESC LIMIT 10").fetchall()
    mo.ui.table([dict(zip(("reason", "records", "meaning"), row, strict=True)) for row in refused])
    return (refused,)


if __name__ == "__main__":
    app.run()
