package client

import (
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A deadline of less than a millisecond must not become 0, which means that there is none.
func TestShortDeadlinesStayDeadlines(t *testing.T) {
	require.EqualValues(t, 1, milliseconds(time.Nanosecond))
	require.EqualValues(t, 1, milliseconds(time.Millisecond))
	require.EqualValues(t, 2, milliseconds(time.Millisecond+1))
	require.EqualValues(t, 0, milliseconds(0))
}

// Both halves of a release have one version.
func TestVersionIsThatOfThePythonPackage(t *testing.T) {
	project, err := os.ReadFile("../../../pyproject.toml")
	require.NoError(t, err)
	require.Contains(t, string(project), "\nversion = \""+Version+"\"\n")
}
