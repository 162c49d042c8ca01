package client

import (
	"testing"

	"go.uber.org/goleak"
)

// TestMain checks that no test leaves a goroutine of the client behind.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
