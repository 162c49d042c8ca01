package client

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// An error is known by its class and by each base class, so that the stores can act on the most derived kind that they know.
func TestErrorIsKnownByEachOfItsKinds(t *testing.T) {
	err := &Error{Kinds: []string{"NamespaceNotFound", "NotFound"}, Message: "no such namespace"}
	require.True(t, err.IsKind("NamespaceNotFound"))
	require.True(t, err.IsKind("NotFound"))
	require.False(t, err.IsKind("Timeout"))
	require.Equal(t, "NamespaceNotFound: no such namespace", err.Error())
}
