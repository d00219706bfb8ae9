import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Locale;
import java.util.Map;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.table.api.EnvironmentSettings;
import org.apache.flink.table.api.StatementSet;
import org.apache.flink.table.api.TableEnvironment;

/** Runs the statements of a SQL file on a local cluster, its INSERTs as one job. Usage: FlinkPeer SQL_FILE OUTPUT_FOLDER */
public class FlinkPeer {
    public static void main(String[] arguments) throws Exception {
        String output = Path.of(arguments[1]).toAbsolutePath().toString();
        Configuration settings = Configuration.fromMap(Map.ofEntries(
            Map.entry("parallelism.default", "2"),
            Map.entry("taskmanager.numberOfTaskSlots", "2"),
            Map.entry("taskmanager.memory.managed.size", "512m"),
            Map.entry("taskmanager.memory.network.min", "128m"),
            Map.entry("taskmanager.memory.network.max", "128m"),
            Map.entry("execution.checkpointing.interval", "10 s"),
            Map.entry("execution.checkpointing.dir", "file://" + output + "/checkpoints"),
            Map.entry("state.backend.type", "hashmap"),
            Map.entry("pipeline.object-reuse", "true"),
            Map.entry("table.local-time-zone", "UTC"),
            // Without it the plan holds the deduplication's state twice: 41.7 CPU seconds per million records, not 31.
            Map.entry("table.optimizer.reuse-optimize-block-with-digest-enabled", "true")));
        TableEnvironment tables =
            TableEnvironment.create(EnvironmentSettings.newInstance().inStreamingMode().withConfiguration(settings).build());
        tables.createTemporarySystemFunction("decode_sale", DecodeSale.class);
        StatementSet inserts = tables.createStatementSet();
        String text = Files.readString(Path.of(arguments[0]))
            .replace("${output}", output)
            .replace("${topic}", System.getenv("TOPIC"))
            .replace("${brokers}", System.getenv("BROKERS"));
        for (String statement : text.split(";\\s*\n")) {
            if (statement.isBlank()) continue;
            if (statement.strip().startsWith("INSERT")) inserts.addInsertSql(statement);
            else tables.executeSql(statement);
        }
        var job = inserts.execute();
        mark("ready");
        job.await();
        mark("commit");
        System.exit(0); // threads of the local cluster may live on
    }

    static void mark(String name) {
        System.out.printf(Locale.ROOT, "MARK %s %.3f%n", name, System.currentTimeMillis() / 1000.0);
    }
}
