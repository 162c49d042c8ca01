// Package functional runs the functional tests of the Temporal server (go.temporal.io/server/tests) on other stores.
//
// The server's test cluster makes its stores in one place. A copy of the server's module calls NewTestBase there;
// examples/temporal/functional makes the copy and changes this one call.
package functional

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"strings"

	"go.temporal.io/server/common/config"
	"go.temporal.io/server/common/dynamicconfig"
	"go.temporal.io/server/common/log"
	persistencetests "go.temporal.io/server/common/persistence/persistence-tests"
	"go.temporal.io/server/common/persistence/sql/sqlplugin/postgresql"
	"go.temporal.io/server/common/primitives"

	"strongroom/temporal/stores"
	"strongroom/temporal/visibility"
)

const (
	// CellsVariable is the environment variable with the socket of the program that makes cells.
	CellsVariable = "FUNCTIONAL_CELLS"
	// PostgresVariable is the environment variable with the folder of a PostgreSQL's socket, for the control on Temporal's own stores.
	PostgresVariable = "FUNCTIONAL_POSTGRES"
)

// NewTestBase returns the stores of a test cluster: a new cell, or new databases of Temporal's own stores.
func NewTestBase(options *persistencetests.TestBaseOptions, shards int32) *persistencetests.TestBase {
	logger := options.Logger
	if logger == nil {
		logger = log.NewTestLogger()
	}
	if address := os.Getenv(PostgresVariable); address != "" {
		plain := persistencetests.GetPostgreSQLTestClusterOption(
			postgresql.PluginNamePGX, map[string]string{"host": address})
		plain.Logger, plain.FaultInjection = logger, options.FaultInjection
		plain.DBUsername, plain.DBPassword = "postgres", ""
		return persistencetests.NewTestBase(plain)
	}
	base := persistencetests.NewTestBaseForCluster(&cell{shards: shards, fault: options.FaultInjection}, logger)
	base.AbstractDataStoreFactory = stores.AbstractFactory{HistoryShards: shards}
	base.VisibilityStoreFactory = visibility.Factory{HistoryShards: shards}
	return base
}

// cell is a cell of one test cluster. It exists while the connection to the program that made it is open.
type cell struct {
	shards     int32
	fault      *config.FaultInjection
	connection net.Conn
	socket     string
}

// SetupTestDatabase makes the cell. It panics if there is none, because Temporal's interface has no error here.
func (c *cell) SetupTestDatabase() {
	connection, err := net.Dial("unix", os.Getenv(CellsVariable))
	if err != nil {
		panic(fmt.Sprintf("%s: %v", CellsVariable, err))
	}
	if _, err = fmt.Fprintln(connection, c.shards); err != nil {
		panic(err)
	}
	line, err := bufio.NewReader(connection).ReadString('\n')
	if err != nil {
		panic(fmt.Sprintf("no cell was made: %v", err))
	}
	c.connection, c.socket = connection, strings.TrimSpace(line)
}

// TearDownTestDatabase ends the cell.
func (c *cell) TearDownTestDatabase() {
	if c.connection != nil {
		_ = c.connection.Close()
	}
}

// Config returns the configuration of the stores.
func (c *cell) Config() config.Persistence {
	store := config.DataStore{
		CustomDataStoreConfig: &config.CustomDatastoreConfig{
			Name: "strongroom", IndexName: "strongroom", Options: map[string]any{"socket": c.socket},
		},
		FaultInjection: c.fault,
	}
	return config.Persistence{
		DefaultStore:         "strongroom",
		VisibilityStore:      "strongroom",
		NumHistoryShards:     c.shards,
		DataStores:           map[string]config.DataStore{"strongroom": store},
		TransactionSizeLimit: dynamicconfig.GetIntPropertyFn(primitives.DefaultTransactionSizeLimit),
	}
}
