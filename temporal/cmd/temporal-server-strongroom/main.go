// Command temporal-server-strongroom is the Temporal server with the stores of a Strongroom cell. Its command line, its environment and its
// configuration files are those of Temporal's own server.
package main

import (
	"fmt"
	"os"
	_ "time/tzdata" // schedules in time zones work without the host's database

	_ "go.temporal.io/server/common/persistence/sql/sqlplugin/mysql"      // a configuration may name a plain store next to the cell
	_ "go.temporal.io/server/common/persistence/sql/sqlplugin/postgresql" // as above
	_ "go.temporal.io/server/common/persistence/sql/sqlplugin/sqlite"     // as above
)

func main() {
	if err := commandLine().Run(os.Args); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
