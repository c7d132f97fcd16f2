import com.hivemq.configuration.service.InternalConfigurations;
import com.hivemq.embedded.EmbeddedExtension;
import com.hivemq.embedded.EmbeddedHiveMQ;
import com.hivemq.extension.sdk.api.ExtensionMain;
import com.hivemq.extension.sdk.api.auth.SimpleAuthenticator;
import com.hivemq.extension.sdk.api.auth.parameter.SimpleAuthInput;
import com.hivemq.extension.sdk.api.auth.parameter.SimpleAuthOutput;
import com.hivemq.extension.sdk.api.packets.connect.ConnackReasonCode;
import com.hivemq.extension.sdk.api.packets.connect.ConnectPacket;
import com.hivemq.extension.sdk.api.parameter.ExtensionStartInput;
import com.hivemq.extension.sdk.api.parameter.ExtensionStartOutput;
import com.hivemq.extension.sdk.api.parameter.ExtensionStopInput;
import com.hivemq.extension.sdk.api.parameter.ExtensionStopOutput;
import com.hivemq.extension.sdk.api.services.Services;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.Optional;
import java.util.concurrent.CompletionException;

/**
 * Runs HiveMQ until it is sent SIGTERM, and lets one user in: it has no users of its own.
 *
 * <p>Arguments: a directory with a config.xml, which takes all that the server writes; the user's
 * name; the password.
 */
public final class EmbeddedServer {
    private EmbeddedServer() {}

    public static void main(final String[] arguments) {
        final Path directory = Path.of(arguments[0]);
        final EmbeddedExtension users =
                EmbeddedExtension.builder()
                        .withId("one-user")
                        .withName("One user")
                        .withVersion("1")
                        .withExtensionMain(new OneUser(arguments[1], arguments[2]))
                        .build();
        final EmbeddedHiveMQ server =
                EmbeddedHiveMQ.builder()
                        .withConfigurationFolder(directory)
                        .withDataFolder(directory.resolve("data"))
                        .withExtensionsFolder(directory.resolve("extensions"))
                        .withEmbeddedExtension(users)
                        .build();
        // By default there are 64 of each, which takes three seconds longer to open.
        InternalConfigurations.PERSISTENCE_BUCKET_COUNT.set(4);
        InternalConfigurations.PAYLOAD_PERSISTENCE_BUCKET_COUNT.set(4);
        try {
            server.start().join();
        } catch (final CompletionException failed) {
            System.exit(1); // it has told why, and its threads would keep the process
        }
        Runtime.getRuntime().addShutdownHook(new Thread(() -> server.stop().join()));
    }

    private static final class OneUser implements ExtensionMain, SimpleAuthenticator {
        private final String name;
        private final ByteBuffer password;

        OneUser(final String name, final String password) {
            this.name = name;
            this.password = ByteBuffer.wrap(password.getBytes(StandardCharsets.UTF_8));
        }

        @Override
        public void extensionStart(
                final ExtensionStartInput input, final ExtensionStartOutput output) {
            Services.securityRegistry().setAuthenticatorProvider(client -> this);
        }

        @Override
        public void extensionStop(
                final ExtensionStopInput input, final ExtensionStopOutput output) {}

        @Override
        public void onConnect(final SimpleAuthInput input, final SimpleAuthOutput output) {
            final ConnectPacket connect = input.getConnectPacket();
            if (connect.getUserName().equals(Optional.of(name))
                    && connect.getPassword().equals(Optional.of(password))) {
                output.authenticateSuccessfully();
            } else {
                output.failAuthentication(ConnackReasonCode.BAD_USER_NAME_OR_PASSWORD);
            }
        }
    }
}
