import java.io.Serializable;
import java.math.BigInteger;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;

/**
 * One sales event, decoded by hand from its framed Avro bytes. An instance is used again for the next record; texts stay where
 * they are in the bytes until they are asked for. The environment's SCHEMA_IDS names the ids of version 1 and version 2.
 */
final class Sale implements Serializable {
    static final int EVENT_ID = 0, EVENT_TIME = 1, INGEST_TIME = 2, SCHEMA_VERSION = 3, EVENT_TYPE = 4, ACCOUNT_ID = 5;
    static final int PLAN_TIER = 6, REGION = 7, PRODUCT_ID = 8, QUANTITY = 9, AMOUNT = 10, CURRENCY = 11, PROMO_CODE = 12;
    static final int SALES_CHANNEL = 13, FIELDS = 14;
    static final List<String> TIERS = List.of("free", "starter", "pro", "enterprise");
    static final List<String> REGIONS = List.of("na", "emea", "apac", "latam");

    final int[] start = new int[FIELDS], length = new int[FIELDS];
    final long[] number = new long[FIELDS];
    private final int[] ids =
        Arrays.stream(System.getenv("SCHEMA_IDS").split(",")).mapToInt(Integer::parseInt).toArray();
    byte[] bytes;
    private int at;

    /** Decodes a record; returns false when it cannot be decoded to its last byte. */
    boolean decode(byte[] record) {
        if (record == null || record.length < 5 || record[0] != 0) return false;
        bytes = record;
        int id = (record[1] & 255) << 24 | (record[2] & 255) << 16 | (record[3] & 255) << 8 | record[4] & 255;
        if (id != ids[0] && id != ids[1]) return false;
        at = 5;
        try {
            for (int field = 0; field <= CURRENCY; field++) {
                switch (field) {
                    case EVENT_TIME, INGEST_TIME, SCHEMA_VERSION, QUANTITY -> number[field] = number();
                    case AMOUNT -> {
                        text(field);
                        number[field] = new BigInteger(bytes, start[field], length[field]).longValueExact();
                    }
                    default -> text(field);
                }
            }
            for (int field = PROMO_CODE; field < FIELDS; field++) {
                length[field] = -1;
                if (id == ids[1] && branch() == 1) text(field);
            }
            return at == record.length;
        } catch (ArithmeticException | IndexOutOfBoundsException | IllegalArgumentException e) {
            return false;
        }
    }

    /** Returns why the decoded event is invalid; an empty text when it is valid. */
    String fault() {
        if (!TIERS.contains(get(PLAN_TIER))) return "unknown_plan_tier";
        return REGIONS.contains(get(REGION)) ? "" : "unknown_region";
    }

    String get(int field) {
        return length[field] < 0 ? null : new String(bytes, start[field], length[field], StandardCharsets.UTF_8);
    }

    String currency() {
        return get(CURRENCY).toUpperCase(Locale.ROOT);
    }

    /** Returns the amount in ten-thousandths, below zero for a refund. */
    long net() {
        return get(EVENT_TYPE).equals("refund") ? -number[AMOUNT] : number[AMOUNT];
    }

    private int branch() {
        long branch = number();
        if (branch < 0 || branch > 1) throw new IllegalArgumentException("branch");
        return (int) branch;
    }

    private void text(int field) {
        long size = number();
        if (size < 0 || size > bytes.length - at) throw new IllegalArgumentException("length");
        start[field] = at;
        length[field] = (int) size;
        at += (int) size;
    }

    private long number() {
        long value = 0;
        int shift = 0, next;
        do {
            next = bytes[at++];
            value |= (long) (next & 127) << shift;
            shift += 7;
        } while (next < 0 && shift < 64);
        return value >>> 1 ^ -(value & 1);
    }
}
