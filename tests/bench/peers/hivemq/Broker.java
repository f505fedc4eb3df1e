// HiveMQ Community Edition, embedded, for the benchmark: one account, topic rules by client id.
// Arguments: CONFIGURATION_FOLDER DATA_FOLDER EXTENSIONS_FOLDER USERNAME PASSWORD

import com.hivemq.embedded.EmbeddedExtension;
import com.hivemq.embedded.EmbeddedHiveMQ;
import com.hivemq.extension.sdk.api.ExtensionMain;
import com.hivemq.extension.sdk.api.auth.PublishAuthorizer;
import com.hivemq.extension.sdk.api.auth.SimpleAuthenticator;
import com.hivemq.extension.sdk.api.auth.SubscriptionAuthorizer;
import com.hivemq.extension.sdk.api.parameter.ExtensionStartInput;
import com.hivemq.extension.sdk.api.parameter.ExtensionStartOutput;
import com.hivemq.extension.sdk.api.parameter.ExtensionStopInput;
import com.hivemq.extension.sdk.api.parameter.ExtensionStopOutput;
import com.hivemq.extension.sdk.api.services.Services;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;

public final class Broker {
    public static void main(String[] arguments) throws Exception {
        EmbeddedExtension account = EmbeddedExtension.builder()
                .withId("account").withName("account").withVersion("1").withPriority(1).withStartPriority(1)
                .withExtensionMain(new Account(arguments[3], arguments[4]))
                .build();
        EmbeddedHiveMQ broker = EmbeddedHiveMQ.builder()
                .withConfigurationFolder(Path.of(arguments[0]))
                .withDataFolder(Path.of(arguments[1]))
                .withExtensionsFolder(Path.of(arguments[2]))
                .withEmbeddedExtension(account)
                .build();
        broker.start().join();
        Thread.currentThread().join();
    }

    private record Account(String username, String password) implements ExtensionMain {
        @Override
        public void extensionStart(ExtensionStartInput input, ExtensionStartOutput output) {
            SimpleAuthenticator authenticator = (in, out) -> {
                var name = in.getConnectPacket().getUserName().orElse("");
                var secret = in.getConnectPacket().getPassword()
                        .map(bytes -> StandardCharsets.UTF_8.decode(bytes.asReadOnlyBuffer()).toString()).orElse("");
                if (name.equals(username) && secret.equals(password)) {
                    out.authenticateSuccessfully();
                } else {
                    out.failAuthentication();
                }
            };
            Services.securityRegistry().setAuthenticatorProvider(in -> authenticator);
            Rules rules = new Rules();
            Services.securityRegistry().setAuthorizerProvider(in -> rules);
        }

        @Override
        public void extensionStop(ExtensionStopInput input, ExtensionStopOutput output) {}
    }

    private static final class Rules implements PublishAuthorizer, SubscriptionAuthorizer {
        @Override
        public void authorizePublish(
                com.hivemq.extension.sdk.api.auth.parameter.PublishAuthorizerInput in,
                com.hivemq.extension.sdk.api.auth.parameter.PublishAuthorizerOutput out) {
            String own = "bench/" + in.getClientInformation().getClientId() + "/";
            if (in.getPublishPacket().getTopic().startsWith(own)) {
                out.authorizeSuccessfully();
            } else {
                out.failAuthorization();
            }
        }

        @Override
        public void authorizeSubscribe(
                com.hivemq.extension.sdk.api.auth.parameter.SubscriptionAuthorizerInput in,
                com.hivemq.extension.sdk.api.auth.parameter.SubscriptionAuthorizerOutput out) {
            String filter = in.getSubscription().getTopicFilter();
            if (filter.startsWith("bench/") || filter.startsWith("churn/")) {
                out.authorizeSuccessfully();
            } else {
                out.failAuthorization();
            }
        }
    }
}
