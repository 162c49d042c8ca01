package stores

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/tinylib/msgp/msgp"
	"go.temporal.io/server/common/log"
	"go.temporal.io/server/common/persistence/serialization"

	"strongroom/temporal/internal/client"
	"strongroom/temporal/internal/wire"
)

// cell is a cell that answers as a test wants. It keeps the calls.
type cell struct {
	calls  []client.Call
	answer func(call client.Call, out *wire.Writer) error
}

func (c *cell) Do(_ context.Context, call client.Call) ([]byte, error) {
	c.calls = append(c.calls, call)
	var out wire.Writer
	if err := c.answer(call, &out); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// arguments returns the decoded arguments of the last call.
func (c *cell) arguments(t *testing.T) map[string]any {
	t.Helper()
	value, rest, err := msgp.ReadMapStrIntfBytes(c.calls[len(c.calls)-1].Arguments, nil)
	require.NoError(t, err)
	require.Empty(t, rest)
	return value
}

func nothing(_ client.Call, out *wire.Writer) error {
	out.Nil()
	return nil
}

func factoryOf(doer Doer) *Factory {
	return NewFactory(doer, "active", log.NewTestLogger(), serialization.NewSerializer())
}

func executionsOf(t *testing.T, doer Doer) *executionStore {
	t.Helper()
	store, err := factoryOf(doer).NewExecutionStore()
	require.NoError(t, err)
	return store.(*executionStore)
}
