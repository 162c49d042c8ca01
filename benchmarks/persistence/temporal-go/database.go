package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"strings"

	"go.temporal.io/server/common/config"
	"go.temporal.io/server/common/log"
	"go.temporal.io/server/common/metrics"
	"go.temporal.io/server/common/persistence"
	"go.temporal.io/server/common/persistence/serialization"
	"go.temporal.io/server/common/persistence/sql"
	"go.temporal.io/server/common/persistence/sql/sqlplugin"
	"go.temporal.io/server/common/persistence/sql/sqlplugin/postgresql"
	"go.temporal.io/server/common/resolver"
	"go.temporal.io/server/schema"
)

const schemaFile = "postgresql/v12/temporal/schema.sql"

// database holds Temporal's stores, which share one pool, and a connection of its own for what they cannot do.
type database struct {
	name        string
	connections int
	admin       sqlplugin.AdminDB
	factory     *sql.Factory
	executions  persistence.ExecutionStore
	tasks       persistence.TaskStore
	shards      persistence.ShardStore
	serializer  serialization.Serializer
}

// open connects to an empty database, and creates Temporal's schema in it.
func open(dsn string, connections int) (*database, error) {
	settings, err := settings(dsn)
	if err != nil {
		return nil, err
	}
	logger := log.NewZapLogger(log.BuildZapLogger(log.Config{Level: "warn", Format: "console"}))

	one := *settings
	one.MaxConns, one.MaxIdleConns = 1, 1
	admin, err := sql.NewSQLAdminDB(
		sqlplugin.DbKindMain, &one, resolver.NewNoopResolver(), logger, metrics.NoopMetricsHandler,
	)
	if err != nil {
		return nil, err
	}
	if err := createSchema(admin, settings.DatabaseName); err != nil {
		return nil, errors.Join(err, admin.Close())
	}

	// Idle connections are kept, as in Temporal's shipped configuration: none is opened while measuring.
	settings.MaxConns, settings.MaxIdleConns = connections, connections
	db := &database{
		name:        settings.DatabaseName,
		connections: connections,
		admin:       admin,
		serializer:  serialization.NewSerializer(),
	}
	db.factory = sql.NewFactory(
		*settings, resolver.NewNoopResolver(), "active", logger, metrics.NoopMetricsHandler, db.serializer,
	)
	var failures [3]error
	db.executions, failures[0] = db.factory.NewExecutionStore()
	db.tasks, failures[1] = db.factory.NewTaskStore()
	db.shards, failures[2] = db.factory.NewShardStore()
	if err := errors.Join(failures[:]...); err != nil {
		db.close()
		return nil, err
	}
	return db, nil
}

func (db *database) close() {
	db.factory.Close()
	_ = db.admin.Close()
}

// settings turns a connection string into Temporal's configuration, which puts one together again.
func settings(dsn string) (*config.SQL, error) {
	address, err := url.Parse(dsn)
	if err != nil {
		return nil, errors.New("the connection string is not a URL") // the parser's message would show the password
	}
	if address.Scheme != "postgresql" && address.Scheme != "postgres" || address.Host == "" || address.User == nil {
		return nil, errors.New("the connection string must be like postgresql://user:password@host:port/database")
	}
	attributes := make(map[string]string)
	for name, values := range address.Query() {
		attributes[name] = values[len(values)-1]
	}
	password, _ := address.User.Password()
	return &config.SQL{
		PluginName:         postgresql.PluginNamePGX,
		User:               url.PathEscape(address.User.Username()), // Temporal escapes the password only
		Password:           password,
		ConnectAddr:        address.Host,
		ConnectProtocol:    "tcp",
		ConnectAttributes:  attributes,
		DatabaseName:       strings.TrimPrefix(address.EscapedPath(), "/"),
		TaskScanPartitions: 1,
	}, nil
}

func createSchema(admin sqlplugin.AdminDB, name string) error {
	tables, err := admin.ListTables(name)
	if err != nil {
		return err
	}
	if len(tables) > 0 {
		return fmt.Errorf("the database is not empty: it has %d tables", len(tables))
	}
	statements, err := fs.ReadFile(schema.Assets(), schemaFile)
	if err != nil {
		return err
	}
	return admin.Exec(string(statements))
}

func (db *database) truncate() error {
	tables, err := db.admin.ListTables(db.name)
	if err != nil {
		return err
	}
	return db.admin.Exec("TRUNCATE " + strings.Join(tables, ", ") + " RESTART IDENTITY")
}
