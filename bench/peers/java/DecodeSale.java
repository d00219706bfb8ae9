import org.apache.flink.table.annotation.DataTypeHint;
import org.apache.flink.table.data.DecimalData;
import org.apache.flink.table.data.GenericRowData;
import org.apache.flink.table.data.RowData;
import org.apache.flink.table.data.StringData;
import org.apache.flink.table.functions.ScalarFunction;

/**
 * Framed Avro bytes to a row, or null when they cannot be decoded. Flink's own format avro-confluent ends the job at the first bad
 * record.
 */
public class DecodeSale extends ScalarFunction {
    private final Sale sale = new Sale();
    private transient byte[] lastBytes; // the plan may call this for each field of one record
    private transient RowData lastRow;

    public @DataTypeHint(
        value =
            "ROW<event_id STRING, event_ms BIGINT, ingest_ms BIGINT, schema_version INT, event_type STRING, account_id STRING,"
                + " plan_tier STRING, region STRING, product_id STRING, quantity INT, amount DECIMAL(18,4), currency STRING,"
                + " promo_code STRING, sales_channel STRING>",
        bridgedTo = RowData.class) RowData eval(byte[] record) {
        if (record == null || record != lastBytes) {
            lastBytes = record;
            lastRow = sale.decode(record) ? row() : null;
        }
        return lastRow;
    }

    private RowData row() {
        GenericRowData row = new GenericRowData(Sale.FIELDS);
        for (int field = 0; field < Sale.FIELDS; field++) {
            row.setField(field, switch (field) {
                case Sale.EVENT_TIME, Sale.INGEST_TIME -> sale.number[field];
                case Sale.SCHEMA_VERSION, Sale.QUANTITY -> (int) sale.number[field];
                case Sale.AMOUNT -> DecimalData.fromUnscaledLong(sale.number[field], 18, 4);
                default -> sale.length[field] < 0
                    ? null
                    : StringData.fromBytes(sale.bytes, sale.start[field], sale.length[field]);
            });
        }
        return row;
    }
}
