import java.nio.file.Path;
import java.util.Map;

import org.elasticsearch.common.logging.LogConfigurator;
import org.elasticsearch.common.settings.Settings;
import org.elasticsearch.env.Environment;
import org.elasticsearch.node.Node;
import org.elasticsearch.plugins.PluginsLoader;

/**
 * One Elasticsearch node with the settings given as `name=value`.
 *
 * It ends when its standard input does: the kernel closes that with the process that holds the other end, however that one dies.
 */
public final class StrongroomNode {
    private StrongroomNode() {}

    public static void main(String[] arguments) throws Exception {
        LogConfigurator.configureESLogging();
        Settings.Builder builder = Settings.builder();
        for (String argument : arguments) {
            int at = argument.indexOf('=');
            builder.put(argument.substring(0, at), argument.substring(at + 1));
        }
        Settings settings = builder.build();
        Environment environment = new Environment(settings, Path.of(settings.get("path.home"), "config"));
        PluginsLoader plugins = PluginsLoader.createPluginsLoader(
            PluginsLoader.loadModulesBundles(environment.modulesDir()),
            PluginsLoader.loadPluginsBundles(environment.pluginsDir()),
            Map.of());
        Node node = new Node(environment, plugins);
        node.start();
        while (System.in.read() >= 0) {}
        node.close();
        System.exit(0);
    }
}
