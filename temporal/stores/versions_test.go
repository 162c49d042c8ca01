package stores

import (
	"reflect"
	"testing"

	"github.com/stretchr/testify/require"
	"go.temporal.io/server/common/persistence"
)

// The condition of a deletion is passed on by every version of Temporal that has one.
func TestConditionRangeID(t *testing.T) {
	request, expected := &persistence.CompleteTasksLessThanRequest{}, int64(0)
	if field := reflect.ValueOf(request).Elem().FieldByName("ConditionRangeID"); field.IsValid() {
		field.SetInt(7)
		expected = 7
	}
	require.Equal(t, expected, conditionRangeID(request))
}
