package main

import (
	"fmt"
	"os"

	"github.com/urfave/cli/v2"
	"go.temporal.io/server/common/config"
	"go.temporal.io/server/common/dynamicconfig"
	"go.temporal.io/server/common/headers"
	"go.temporal.io/server/temporal"

	"strongroom/temporal/internal/client"
)

// commandLine has the commands, flags and environment variables of Temporal's server.
func commandLine() *cli.App {
	app := cli.NewApp()
	app.Name = "temporal-server-strongroom"
	app.Usage = "Temporal server whose stores are a Strongroom cell"
	app.Version = fmt.Sprintf("%s (Temporal %s)", client.Version, headers.ServerVersion)
	app.ArgsUsage = " "
	app.Flags = globalFlags()
	app.Commands = []*cli.Command{
		{
			Name:      "start",
			Usage:     "Start the Temporal server",
			ArgsUsage: " ",
			Flags:     startFlags(),
			Before:    checkStart,
			Action:    start,
		},
		{
			Name:      "validate-dynamic-config",
			Usage:     "Validate files of dynamic configuration: their keys and types",
			ArgsUsage: "FILE ...",
			Action:    validateDynamicConfig,
		},
		{
			Name:      "render-config",
			Usage:     "Print the configuration that a template renders to",
			ArgsUsage: " ",
			Action:    renderConfig,
		},
	}
	return app
}

func globalFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{
			Name: "root", Aliases: []string{"r"}, Value: ".", EnvVars: []string{config.EnvKeyRoot},
			Usage: "root directory of the execution environment (deprecated)",
		},
		&cli.StringFlag{
			Name: "config", Aliases: []string{"c"}, Value: "config", EnvVars: []string{config.EnvKeyConfigDir},
			Usage: "directory of the configuration, relative to root (deprecated)",
		},
		&cli.StringFlag{
			Name: "env", Aliases: []string{"e"}, Value: "development", EnvVars: []string{config.EnvKeyEnvironment},
			Usage: "runtime environment (deprecated)",
		},
		&cli.StringFlag{
			Name: "zone", Aliases: []string{"az"}, EnvVars: []string{config.EnvKeyAvailabilityZone, config.EnvKeyAvailabilityZoneTypo},
			Usage: "availability zone (deprecated)",
		},
		&cli.StringFlag{
			Name: "config-file", EnvVars: []string{config.EnvKeyConfigFile},
			Usage: "configuration file, absolute or relative to the working directory",
		},
		&cli.BoolFlag{Name: "allow-no-auth", EnvVars: []string{config.EnvKeyAllowNoAuth}, Usage: "allow a server without authorizer"},
	}
}

func startFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "services", Aliases: []string{"s"}, Hidden: true, Usage: "services to start, separated by commas (deprecated)"},
		&cli.StringSliceFlag{
			Name: "service", Aliases: []string{"svc"}, EnvVars: []string{"TEMPORAL_SERVICES"},
			Value: cli.NewStringSlice(temporal.DefaultServices...), Usage: "services to start",
		},
	}
}

func validateDynamicConfig(c *cli.Context) error {
	wrong := 0
	for _, name := range c.Args().Slice() {
		contents, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		result := dynamicconfig.LoadYamlFile(contents)
		wrong += len(result.Errors)
		fmt.Fprintln(c.App.Writer, name)
		for _, problem := range result.Errors {
			fmt.Fprintf(c.App.Writer, "  error: %v\n", problem)
		}
		for _, problem := range result.Warnings {
			fmt.Fprintf(c.App.Writer, "  warning: %v\n", problem)
		}
	}
	if wrong > 0 {
		return fmt.Errorf("%d total errors", wrong)
	}
	return nil
}

func renderConfig(c *cli.Context) error {
	cfg, err := loadConfig(c)
	if err != nil {
		return err
	}
	fmt.Fprintln(c.App.Writer, cfg.String())
	return nil
}
