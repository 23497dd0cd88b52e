import java.time.Duration;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicLong;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Grouped;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.TimeWindows;
import org.apache.kafka.streams.processor.StateRestoreListener;

/**
 * Counts beats per source in windows of 10 s, as Kafka Streams does it by itself: RocksDB, a changelog, one thread.
 *
 * Arguments: count|keep|restore, bootstrap, topic, name, folder, records. Of each record the key and the first bytes
 * of the value are looked at; nothing is decoded. Lines on standard output say how far it is.
 */
public final class CountJob {
    private static final long WINDOW_S = 10;

    private CountJob() { }

    public static void main(final String[] args) throws Exception {
        final String mode = args[0];
        final long records = Long.parseLong(args[5]);
        switch (mode) {
            case "count" -> {
                // A pass of its own first, so that Java has compiled what is measured.
                pass(args, "-warm", records, false);
                pass(args, "", records, true);
                say("kept");
            }
            case "keep" -> {
                pass(args, "", records, true);
                say("kept");
            }
            case "restore" -> restore(args);
            default -> throw new IllegalArgumentException("mode " + mode);
        }
        // What is measured is over; the bench ends this process.
        Thread.sleep(Long.MAX_VALUE);
    }

    private static void pass(final String[] args, final String suffix, final long records, final boolean marks)
            throws InterruptedException {
        final AtomicLong left = new AtomicLong(records);
        final CountDownLatch done = new CountDownLatch(1);
        final KafkaStreams streams = new KafkaStreams(build(args, left, done, records, marks), settings(args, suffix));
        streams.start();
        done.await();
        // Commits: writes what the cache holds into RocksDB and the changelog.
        streams.close();
    }

    private static org.apache.kafka.streams.Topology build(
            final String[] args, final AtomicLong left, final CountDownLatch done, final long records,
            final boolean marks) {
        final StreamsBuilder builder = new StreamsBuilder();
        builder.stream(args[2], Consumed.with(Serdes.ByteArray(), Serdes.ByteArray()))
            .filter((key, value) -> {
                if (value.length < 3 || value[1] != '"' || value[2] != 'b') {
                    return false;
                }
                final long now = left.getAndDecrement();
                if (marks && now == records) {
                    say("first");
                }
                if (now == 1) {
                    if (marks) {
                        say("last");
                    }
                    done.countDown();
                }
                return now >= 1;
            })
            .groupByKey(Grouped.with(Serdes.ByteArray(), Serdes.ByteArray()))
            .windowedBy(TimeWindows.ofSizeWithNoGrace(Duration.ofSeconds(WINDOW_S)))
            .count(Materialized.as("counts"));
        return builder.build();
    }

    private static void restore(final String[] args) throws Exception {
        final KafkaStreams streams = new KafkaStreams(
            build(args, new AtomicLong(0), new CountDownLatch(1), -1, false), settings(args, ""));
        final AtomicInteger open = new AtomicInteger();
        final AtomicLong rows = new AtomicLong();
        final long wanted = Long.parseLong(args[5]);
        streams.setGlobalStateRestoreListener(new StateRestoreListener() {
            @Override
            public void onRestoreStart(
                    final TopicPartition at, final String store, final long begin, final long end) {
                if (open.getAndIncrement() == 0 && rows.get() == 0) {
                    say("first");
                }
            }

            @Override
            public void onBatchRestored(
                    final TopicPartition at, final String store, final long end, final long count) {
                rows.addAndGet(count);
            }

            @Override
            public void onRestoreEnd(final TopicPartition at, final String store, final long total) {
                if (open.decrementAndGet() == 0 && rows.get() >= wanted) {
                    say("last " + rows.get());
                }
            }
        });
        streams.start();
    }

    private static Properties settings(final String[] args, final String suffix) {
        final Properties settings = new Properties();
        settings.putAll(Map.of(
            StreamsConfig.APPLICATION_ID_CONFIG, args[3] + suffix,
            StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, args[1],
            StreamsConfig.STATE_DIR_CONFIG, args[4],
            StreamsConfig.NUM_STREAM_THREADS_CONFIG, "1",
            // The group forgets soon who was killed; a restart waits for that.
            "session.timeout.ms", "6000",
            "heartbeat.interval.ms", "2000",
            "auto.offset.reset", "earliest"));
        return settings;
    }

    private static synchronized void say(final String mark) {
        System.out.println(mark);
        System.out.flush();
    }
}
