// One round of HiveMQ's Java client over TLS: publish, subscribe, retained, will, persistent session.
// usage: java Round PORT CA_FILE USERNAME PASSWORD VERSION; exit 0 and "ok" when every step held.

import static java.nio.charset.StandardCharsets.UTF_8;

import com.hivemq.client.mqtt.MqttClient;
import com.hivemq.client.mqtt.MqttClientBuilder;
import com.hivemq.client.mqtt.MqttGlobalPublishFilter;
import com.hivemq.client.mqtt.datatypes.MqttQos;
import com.hivemq.client.mqtt.mqtt3.Mqtt3BlockingClient;
import com.hivemq.client.mqtt.mqtt3.Mqtt3ClientBuilder;
import com.hivemq.client.mqtt.mqtt5.Mqtt5BlockingClient;
import com.hivemq.client.mqtt.mqtt5.Mqtt5ClientBuilder;
import java.io.InputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyStore;
import java.security.cert.CertificateFactory;
import java.util.List;
import java.util.concurrent.TimeUnit;
import javax.net.ssl.TrustManagerFactory;

public final class Round {
    static final int STEP_S_MAX = 10;
    static final int KEPT_S = 60;

    record Message(String topic, String payload, boolean retain) {}

    /** What the round asks of a client in either version. Each call returns when the broker has answered. */
    interface Guest {
        void subscribe(String topic, MqttQos qos) throws Exception;

        void publish(String topic, String payload, MqttQos qos, boolean retain) throws Exception;

        Message next() throws Exception;

        void leave() throws Exception;
    }

    record Server(int port, TrustManagerFactory trust, String username, String password, boolean isV5) {
        Guest open(String name) {
            return open(name, false, null);
        }

        Guest open(String name, boolean kept, Message will) {
            MqttClientBuilder builder = MqttClient.builder()
                .identifier(username + "-" + name)
                .serverHost("localhost")
                .serverPort(port)
                .sslConfig().trustManagerFactory(trust).applySslConfig();
            return isV5 ? new GuestV5(this, builder, kept, will) : new GuestV3(this, builder, kept, will);
        }
    }

    static final class GuestV3 implements Guest {
        private final Mqtt3BlockingClient client;
        private final Mqtt3BlockingClient.Mqtt3Publishes messages;

        GuestV3(Server server, MqttClientBuilder common, boolean kept, Message will) {
            Mqtt3ClientBuilder builder = common.useMqttVersion3()
                .simpleAuth().username(server.username).password(server.password.getBytes(UTF_8)).applySimpleAuth();
            if (will != null) {
                builder = builder.willPublish()
                    .topic(will.topic).payload(will.payload.getBytes(UTF_8)).qos(MqttQos.AT_LEAST_ONCE).applyWillPublish();
            }
            client = builder.buildBlocking();
            messages = client.publishes(MqttGlobalPublishFilter.ALL);
            client.connectWith().cleanSession(!kept).send();
        }

        public void subscribe(String topic, MqttQos qos) {
            client.subscribeWith().topicFilter(topic).qos(qos).send();
        }

        public void publish(String topic, String payload, MqttQos qos, boolean retain) {
            client.publishWith().topic(topic).payload(payload.getBytes(UTF_8)).qos(qos).retain(retain).send();
        }

        public Message next() throws Exception {
            var message = messages.receive(STEP_S_MAX, TimeUnit.SECONDS).orElseThrow();
            return new Message(message.getTopic().toString(), text(message.getPayloadAsBytes()), message.isRetain());
        }

        public void leave() {
            client.disconnect();
        }
    }

    static final class GuestV5 implements Guest {
        private final Mqtt5BlockingClient client;
        private final Mqtt5BlockingClient.Mqtt5Publishes messages;

        GuestV5(Server server, MqttClientBuilder common, boolean kept, Message will) {
            Mqtt5ClientBuilder builder = common.useMqttVersion5()
                .simpleAuth().username(server.username).password(server.password.getBytes(UTF_8)).applySimpleAuth();
            if (will != null) {
                builder = builder.willPublish()
                    .topic(will.topic).payload(will.payload.getBytes(UTF_8)).qos(MqttQos.AT_LEAST_ONCE).applyWillPublish();
            }
            client = builder.buildBlocking();
            messages = client.publishes(MqttGlobalPublishFilter.ALL);
            client.connectWith().cleanStart(!kept).sessionExpiryInterval(kept ? KEPT_S : 0).send();
        }

