package main

import (
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/urfave/cli/v2"
	"go.temporal.io/server/common/authorization"
	"go.temporal.io/server/common/build"
	"go.temporal.io/server/common/config"
	"go.temporal.io/server/common/debug"
	"go.temporal.io/server/common/headers"
	"go.temporal.io/server/common/log"
	"go.temporal.io/server/common/log/tag"
	"go.temporal.io/server/temporal"

	"strongroom/temporal/internal/client"
	"strongroom/temporal/stores"
	"strongroom/temporal/visibility"
)

func checkStart(c *cli.Context) error {
	if c.Args().Len() > 0 {
		return errors.New("start takes no arguments; name services with --service")
	}
	if c.IsSet("config-file") && (c.IsSet("config") || c.IsSet("env") || c.IsSet("zone") || c.IsSet("root")) {
		return errors.New("--config-file excludes --config, --env, --zone and --root; use one or the others")
	}
	return nil
}

// loadConfig reads the configuration from the file, from the directory, or from the template in the binary, as Temporal's server does.
func loadConfig(c *cli.Context) (*config.Config, error) {
	var cfg *config.Config
	var err error
	switch {
	case c.IsSet("config-file"):
		cfg, err = config.Load(config.WithConfigFile(c.String("config-file")))
	case c.IsSet("config") || c.IsSet("env") || c.IsSet("zone"):
		cfg, err = config.Load(
			config.WithEnv(c.String("env")),
			config.WithConfigDir(path.Join(c.String("root"), c.String("config"))),
			config.WithZone(c.String("zone")),
		)
	default:
		cfg, err = config.Load(config.WithEmbedded())
	}
	if err != nil {
		return nil, fmt.Errorf("the configuration can't be loaded: %w", err)
	}
	return cfg, nil
}

func start(c *cli.Context) error {
	services := c.StringSlice("service")
	if c.IsSet("services") {
		services = strings.Split(c.String("services"), ",")
	}
	cfg, err := loadConfig(c)
	if err != nil {
		return err
	}
	logger := log.NewZapLogger(log.BuildZapLogger(cfg.Log))
	logBuild(logger)

	options, err := serverOptions(cfg, logger, c.Bool("allow-no-auth"))
	if err != nil {
		return err
	}
	server, err := temporal.NewServer(append(options, temporal.ForServices(services))...)
	if err != nil {
		return fmt.Errorf("the server can't be made: %w", err)
	}
	if err := server.Start(); err != nil {
		return fmt.Errorf("the server can't be started: %w", err)
	}
	fmt.Fprintln(c.App.ErrWriter, "All services are stopped.")
	return nil
}

func serverOptions(cfg *config.Config, logger log.Logger, allowNoAuth bool) ([]temporal.ServerOption, error) {
	authorizer, err := authorization.GetAuthorizerFromConfig(&cfg.Global.Authorization)
	if err != nil {
		return nil, fmt.Errorf("the authorizer can't be made: %w", err)
	}
	if authorization.IsNoopAuthorizer(authorizer) && !allowNoAuth {
		logger.Warn("This server has no authorizer. Configure one, or confirm with --allow-no-auth.")
	}
	claims, err := authorization.GetClaimMapperFromConfig(&cfg.Global.Authorization, logger)
	if err != nil {
		return nil, fmt.Errorf("the claim mapper can't be made: %w", err)
	}
	audience, err := authorization.GetAudienceMapperFromConfig(&cfg.Global.Authorization)
	if err != nil {
		return nil, fmt.Errorf("the audience mapper can't be made: %w", err)
	}
	shards := cfg.Persistence.NumHistoryShards
	return []temporal.ServerOption{
		temporal.WithConfig(cfg),
		temporal.WithLogger(logger),
		temporal.InterruptOn(temporal.InterruptCh()),
		temporal.WithAuthorizer(authorizer),
		temporal.WithClaimMapper(func(*config.Config) authorization.ClaimMapper { return claims }),
		temporal.WithAudienceGetter(func(*config.Config) authorization.JWTAudienceMapper { return audience }),
		temporal.WithCustomDataStoreFactory(stores.AbstractFactory{HistoryShards: shards}),
		temporal.WithCustomVisibilityStoreFactory(visibility.Factory{HistoryShards: shards}),
	}, nil
}

func logBuild(logger log.Logger) {
	logger.Info("Build info.",
		tag.String("strongroom-version", client.Version),
		tag.String("server-version", headers.ServerVersion),
		tag.String("go-version", build.InfoData.GoVersion),
		tag.String("go-arch", build.InfoData.GoArch),
		tag.String("go-os", build.InfoData.GoOs),
		tag.Bool("cgo-enabled", build.InfoData.CgoEnabled),
		tag.Time("git-time", build.InfoData.GitTime),
		tag.String("git-revision", build.InfoData.GitRevision),
		tag.Bool("git-modified", build.InfoData.GitModified),
		tag.Bool("debug-mode", debug.Enabled),
	)
}
