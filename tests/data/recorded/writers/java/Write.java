import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.ByteArrayOutputStream;
import java.io.File;
import java.math.BigDecimal;
import java.time.Instant;
import java.util.HexFormat;
import java.util.LinkedHashMap;
import java.util.Map;
import org.apache.avro.Conversions;
import org.apache.avro.Schema;
import org.apache.avro.data.TimeConversions;
import org.apache.avro.generic.GenericData;
import org.apache.avro.generic.GenericDatumWriter;
import org.apache.avro.generic.GenericRecord;
import org.apache.avro.io.BinaryEncoder;
import org.apache.avro.io.EncoderFactory;

/** Writes the cases with Java's Avro: {@code java -cp JARS Write.java RECORDED} prints the lines. */
public class Write {
  public static void main(String[] arguments) throws Exception {
    File recorded = new File(arguments[0]);
    File published = new File(recorded, "../../../rtap_assets/schemas/sales.events.v1-value");
    Map<String, File> schemas = new LinkedHashMap<>();
    schemas.put("1", new File(published, "1.avsc"));
    schemas.put("2", new File(published, "2.avsc"));
    schemas.put("fixed", new File(recorded, "fixed.avsc"));
    GenericData data = new GenericData();
    data.addLogicalTypeConversion(new Conversions.DecimalConversion());
    data.addLogicalTypeConversion(new TimeConversions.TimestampMillisConversion());
    ObjectMapper json = new ObjectMapper();
    JsonNode cases = json.readTree(new File(recorded, "cases.json"));
    String by = "avro for Java " + Schema.class.getPackage().getImplementationVersion();
    for (Map.Entry<String, File> named : schemas.entrySet()) {
      Schema schema = new Schema.Parser().parse(named.getValue());
      var names = cases.fieldNames();
      while (names.hasNext()) {
        String name = names.next();
        GenericRecord event = event(schema, cases.get(name), named.getKey().equals("1") ? 1 : 2);
        ByteArrayOutputStream body = new ByteArrayOutputStream();
        BinaryEncoder encoder = EncoderFactory.get().binaryEncoder(body, null);
        new GenericDatumWriter<GenericRecord>(schema, data).write(event, encoder);
        encoder.flush();
        ObjectNode line = json.createObjectNode();
        line.put("schema", named.getKey()).put("case", name);
        line.put("body", HexFormat.of().formatHex(body.toByteArray())).put("by", by);
        System.out.println(json.writeValueAsString(line));
      }
    }
  }

  private static GenericRecord event(Schema schema, JsonNode values, int version) {
    GenericRecord event = new GenericData.Record(schema);
    for (Schema.Field field : schema.getFields()) {
      JsonNode value = values.get(field.name());
      switch (field.name()) {
        case "event_time", "ingest_time" -> event.put(field.name(), Instant.parse(value.asText()));
        case "amount" -> event.put("amount", new BigDecimal(value.asText()));
        case "schema_version" -> event.put("schema_version", version);
        case "quantity" -> event.put("quantity", value.asInt());
        default -> event.put(field.name(), value.isNull() ? null : value.asText());
      }
    }
    return event;
  }
}