        public void subscribe(String topic, MqttQos qos) {
            client.subscribeWith().topicFilter(topic).qos(qos).send();
        }

        public void publish(String topic, String payload, MqttQos qos, boolean retain) {
            client.publishWith().topic(topic).payload(payload.getBytes(UTF_8)).qos(qos).retain(retain).send();
        }

        public Message next() throws Exception {
            var message = messages.receive(STEP_S_MAX, TimeUnit.SECONDS).orElseThrow();
            return new Message(message.getTopic().toString(), text(message.getPayloadAsBytes()), message.isRetain());
        }

        public void leave() {
            client.disconnect();
        }
    }

    static void publishSubscribe(Server server) throws Exception {
        Guest guest = server.open("ja");
        for (MqttQos qos : MqttQos.values()) {
            String topic = "java/" + qos.getCode();
            guest.subscribe(topic, qos);
            guest.publish(topic, "at " + qos, qos, false);
            expect(guest, topic, "at " + qos, false);
        }
        guest.leave();
    }

    static void retained(Server server) throws Exception {
        Guest guest = server.open("ja");
        guest.publish("java/kept", "kept", MqttQos.AT_LEAST_ONCE, true);
        guest.subscribe("java/kept", MqttQos.AT_LEAST_ONCE);
        expect(guest, "java/kept", "kept", true);
        guest.publish("java/kept", "", MqttQos.AT_LEAST_ONCE, true);
        guest.leave();
    }

    /** This client cannot be cut from within; that another takes its client id over ends it without DISCONNECT too. */
    static void will(Server server) throws Exception {
        Guest witness = server.open("ja");
        witness.subscribe("java/will", MqttQos.AT_LEAST_ONCE);
        server.open("jb", false, new Message("java/will", "gone", false));
        Guest heir = server.open("jb");
        expect(witness, "java/will", "gone", false);
        heir.leave();
        witness.leave();
    }

    static void persistentSession(Server server) throws Exception {
        String name = server.isV5 ? "jc-5" : "jc-4"; // a session belongs to one version here
        Guest away = server.open(name, true, null);
        away.subscribe("java/away/#", MqttQos.EXACTLY_ONCE);
        away.leave();
        Guest publisher = server.open("ja");
        List<String> texts = List.of("first", "second", "third");
        for (String text : texts) {
            publisher.publish("java/away/1", text, MqttQos.AT_LEAST_ONCE, false);
        }
        publisher.publish("java/away/2", "last", MqttQos.EXACTLY_ONCE, false);
        publisher.leave();
        Guest back = server.open(name, true, null);
        for (String text : texts) {
            expect(back, "java/away/1", text, false);
        }
        expect(back, "java/away/2", "last", false);
        back.leave();
    }

    static void expect(Guest guest, String topic, String payload, boolean retain) throws Exception {
        Message expected = new Message(topic, payload, retain);
        Message found = guest.next();
        if (!found.equals(expected)) {
            throw new AssertionError(found + " is not " + expected);
        }
    }

    static String text(byte[] payload) {
        return new String(payload, UTF_8);
    }

    static TrustManagerFactory trusting(Path caFile) throws Exception {
        KeyStore store = KeyStore.getInstance(KeyStore.getDefaultType());
        store.load(null);
        try (InputStream certificate = Files.newInputStream(caFile)) {
            store.setCertificateEntry("ca", CertificateFactory.getInstance("X.509").generateCertificate(certificate));
        }
        TrustManagerFactory factory = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
        factory.init(store);
        return factory;
    }

    public static void main(String[] words) throws Exception {
        int status = 1;
        try {
            TrustManagerFactory trust = trusting(Path.of(words[1]));
            Server server = new Server(Integer.parseInt(words[0]), trust, words[2], words[3], words[4].equals("5"));
            publishSubscribe(server);
            retained(server);
            will(server);
            persistentSession(server);
            System.out.println("ok");
            status = 0;
        } catch (Throwable problem) {
            problem.printStackTrace();
        }
        System.exit(status); // the client's own threads would go on
    }
}
