import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Properties;
import java.util.Set;
import java.util.concurrent.atomic.AtomicLong;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.ListOffsetsResult.ListOffsetsResultInfo;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.serialization.Serializer;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.processor.PunctuationType;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.Stores;
import org.apache.kafka.streams.state.WindowStore;

/**
 * The chain as a Kafka Streams application: its output goes to topics PREFIX-bronze, -silver and -gold, since it has no sink for
 * files. At least once. Usage: StreamsPeer STATE_FOLDER PREFIX; TOPIC and BROKERS come from the environment.
 */
public class StreamsPeer {
    static final AtomicLong RECEIVED = new AtomicLong(), PASSED = new AtomicLong(), SUMMED = new AtomicLong();
    static final long WINDOW_MS = 300_000;

    static class Work implements Processor<byte[], byte[], Object, Object> {
        private final Sale sale = new Sale();
        private ProcessorContext<Object, Object> context;
        private KeyValueStore<String, Long> seen;

        public void init(ProcessorContext<Object, Object> context) {
            this.context = context;
            seen = context.getStateStore("seen");
        }

        public void process(Record<byte[], byte[]> record) {
            String fault = sale.decode(record.value()) ? sale.fault() : "undecodable";
            Record<Object, Object> out = new Record<>(record.key(), record.value(), record.timestamp());
            out.headers().add("error", fault.getBytes(StandardCharsets.UTF_8));
            context.forward(out, "bronze");
            if (fault.isEmpty() && seen.putIfAbsent(sale.get(Sale.EVENT_ID), sale.number[Sale.EVENT_TIME]) == null) {
                context.forward(out, "silver");
                PASSED.incrementAndGet();
                String key = String.join("|", sale.get(Sale.PLAN_TIER), sale.get(Sale.REGION), sale.currency());
                context.forward(new Record<>(key, sale.net(), sale.number[Sale.EVENT_TIME]), "partitioned");
            }
            RECEIVED.incrementAndGet();
        }
    }

    static class Gold implements Processor<String, Long, String, String> {
        private final Map<Long, Set<String>> changed = new HashMap<>();
        private WindowStore<String, String> windows;
        private ProcessorContext<String, String> context;

        public void init(ProcessorContext<String, String> context) {
            this.context = context;
            windows = context.getStateStore("windows");
            context.schedule(Duration.ofSeconds(2), PunctuationType.WALL_CLOCK_TIME, now -> flush());
        }

        public void process(Record<String, Long> record) {
            long window = record.timestamp() / WINDOW_MS * WINDOW_MS;
            String sums = windows.fetch(record.key(), window);
            String[] parts = sums == null ? new String[] {"0", "0"} : sums.split("\\|");
            String added = Long.parseLong(parts[0]) + record.value() + "|" + (Long.parseLong(parts[1]) + 1);
            windows.put(record.key(), added, window);
            changed.computeIfAbsent(window, none -> new HashSet<>()).add(record.key());
            SUMMED.incrementAndGet();
        }

        private void flush() {
            changed.forEach((window, keys) -> keys.forEach(key ->
                context.forward(new Record<>(window / 1000 + "|" + key, windows.fetch(key, window), window))));
            changed.clear();
        }
    }

    public static void main(String[] arguments) throws Exception {
        String state = arguments[0], prefix = arguments[1], topic = System.getenv("TOPIC");
        long total;
        try (Admin admin = Admin.create(Map.of("bootstrap.servers", System.getenv("BROKERS")))) {
            int partitions = admin.describeTopics(List.of(topic)).allTopicNames().get().get(topic).partitions().size();
            admin.createTopics(List.of("bronze", "silver", "partitioned", "gold").stream()
                .map(name -> new NewTopic(prefix + "-" + name, partitions, (short) 1)).toList()).all().get();
            Map<TopicPartition, OffsetSpec> ends = new HashMap<>();
            for (int i = 0; i < partitions; i++) ends.put(new TopicPartition(topic, i), OffsetSpec.latest());
            total = admin.listOffsets(ends).all().get().values().stream().mapToLong(ListOffsetsResultInfo::offset).sum();
        }
        KafkaStreams streams = new KafkaStreams(topology(topic, prefix), settings(state, prefix));
        streams.setUncaughtExceptionHandler(error -> {
            error.printStackTrace();
            Runtime.getRuntime().halt(1);
            return null;
        });
        streams.start();
        mark("ready");
        while (RECEIVED.get() < total || SUMMED.get() < PASSED.get()) Thread.sleep(200);
        Thread.sleep(2_500); // a flush of gold is at most two seconds away
        streams.close();
        mark("commit");
    }

    @SuppressWarnings({"rawtypes", "unchecked"})
    private static Topology topology(String topic, String prefix) {
        var text = Serdes.String();
        var number = Serdes.Long();
        var bytes = Serdes.ByteArray();
        Serializer any = bytes.serializer(), words = text.serializer(), numbers = number.serializer();
        Topology topology = new Topology();
        topology.addSource("events", bytes.deserializer(), bytes.deserializer(), topic);
        topology.addProcessor("work", Work::new, "events");
        topology.addStateStore(
            Stores.keyValueStoreBuilder(Stores.persistentKeyValueStore("seen"), text, number), "work");
        topology.addSink("bronze", prefix + "-bronze", any, any, "work");
        topology.addSink("silver", prefix + "-silver", any, any, "work");
        topology.addSink("partitioned", prefix + "-partitioned", words, numbers, "work");
        topology.addSource("by-group", text.deserializer(), number.deserializer(), prefix + "-partitioned");
        topology.addProcessor("sum", Gold::new, "by-group");
        var windows =
            Stores.persistentWindowStore("windows", Duration.ofDays(1), Duration.ofMillis(WINDOW_MS), false);
        topology.addStateStore(Stores.windowStoreBuilder(windows, text, text).withCachingEnabled(), "sum");
        topology.addSink("gold", prefix + "-gold", text.serializer(), text.serializer(), "sum");
        return topology;
    }

    private static Properties settings(String state, String prefix) {
        Properties settings = new Properties();
        settings.putAll(Map.of(
            "application.id", prefix, "bootstrap.servers", System.getenv("BROKERS"), "state.dir", state,
            "num.stream.threads", "2", "auto.offset.reset", "earliest", "commit.interval.ms", "10000",
            "producer.compression.type", "lz4", "producer.linger.ms", "50", "max.poll.records", "5000"));
        settings.put("statestore.cache.max.bytes", "67108864");
        settings.put("producer.batch.size", "262144");
        return settings;
    }

    static void mark(String name) {
        System.out.printf(Locale.ROOT, "MARK %s %.3f%n", name, System.currentTimeMillis() / 1000.0);
    }
}
